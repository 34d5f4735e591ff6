"""One seeded physical world: a differential-drive car before a wall, in fixed steps of time.

Laws:
- the world advances in steps of `STEP_US` and in nothing else, so that the same seed and the same
  commands give the same world, however time is paced;
- instruments look at the past: `pose_at` answers for any moment of the last `HISTORY_S` seconds,
  because a picture or a range belongs to the moment when it was taken, not when it is asked for;
- the car never enters the wall nor an obstacle: it is held there, and each new touch is counted.

Geometry: the wall is z = 0 and the car stands with its rear towards it. `z_mm` and `x_mm` are those
of the bumper's centre, `heading_deg` the angle between the car's rear axis and the wall's normal.
The distance that matters (what a person would measure) runs along the car's axis, to the wall or to
an obstacle that stands before it.

Motors are first-order lags behind a dead band, a few per cent unequal; wheels slip, so that what an
encoder counts is a little more than the way the car goes.
"""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

import numpy as np

from hardware_sim.faults import Fault, Faults
from hardware_sim.render import Pose
from hardware_sim.scene import Scene

STEP_US: Final = 2_000
HISTORY_S: Final = 4.0
_HISTORY_STEPS: Final = int(HISTORY_S * 1e6 / STEP_US)


class Actor(Protocol):
    """What happens in the world by itself: an instrument that measures, a person."""

    def tick(self, now_us: int) -> None:
        """Do what is due at `now_us`; called once after each step."""
        ...


@dataclass(frozen=True, kw_only=True)
class Chassis:
    """The car's body and drive. Lengths in mm; the wheel is that of a common TT-motor platform.

    `bumper_width` is what can touch: narrower than the track, so that a car at 30 degrees may stop
    40 mm before the wall along its axis (its corner is there first, at half the width x tan 30).
    `edges_per_turn` counts rising edges of an encoder on the motor's own shaft (13 per turn, behind
    a gear of 45:1). `full_speed_mm_s` is a wheel's speed at full duty, `dead_band` the duty below
    which it does not move, `lag_s` the time constant. `unequal` and `slip` bound what a seed draws:
    the motors' relative difference and the share of a wheel's way that is lost. A rolling wheel
    creeps by its driving force over its load, divided by its slip slope: at a steady speed the
    force is rolling resistance alone (0.05 of the load on carpet), and rubber's slope is 5 where it
    is worn and slippery, 20 to 40 on a hard, dry floor (F. Gustafsson, "Slip-based tire-road
    friction estimation", Automatica 33(6), 1997), hence at most 0.01.
    """

    bumper_width: float = 110.0
    track: float = 130.0
    axle_to_bumper: float = 70.0
    wheel_diameter: float = 65.0
    edges_per_turn: int = 585
    full_speed_mm_s: float = 420.0
    dead_band: float = 0.07
    lag_s: float = 0.06
    unequal: float = 0.04
    slip: float = 0.01

    @property
    def mm_per_edge(self) -> float:
        """The way of a wheel between two rising edges."""
        return math.pi * self.wheel_diameter / self.edges_per_turn


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where the bumper's centre is and where the car points; see the module's geometry."""

    x_mm: float
    z_mm: float
    heading_deg: float

    @property
    def distance_mm(self) -> float:
        """Bumper to wall along the car's axis."""
        return self.z_mm / math.cos(math.radians(self.heading_deg))

    def pose(self) -> Pose:
        """Return the placement as the renderer takes it."""
        heading = math.radians(self.heading_deg)
        return Pose(
            distance_mm=self.distance_mm,
            angle_deg=self.heading_deg,
            lateral_mm=self.x_mm + self.z_mm * math.tan(heading),
        )


class World:
    """The car, the wall and everything that acts in it."""

    def __init__(
        self,
        scene: Scene,
        seed: int,
        *,
        start_us: int,
        chassis: Chassis | None = None,
        faults: Sequence[Fault] = (),
    ) -> None:
        """Put the car where the scene's approach starts, with motors and slip drawn from `seed`.

        `faults` act beside those of whatever scene the car is in. `rests` is set by whoever acts in
        the world: nothing is to happen in it until there is another order.
        """
        self.scene = scene
        self.chassis = chassis or Chassis()
        self._lasting = Faults(faults, start_us=start_us)
        self.faults = Faults(scene.faults, start_us=start_us, beside=self._lasting)
        self.now_us = start_us
        self.start_us = start_us
        self.contacts = 0
        self.rests = False
        self.actors: list[Actor] = []
        rng = np.random.default_rng((seed, 0x776F726C))
        half = self.chassis.unequal / 2.0
        self._strength = tuple(1.0 + float(rng.uniform(-half, half)) for _ in range(2))
        self._slip = tuple(float(rng.uniform(0.0, self.chassis.slip)) for _ in range(2))
        self._duty = [0.0, 0.0]
        self._speed = [0.0, 0.0]
        self._travel = [0.0, 0.0]
        self._touching = False
        self._placement = Placement(x_mm=0.0, z_mm=scene.approach.start_mm[1], heading_deg=0.0)
        self._history: deque[Placement] = deque([self._placement], maxlen=_HISTORY_STEPS)

    @property
    def placement(self) -> Placement:
        """Where the car is now."""
        return self._placement

    @property
    def distance_mm(self) -> float:
        """True distance along the car's axis from the bumper to what stands there, now."""
        return self._clear_mm(self._placement)

    @property
    def speeds_mm_s(self) -> tuple[float, float]:
        """What left and right wheel turn at their rim; positive is away from the wall."""
        return self._speed[0], self._speed[1]

    @property
    def travel_mm(self) -> tuple[float, float]:
        """How far left and right wheel have turned at their rim, in either direction."""
        return self._travel[0], self._travel[1]

    @property
    def is_still(self) -> bool:
        """Tell whether both wheels stand and are not driven."""
        return not any(self._duty) and all(abs(speed) < 0.5 for speed in self._speed)

    def unbalance(self, difference: float) -> None:
        """Make the left motor stronger than the right one by the share `difference`."""
        self._strength = (1.0 + difference / 2.0, 1.0 - difference / 2.0)

    def set_duty(self, side: int, duty: float) -> None:
        """Drive the left (0) or right (1) motor with -1 (towards the wall) to 1."""
        self._duty[side] = duty

    def place(self, placement: Placement) -> None:
        """Lift the car and put it somewhere else, standing still."""
        self._placement = placement
        self._history[-1] = placement
        self._speed = [0.0, 0.0]
        self._touching = False

    def change_scene(self, scene: Scene) -> None:
        """Go on in another setting; the car stays where it is."""
        self.scene = scene
        self.faults = Faults(scene.faults, start_us=self.now_us, beside=self._lasting)

    def placement_at(self, moment_us: int) -> Placement:
        """Return where the car was at `moment_us`, between two steps interpolated.

        Moments before the history's start answer with its start, future ones with now.
        """
        steps_back = (self.now_us - moment_us) / STEP_US
        last = len(self._history) - 1
        if steps_back <= 0.0:
            return self._placement
        if steps_back >= last:
            return self._history[0]
        whole = int(steps_back)
        later, earlier = self._history[last - whole], self._history[last - whole - 1]
        share = steps_back - whole
        return Placement(
            x_mm=later.x_mm + (earlier.x_mm - later.x_mm) * share,
            z_mm=later.z_mm + (earlier.z_mm - later.z_mm) * share,
            heading_deg=later.heading_deg + (earlier.heading_deg - later.heading_deg) * share,
        )

    def true_mm_at(self, moment_us: int) -> float:
        """Return the true distance from the bumper to what stood behind it at `moment_us`."""
        return self._clear_mm(self.placement_at(moment_us))

    def step(self) -> None:
        """Advance by one step, then let every actor act."""
        self.now_us += STEP_US
        self._drive(STEP_US / 1e6)
        self._history.append(self._placement)
        for actor in self.actors:
            actor.tick(self.now_us)

    def _drive(self, seconds: float) -> None:
        stalled = self.faults.acts("motor_stalled", self.now_us)
        if self.is_still and not stalled:
            self._speed = [0.0, 0.0]
            return
        ways = [0.0, 0.0]
        for side in (0, 1):
            wanted = 0.0 if stalled and side == 0 else self._wanted_speed(side)
            self._speed[side] += (wanted - self._speed[side]) * min(
                1.0, seconds / self.chassis.lag_s
            )
            way = self._speed[side] * seconds
            self._travel[side] += abs(way)
            ways[side] = way * (1.0 - self._slip[side])
        self._move(*ways)

    def _wanted_speed(self, side: int) -> float:
        duty, chassis = self._duty[side], self.chassis
        if abs(duty) <= chassis.dead_band:
            return 0.0
        drive = (abs(duty) - chassis.dead_band) / (1.0 - chassis.dead_band)
        return math.copysign(drive * chassis.full_speed_mm_s * self._strength[side], duty)

    def _move(self, left_mm: float, right_mm: float) -> None:
        """Move the axle by the wheels' ways (positive: away from the wall) and meet the wall."""
        chassis, former = self.chassis, self._placement
        # Seen from above with the rear towards the wall, the left wheel lies at larger x.
        turn = math.degrees((left_mm - right_mm) / chassis.track)
        heading = former.heading_deg + turn
        middle = math.radians(former.heading_deg + turn / 2.0)
        way = (left_mm + right_mm) / 2.0
        swing = math.radians(heading), math.radians(former.heading_deg)
        x = former.x_mm - way * math.sin(middle)
        x += chassis.axle_to_bumper * (math.sin(swing[0]) - math.sin(swing[1]))
        z = former.z_mm + way * math.cos(middle)
        z -= chassis.axle_to_bumper * (math.cos(swing[0]) - math.cos(swing[1]))
        moved = Placement(x_mm=x, z_mm=z, heading_deg=heading)
        self._placement = self._held(moved)

    def _clear_mm(self, placement: Placement) -> float:
        obstacle = self.scene.obstacle
        if obstacle is None:
            return placement.distance_mm
        ahead_mm = placement.z_mm - obstacle.z_mm
        heading = math.radians(placement.heading_deg)
        x_mm = placement.x_mm + ahead_mm * math.tan(heading)
        in_the_way = ahead_mm >= 0.0 and abs(x_mm - obstacle.x_mm) <= obstacle.width_mm / 2.0
        return ahead_mm / math.cos(heading) if in_the_way else placement.distance_mm

    def _held(self, moved: Placement) -> Placement:
        limit = self._nearest_z_mm(moved)
        if moved.z_mm > limit:
            # A bumper that trembles against the wall is one touch, not many.
            self._touching = self._touching and moved.z_mm < limit + 1.0
            return moved
        if not self._touching:
            self.contacts += 1
        self._touching = True
        self._speed = [max(speed, 0.0) for speed in self._speed]
        return replace(moved, z_mm=limit)

    def _nearest_z_mm(self, placement: Placement) -> float:
        """Return how near to the wall the bumper's centre can be, as the car stands."""
        half = self.chassis.bumper_width / 2.0
        heading = math.radians(placement.heading_deg)
        at_wall, obstacle = half * abs(math.sin(heading)), self.scene.obstacle
        if obstacle is None or placement.z_mm <= obstacle.z_mm - half:
            return at_wall
        # The part of the bumper that is before the obstacle: its point nearest to the wall counts.
        left, right = (
            (obstacle.x_mm + side * obstacle.width_mm / 2.0 - placement.x_mm) / math.cos(heading)
            for side in (-1.0, 1.0)
        )
        first, last = max(left, -half), min(right, half)
        if first > last:
            return at_wall
        reach = max(-first * math.sin(heading), -last * math.sin(heading))
        return max(at_wall, obstacle.z_mm + reach)
