"""The backend `sim-world`: the real drivers over instruments in another process's world.

Laws:
- what is opened here differs from the backend `pi` in the instruments only: the same drivers, the
  same machine's clock, real threads and real time;
- scene, seed and faults are the world's, which `parkfleet sim world` starts: a car can set none;
- what was opened before a failure is closed again, in reverse order.

It is a backend of its own and no setting of `sim`, because most of that one's settings would mean
nothing here. The configuration file is the TOML form of `ApartConfiguration`.
"""

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import msgspec

from device.drivers.camera import Picamera2Camera
from device.drivers.cutoff import GpioCutoff
from device.drivers.gpio import GpioControls, GpioSignals, GpioWheels, Pins
from device.drivers.rangefinder import Vl53l0xRange
from device.hardware import Instruments
from hardware_sim.apart.instruments import ApartBus, ApartPicamera2
from hardware_sim.apart.link import Link
from hardware_sim.apart.pins import ApartPinFactory
from hardware_sim.apart.wire import PIXELS, SOCKET
from shared import settings
from shared.clock import SystemClock
from shared.errors import UsageError
from shared.ids import Name
from shared.task import WALL_DISTANCE

_PREFIX: Final = "PARKFLEET_SIM_WORLD"
_FRAME_US: Final = 33_333
_BUS_PATIENCE_S: Final = 0.1
"""The control loop waits for the bus, and calls a turn of 150 ms overrun."""

_Side = Annotated[int, msgspec.Meta(ge=16, le=1280)]


class ApartConfiguration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A car in a world that another process holds.

    `socket` is where that listens, relative to this file (to the present folder where there is no
    file). `pins` is how the car's software believes to be wired; the world's own wiring is the
    default. Pictures have at most 60,000 pixels.
    """

    socket: str = SOCKET
    camera: Name = "rear"
    width: _Side = WALL_DISTANCE.picture_width
    height: _Side = WALL_DISTANCE.picture_height
    has_range_sensor: bool = True
    range_offset_mm: float = 0.0
    pins: Pins = Pins()


@dataclass(frozen=True, kw_only=True)
class _ApartInstruments(Instruments):
    """Instruments with the wires that they share, which are cut after them."""

    wires: ExitStack

    def close(self) -> None:
        """Stop the wheels first, then release everything, and cut the wires whatever came of it."""
        with self.wires:
            super().close()


def open_instruments(configuration: Path | None) -> Instruments:
    """Open a car's instruments in the world; the entry point `sim-world`.

    Raises:
        UsageError: the configuration is wrong.
        HardwareError: there is no such world, or another car has its instruments.
    """
    wanted, path = _read(configuration)
    clock = SystemClock()
    with ExitStack() as opened:
        factory = ApartPinFactory(Link(path, "pins"), clock)
        opened.callback(factory.close)
        wheels = GpioWheels(wanted.pins, factory)
        signals = GpioSignals(wanted.pins, factory)
        controls = GpioControls(wanted.pins, factory)
        picam2 = ApartPicamera2(
            Link(path, "camera"),
            width=wanted.width,
            height=wanted.height,
            frame_us=_FRAME_US,
        )
        opened.callback(picam2.close)
        camera = Picamera2Camera(picam2, wanted.camera)
        range_sensor = None
        if wanted.has_range_sensor:
            bus = ApartBus(Link(path, "bus", patience_s=_BUS_PATIENCE_S))
            opened.callback(bus.deinit)
            range_sensor = Vl53l0xRange(bus, clock, offset_mm=wanted.range_offset_mm)
        return _ApartInstruments(
            clock=clock,
            camera=camera,
            range_sensor=range_sensor,
            wheels=wheels,
            signals=signals,
            controls=controls,
            wires=opened.pop_all(),
        )


def open_cutoff(configuration: Path | None) -> GpioCutoff:
    """Return what cuts the motors of the car in the world when its driving process is gone.

    Raises:
        UsageError: the configuration is wrong.
        HardwareError: there is no such world.
    """
    wanted, path = _read(configuration)
    return GpioCutoff(wanted.pins, ApartPinFactory(Link(path, "pins"), SystemClock()))


def _read(configuration: Path | None) -> tuple[ApartConfiguration, Path]:
    """Return the configuration and where its world listens."""
    wanted = settings.load(ApartConfiguration, configuration, prefix=_PREFIX)
    if wanted.width * wanted.height > PIXELS:
        raise UsageError(
            f"pictures of {wanted.width} x {wanted.height} are too large for a world in another "
            f"process: {PIXELS} pixels at most"
        )
    return wanted, (configuration.parent if configuration else Path()) / wanted.socket
