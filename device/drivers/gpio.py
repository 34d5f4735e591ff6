"""Wheels, signals and controls on GPIO pins through gpiozero.

Laws:
- the pin factory is handed in: real pins and simulated ones run the same code;
- gpiozero's callbacks (its own thread) only count or queue; the control loop reads;
- what a pin factory's library raises is named by who made the factory, as `errors`: gpiozero passes
  it on as it is, and lgpio's is neither an `OSError` nor gpiozero's;
- an output keeps its level when its process dies, so closing switches everything off first.
"""

from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from typing import Annotated, Any

import msgspec
from gpiozero import LED, Button, Buzzer, DigitalInputDevice, GPIOZeroError, PhaseEnableMotor

from device.hardware import Press
from shared.errors import HardwareError

_BOUNCE_S = 0.02
_MAX_WAITING_PRESSES = 8

Errors = tuple[type[Exception], ...]

Bcm = Annotated[int, msgspec.Meta(ge=0, le=27)]
"""A pin by its BCM number, as gpiozero and the Raspberry Pi's documents count."""


class Pins(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which BCM pin does what. Each motor has a direction (phase) and a PWM (enable) pin."""

    left_phase: Bcm = 5
    left_enable: Bcm = 12
    left_encoder: Bcm = 23
    right_phase: Bcm = 6
    right_enable: Bcm = 13
    right_encoder: Bcm = 24
    led: Bcm = 17
    buzzer: Bcm = 27
    button_park: Bcm = 20
    button_park_by_sensor: Bcm = 21
    button_stop: Bcm = 16


class GpioWheels:
    """`Wheels`: two motors behind phase/enable drivers, two encoders counted by rising edges."""

    def __init__(self, pins: Pins, pin_factory: Any, *, errors: Errors = ()) -> None:
        """Take the pins; both motors stand.

        Raises:
            HardwareError: a pin is in use or there are none.
        """
        self._counts = [0, 0]
        self._translated = partial(_translated, "wheels", errors)
        with self._translated():
            self._motors = (
                PhaseEnableMotor(pins.left_phase, pins.left_enable, pin_factory=pin_factory),
                PhaseEnableMotor(pins.right_phase, pins.right_enable, pin_factory=pin_factory),
            )
            self._encoders = tuple(
                _counter(pin, partial(self._count, side), pin_factory)
                for side, pin in enumerate((pins.left_encoder, pins.right_encoder))
            )

    def set_duty(self, left: float, right: float) -> None:
        """Drive each wheel with a duty of -1 (full back) to 1 (full forward)."""
        with self._translated():
            for motor, duty in zip(self._motors, (left, right), strict=True):
                motor.value = min(1.0, max(-1.0, duty))

    def edges(self) -> tuple[int, int]:
        """Return the encoder edges counted since the start, left and right."""
        return self._counts[0], self._counts[1]

    def stop(self) -> None:
        """Cut both motors; does nothing once closed."""
        with self._translated():
            for motor in self._motors:
                if not motor.closed:
                    motor.stop()

    def close(self) -> None:
        """Cut both motors and release the pins."""
        self.stop()
        with self._translated():
            for device in (*self._motors, *self._encoders):
                device.close()

    def _count(self, side: int) -> None:
        self._counts[side] += 1


class GpioSignals:
    """`Signals`: a lamp and an active buzzer."""

    def __init__(self, pins: Pins, pin_factory: Any, *, errors: Errors = ()) -> None:
        """Take the pins; both are off.

        Raises:
            HardwareError: a pin is in use or there are none.
        """
        self._translated = partial(_translated, "signals", errors)
        with self._translated():
            self._led = LED(pins.led, pin_factory=pin_factory)
            self._buzzer = Buzzer(pins.buzzer, pin_factory=pin_factory)

    def set_led(self, *, on: bool) -> None:
        """Switch the lamp."""
        with self._translated():
            _switch(self._led, on=on)

    def set_buzzer(self, *, on: bool) -> None:
        """Switch the buzzer."""
        with self._translated():
            _switch(self._buzzer, on=on)

    def close(self) -> None:
        """Switch both off and release the pins."""
        with self._translated():
            self._led.close()
            self._buzzer.close()


class GpioControls:
    """`Controls`: three buttons to ground; X parks, Y parks by the sensor, B stops."""

    def __init__(self, pins: Pins, pin_factory: Any, *, errors: Errors = ()) -> None:
        """Take the pins and listen.

        Raises:
            HardwareError: a pin is in use or there are none.
        """
        self._waiting: deque[Press] = deque(maxlen=_MAX_WAITING_PRESSES)
        self._translated = partial(_translated, "buttons", errors)
        meanings: tuple[tuple[int, Press], ...] = (
            (pins.button_park, "park"),
            (pins.button_park_by_sensor, "park_by_sensor"),
            (pins.button_stop, "stop"),
        )
        with self._translated():
            self._buttons = tuple(
                _button(pin, partial(self._waiting.append, press), pin_factory)
                for pin, press in meanings
            )

    def pressed(self) -> Press | None:
        """Return the oldest press that was not yet returned, or None."""
        return self._waiting.popleft() if self._waiting else None

    def close(self) -> None:
        """Release the pins."""
        with self._translated():
            for button in self._buttons:
                button.close()


def _counter(pin: int, count: Callable[[], None], pin_factory: Any) -> Any:
    encoder = DigitalInputDevice(pin, pull_up=False, pin_factory=pin_factory)
    encoder.when_activated = count
    return encoder


def _button(pin: int, press: Callable[[], None], pin_factory: Any) -> Any:
    button = Button(pin, pull_up=True, bounce_time=_BOUNCE_S, pin_factory=pin_factory)
    button.when_pressed = press
    return button


def _switch(output: Any, *, on: bool) -> None:
    # gpiozero's `on` of a lamp or buzzer also ends a background blink; writing a level that holds
    # already would cost a lock and a thread check on every turn of the loop.
    if bool(output.value) != on:
        if on:
            output.on()
        else:
            output.off()


@contextmanager
def _translated(what: str, errors: Errors) -> Iterator[None]:
    try:
        yield
    except (GPIOZeroError, OSError, *errors) as error:
        raise HardwareError(f"{what}: {error}") from error
