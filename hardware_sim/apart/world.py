"""`parkfleet sim world`: one seeded world with a car's hardware in it, and nobody driving.

Laws:
- scene, seed and faults decide what the world does by itself, as in one process; what its cars do
  and when is up to other processes and real time, so two runs are alike and not the same;
- a fault of the car's computer (a full disk, a cut of its power, a clock set wrong) cannot be had:
  that computer is another process.
"""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from device.drivers.gpio import Pins
from hardware_sim import scene as scenes
from hardware_sim.apart.lines import Lines
from hardware_sim.apart.link import listening
from hardware_sim.apart.serving import WorldServer
from hardware_sim.apart.sessions import Hardware, MotorWatch
from hardware_sim.camera import SimulatedPicamera2
from hardware_sim.faults import Fault, FaultName
from hardware_sim.i2c import I2cBus
from hardware_sim.person import Person
from hardware_sim.pins import WorldPinFactory
from hardware_sim.scene import Scene
from hardware_sim.script import Desk
from hardware_sim.vl53l0x import Vl53l0x
from hardware_sim.world import World
from shared.clock import Clock
from shared.errors import UsageError

_log = logging.getLogger(__name__)

_ELSEWHERE: Final[frozenset[FaultName]] = frozenset({"disk_full", "power_cut", "clock_jump"})


@dataclass(frozen=True)
class _BusTime:
    """Time on a bus that is really waited for: the socket takes as long as a transfer."""

    clock: Clock

    def monotonic_us(self) -> int:
        return self.clock.monotonic_us()

    def advance_us(self, duration_us: int) -> None:
        """Do nothing."""


def build(
    scene: Scene, seed: int, clock: Clock, *, strict: bool = False, faults: Sequence[Fault] = ()
) -> Hardware:
    """Return a world that begins now, by `clock`, with a car before its wall.

    `strict` frees a dead process's pins as `dtparam=strict_gpiod` does.

    Raises:
        UsageError: a fault is one of the car's computer.
    """
    for fault in (*faults, *scene.faults):
        if fault.name in _ELSEWHERE:
            raise UsageError(
                f"{fault.name} is a fault of the car's computer, which is another process here"
            )
    world = World(scene, seed, start_us=clock.monotonic_us(), faults=faults)
    wiring = Pins()
    pins = WorldPinFactory(world, wiring)
    return Hardware(
        world=world,
        wiring=wiring,
        pins=pins,
        lines=Lines(pins, strict=strict),
        bus=I2cBus(Vl53l0x(world, seed), world, _BusTime(clock)),
        camera=SimulatedPicamera2(world, clock, seed),
        motors=MotorWatch(world, pins, wiring),
    )


def serve(
    path: Path,
    clock: Clock,
    *,
    scene: str,
    seed: int,
    strict: bool,
    faults: Sequence[Fault],
    script: Path | None,
    ready: Callable[[], None],
    stop: Callable[[], bool],
) -> None:
    """Hold a world that cars reach at `path` until `stop()`; `ready` is told when they can.

    With a `script` a person stands beside the car and does what it says.

    Raises:
        UsageError: the scene, a fault, the script or the path is wrong.
    """
    # What a person got wrong is told before a folder or a socket is made.
    hardware = build(scenes.load(scene), seed, clock, strict=strict, faults=faults)
    if script is not None:
        Desk(script).order()
    with listening(path) as listener:
        if script is not None:
            person = Person(hardware.world, hardware.pins, hardware.wiring, Desk(script), seed=seed)
            hardware.camera.observers.append(person.exposed)
        _log.info("world_ready socket=%s scene=%s seed=%d", path, scene, seed)
        ready()
        WorldServer(hardware, clock, listener).run(stop)
