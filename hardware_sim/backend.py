"""The backend `sim`: the real drivers over simulated instruments in one world.

Laws:
- what is opened here differs from the backend `pi` in the instruments only: the same drivers, the
  same pins, the same register traffic;
- scene, seed and speed decide everything; nothing is drawn from elsewhere.

The configuration file is the TOML form of `SimConfiguration`.
"""

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec

from device.drivers.camera import Picamera2Camera, configure
from device.drivers.gpio import GpioControls, GpioSignals, GpioWheels, Pins
from device.drivers.rangefinder import Vl53l0xRange
from device.hardware import Instruments, opening
from hardware_sim import scene as scenes
from hardware_sim.camera import SimulatedPicamera2
from hardware_sim.clock import VirtualClock
from hardware_sim.disk import Disk
from hardware_sim.faults import Fault
from hardware_sim.i2c import I2cBus
from hardware_sim.pins import WorldPinFactory
from hardware_sim.power import PowerSupply
from hardware_sim.vl53l0x import Vl53l0x
from hardware_sim.world import World
from shared import settings
from shared.clock import Clock, SystemClock
from shared.errors import HardwareError
from shared.ids import Name
from shared.task import WALL_DISTANCE

_log = logging.getLogger(__name__)

_PREFIX = "PARKFLEET_SIM"
_FRAME_US = 33_333
_Side = Annotated[int, msgspec.Meta(ge=16, le=1280)]


class SimConfiguration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A simulated car.

    `scene` is a shipped scene's name or a file. `speed` is how many virtual seconds pass in a real
    one, 0 for as many as the machine can compute; `rest_speed` the same while the person has
    nothing to do, 0 for no difference. The camera captures at the size of the model's picture, so
    that nothing is rendered to be averaged away; a real one captures twice that.
    `faults` act beside the scene's, counted from the start.
    """

    scene: str = "beige"
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**31 - 1)] = 0
    speed: Annotated[float, msgspec.Meta(ge=0.0, le=1000.0)] = 1.0
    rest_speed: Annotated[float, msgspec.Meta(ge=0.0, le=1000.0)] = 0.0
    camera: Name = "rear"
    width: _Side = WALL_DISTANCE.picture_width
    height: _Side = WALL_DISTANCE.picture_height
    has_range_sensor: bool = True
    range_offset_mm: float = 0.0
    pins: Pins = Pins()
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True, kw_only=True)
class SimulatedCar:
    """A car's instruments together with the world that they are part of."""

    configuration: SimConfiguration
    world: World
    clock: VirtualClock
    camera: SimulatedPicamera2
    pins: WorldPinFactory
    disk: Disk
    instruments: Instruments

    def close(self) -> None:
        """Stop the wheels and release everything, also what a fault keeps from answering."""
        try:
            self.instruments.close()
        except HardwareError as error:
            _log.warning("instrument_not_closed error=%s", error)
        self.pins.close()
        self.disk.close()


def open_car(configuration: SimConfiguration, real: Clock) -> SimulatedCar:
    """Return a car in a new world that starts at the `real` clock's UTC.

    Raises:
        UsageError: the scene is broken.
    """
    scene = scenes.load(configuration.scene)
    world = World(scene, configuration.seed, start_us=real.utc_us(), faults=configuration.faults)
    PowerSupply(world)
    clock = VirtualClock(
        world, real, speed=configuration.speed, rest_speed=configuration.rest_speed
    )
    pins = WorldPinFactory(world, configuration.pins)
    camera = SimulatedPicamera2(world, clock, configuration.seed)
    configure(camera, width=configuration.width, height=configuration.height, frame_us=_FRAME_US)
    bus = I2cBus(Vl53l0x(world, configuration.seed), world, clock)
    range_sensor = None
    if configuration.has_range_sensor:
        with opening("range sensor"):
            range_sensor = Vl53l0xRange(bus, clock, offset_mm=configuration.range_offset_mm)
    instruments = Instruments(
        clock=clock,
        camera=Picamera2Camera(camera, configuration.camera),
        range_sensor=range_sensor,
        wheels=GpioWheels(configuration.pins, pins),
        signals=GpioSignals(configuration.pins, pins),
        controls=GpioControls(configuration.pins, pins),
    )
    return SimulatedCar(
        configuration=configuration,
        world=world,
        clock=clock,
        camera=camera,
        pins=pins,
        disk=Disk(world),
        instruments=instruments,
    )


def open_instruments(configuration: Path | None) -> Instruments:
    """Open a simulated car's instruments; the entry point `sim`.

    Raises:
        UsageError: the configuration or its scene is wrong.
    """
    wanted = settings.load(SimConfiguration, configuration, prefix=_PREFIX)
    return open_car(wanted, SystemClock()).instruments
