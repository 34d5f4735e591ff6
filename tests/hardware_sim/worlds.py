"""What the laboratory's tests share: a scene without chance, a clock that nobody waits for."""

from typing import Any

import msgspec

from hardware_sim import scene as scenes
from hardware_sim.clock import VirtualClock
from hardware_sim.faults import Fault, FaultName
from hardware_sim.scene import Scene
from hardware_sim.world import Placement, World

START_US = 1_700_000_000_000_000


class StillClock:
    """A real clock that stands; sleeping moves it."""

    def __init__(self, at_us: int = START_US) -> None:
        self.now_us = at_us
        self.slept_us = 0

    def monotonic_us(self) -> int:
        return self.now_us

    def utc_us(self) -> int:
        return self.now_us

    def is_synced(self) -> bool:
        return True

    def sleep_until_us(self, monotonic_us: int) -> None:
        self.slept_us += max(0, monotonic_us - self.now_us)
        self.now_us = max(self.now_us, monotonic_us)


def exact_scene(**range_sensor: Any) -> Scene:
    """Return the beige scene with a range sensor free of noise and dropout."""
    exact = {"noise_floor_mm": 0.0, "noise_far": 0.0, "dropout": 0.0, **range_sensor}
    scene = scenes.load("beige")
    return msgspec.structs.replace(
        scene, range_sensor=msgspec.structs.replace(scene.range_sensor, **exact)
    )


def with_fault(scene: Scene, name: FaultName, from_s: float = 0.0) -> Scene:
    """Return `scene` with one fault for good."""
    return msgspec.structs.replace(scene, faults=(Fault(name=name, from_s=from_s),))


def a_world(scene: Scene | None = None, seed: int = 1, z_mm: float = 300.0) -> World:
    """Return a world with the car straight before the wall."""
    world = World(scene or exact_scene(), seed, start_us=START_US)
    world.place(Placement(x_mm=0.0, z_mm=z_mm, heading_deg=0.0))
    return world


def a_clock(world: World, speed: float = 0.0) -> VirtualClock:
    """Return a clock over `world` that waits for nothing."""
    return VirtualClock(world, StillClock(), speed=speed)


def let_pass(world: World, seconds: float) -> None:
    """Step the world for `seconds`."""
    end_us = world.now_us + int(seconds * 1e6)
    while world.now_us < end_us:
        world.step()
