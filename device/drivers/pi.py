"""The backend `pi`: a real car's instruments.

Laws:
- vendors' libraries are imported when the backend is opened, and a missing one is named with its
  remedy;
- what was opened before a failure is closed again, in reverse order.

The configuration file is the TOML form of `PiConfiguration`.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from gpiozero import GPIOZeroError

from device.drivers.camera import Picamera2Camera, UnconfiguredCamera, configure
from device.drivers.cutoff import GpioCutoff
from device.drivers.gamepad import GamepadControls, InputDevice, MergedControls, find_gamepads
from device.drivers.gpio import Errors, GpioControls, GpioSignals, GpioWheels, Pins
from device.drivers.rangefinder import Vl53l0xRange
from device.hardware import Controls, Instruments, opening
from shared import settings
from shared.clock import Clock, SystemClock
from shared.errors import HardwareError, UsageError
from shared.ids import END, Name

_PREFIX = "PARKFLEET_PI"
_GAMEPAD = Annotated[
    str, msgspec.Meta(pattern=rf"^(auto|none|/dev/input/[A-Za-z0-9/_.:-]+){END}", max_length=200)
]
_PIXELS = Annotated[int, msgspec.Meta(ge=50, le=1280)]


class PiConfiguration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How this car is wired.

    The camera captures twice the size of the model's picture: averaging that down is 40 times
    cheaper than from 640x480. `range_offset_mm` is taken off each range before any calibration.
    `gamepad` is "auto" for the first one there is, by cable or by Bluetooth, "none", or a device
    file such as /dev/input/event5.
    """

    camera: Name = "rear"
    width: _PIXELS = 200
    height: _PIXELS = 150
    frame_us: Annotated[int, msgspec.Meta(ge=8_000, le=200_000)] = 33_333
    range_sensor: Literal["vl53l0x", "none"] = "vl53l0x"
    range_offset_mm: float = 0.0
    gamepad: _GAMEPAD = "auto"
    pins: Pins = Pins()


def open_instruments(configuration: Path | None) -> Instruments:
    """Open a car's instruments.

    Raises:
        UsageError: the configuration is wrong or a library is missing.
        HardwareError: an instrument does not answer.
    """
    wired = settings.load(PiConfiguration, configuration, prefix=_PREFIX)
    clock = SystemClock()
    with ExitStack() as opened, _missing_libraries():
        with opening("wheels"):
            factory, errors = _pin_factory()
            opened.callback(factory.close)
            wheels = GpioWheels(wired.pins, factory, errors=errors)
            opened.callback(wheels.close)
        with opening("lamp and buzzer"):
            signals = GpioSignals(wired.pins, factory, errors=errors)
            opened.callback(signals.close)
        with opening("controls"):
            buttons = GpioControls(wired.pins, factory, errors=errors)
            opened.callback(buttons.close)
            controls = _with_gamepad(buttons, wired.gamepad, clock)
        with opening("camera"):
            camera = _camera(wired)
            opened.callback(camera.close)
        range_sensor = None
        if wired.range_sensor == "vl53l0x":
            with opening("range sensor"):
                range_sensor = Vl53l0xRange(_i2c(), clock, offset_mm=wired.range_offset_mm)
        opened.pop_all()
    return Instruments(
        clock=clock,
        camera=camera,
        range_sensor=range_sensor,
        wheels=wheels,
        signals=signals,
        controls=controls,
    )


def open_cutoff(configuration: Path | None) -> GpioCutoff:
    """Return what cuts this car's motors when the driving process is gone.

    Raises:
        UsageError: the configuration is wrong or a library is missing.
        HardwareError: this machine has no GPIO pins.
    """
    wired = settings.load(PiConfiguration, configuration, prefix=_PREFIX)
    with _missing_libraries():
        factory, errors = _pin_factory()
    return GpioCutoff(wired.pins, factory, errors=errors)


def _pin_factory() -> tuple[Any, Errors]:
    """Return the pins of this machine, and the errors that their library raises.

    Raises:
        HardwareError: there are none, or this user may not use them.
    """
    try:
        import lgpio
        from gpiozero.pins.lgpio import LGPIOFactory
    except OSError as error:
        # It makes a pipe in the working directory as it is imported (joan2937/lg, issue 22).
        raise HardwareError(
            f"lgpio needs a working directory that this user may write to, not {Path.cwd()}: "
            f"{error.strerror}"
        ) from None
    errors: Errors = (lgpio.error,)
    try:
        return LGPIOFactory(), errors
    except (GPIOZeroError, OSError, *errors) as error:
        raise HardwareError(
            f"no GPIO pins here: {error}; on a Raspberry Pi, is this user in the group gpio?"
        ) from error


def _with_gamepad(buttons: GpioControls, wanted: str, clock: Clock) -> Controls:
    if wanted == "none":
        return buttons
    from evdev import InputDevice as EvdevDevice

    def find() -> InputDevice | None:
        for path in find_gamepads() if wanted == "auto" else [wanted]:
            try:
                device: InputDevice = EvdevDevice(path)
            except OSError:
                continue
            return device
        return None

    return MergedControls((buttons, GamepadControls(find, clock)))


def _camera(wired: PiConfiguration) -> Picamera2Camera:
    from picamera2 import Picamera2

    try:
        picam2: UnconfiguredCamera = Picamera2()
        configure(picam2, width=wired.width, height=wired.height, frame_us=wired.frame_us)
    except (IndexError, RuntimeError, OSError) as error:
        raise HardwareError(f"no camera answers: {error}") from error
    return Picamera2Camera(picam2, wired.camera)


def _i2c() -> Any:
    try:
        import board
        import busio

        return busio.I2C(board.SCL, board.SDA)
    except (NotImplementedError, AttributeError) as error:
        # How Blinka says that it does not know this machine.
        raise UsageError(f"no I2C bus on this kind of machine: {error}; use 'sim'") from None
    except (OSError, ValueError, RuntimeError) as error:
        raise HardwareError(f"no I2C bus: {error}; enable it with raspi-config") from error


@contextmanager
def _missing_libraries() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        raise UsageError(
            f"the hardware backend 'pi' needs {error.name}, which this machine does not have; on a "
            "Raspberry Pi: apt install python3-picamera2 python3-lgpio python3-evdev, and "
            "pip install 'parkfleet[device,pi]'; elsewhere: use 'sim'"
        ) from None
