"""Wheels, signals and controls do with pins what they say."""

from collections.abc import Iterator

import pytest
from gpiozero.pins.mock import MockFactory, MockPWMPin

from device.drivers.gpio import GpioControls, GpioSignals, GpioWheels, Pins
from shared.errors import HardwareError

PINS = Pins()


@pytest.fixture
def factory() -> Iterator[MockFactory]:
    made = MockFactory(pin_class=MockPWMPin)
    yield made
    made.reset()


def motor_levels(factory: MockFactory) -> tuple[float, ...]:
    pins = (PINS.left_phase, PINS.left_enable, PINS.right_phase, PINS.right_enable)
    return tuple(float(factory.pin(pin).state) for pin in pins)


def test_a_duty_sets_direction_and_strength_of_each_motor(factory: MockFactory) -> None:
    wheels = GpioWheels(PINS, factory)
    wheels.set_duty(-0.4, 0.3)
    assert motor_levels(factory) == (1.0, 0.4, 0.0, 0.3)
    wheels.set_duty(-7.0, 0.0)
    assert motor_levels(factory) == (1.0, 1.0, 0.0, 0.0)
    wheels.stop()
    assert motor_levels(factory)[1::2] == (0.0, 0.0)
    wheels.close()
    wheels.stop()


def test_rising_edges_are_counted_a_wheel_each(factory: MockFactory) -> None:
    wheels = GpioWheels(PINS, factory)
    for pin, times in ((PINS.left_encoder, 3), (PINS.right_encoder, 5)):
        for _ in range(times):
            factory.pin(pin).drive_high()
            factory.pin(pin).drive_low()
    assert wheels.edges() == (3, 5)
    wheels.close()


def test_signals_switch_and_end_switched_off(factory: MockFactory) -> None:
    signals = GpioSignals(PINS, factory)
    signals.set_led(on=True)
    signals.set_buzzer(on=True)
    signals.set_buzzer(on=True)
    assert (factory.pin(PINS.led).state, factory.pin(PINS.buzzer).state) == (1, 1)
    signals.set_buzzer(on=False)
    assert (factory.pin(PINS.led).state, factory.pin(PINS.buzzer).state) == (1, 0)
    signals.close()


def test_presses_come_out_once_and_in_order(factory: MockFactory) -> None:
    controls = GpioControls(PINS, factory)
    for pin in (PINS.button_park, PINS.button_stop, PINS.button_park_by_sensor):
        factory.pin(pin).drive_low()
        factory.pin(pin).drive_high()
    presses = [controls.pressed() for _ in range(4)]
    assert presses == ["park", "stop", "park_by_sensor", None]
    controls.close()


def test_a_pin_in_use_is_a_hardware_error(factory: MockFactory) -> None:
    wheels = GpioWheels(PINS, factory)
    with pytest.raises(HardwareError, match="wheels"):
        GpioWheels(PINS, factory)
    wheels.close()


class LibraryError(Exception):
    """As lgpio's: of no family."""


class _DeadPin(MockPWMPin):  # type: ignore[misc] # gpiozero ships no types
    def _change_state(self, value: float) -> bool:
        if self.factory.is_dead:
            raise LibraryError("bad GPIO write")
        return bool(super()._change_state(value))


def test_what_the_pins_own_library_raises_is_a_fault_of_the_hardware() -> None:
    factory = MockFactory(pin_class=_DeadPin)
    factory.is_dead = False
    wheels = GpioWheels(PINS, factory, errors=(LibraryError,))
    factory.is_dead = True
    with pytest.raises(HardwareError, match="bad GPIO write"):
        wheels.set_duty(-0.5, -0.5)
    factory.is_dead = False
    wheels.close()
