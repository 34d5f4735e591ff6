"""Two wheels that turn at a wanted speed, from the edges of their encoders.

Laws:
- the car only ever reverses: every duty lies in -1..0;
- speed 0 means duty 0 at once, and forgets what was being corrected;
- each wheel is held to the distance it should have covered, not only to its speed, and the wheel
  that is ahead is held back until both have covered the same, so that the car drives straight;
- a wheel that is driven and, for 0.4 s, shows no edge, or turns at less than a third of the speed
  that its duty is for, is stalled: something holds the car.

Speeds are those of reversing: millimetres a second, never negative.
"""

import math
from collections import deque
from typing import Annotated

import msgspec

_MAX_TURN_S = 0.1
_STALL_US = 400_000
_HISTORY_US = 1_000_000
_SMOOTHING = 0.3
_HELD_SHARE = 0.33

# Duty a millimetre, and a millimetre-second, of one wheel's lead over the other.
_LEAD_GAIN = 0.006
_LEAD_SUM_GAIN = 0.012


class Chassis(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What of a car's body the control needs.

    The defaults are those of 65 mm wheels on geared motors whose Hall encoders give 13 rising edges
    a turn of a motor geared 45:1. `full_speed_mm_s` is the speed at duty 1, unloaded; below
    `dead_duty` the motors do not turn. `left_larger` is the share by which the left wheel's
    diameter exceeds the right one's: no encoder sees it, and 0.01 turns the car by 1.8 degrees in
    40 cm. Where a car always turns to the same side, set it to the angle in radians times the track
    over the way, positive where the rear swings to the right as seen from the driver's seat.
    """

    wheel_diameter_mm: float = 65.0
    left_larger: Annotated[float, msgspec.Meta(ge=-0.1, le=0.1)] = 0.0
    edges_per_turn: float = 585.0
    full_speed_mm_s: float = 400.0
    dead_duty: float = 0.06

    @property
    def mm_per_edge(self) -> float:
        """How far a wheel rolls from one edge to the next, the mean of both."""
        return math.pi * self.wheel_diameter_mm / self.edges_per_turn

    def unloaded_mm_s(self, duty: float) -> float:
        """Return the speed that a duty of 0..1 gives a wheel that nothing holds."""
        return self.full_speed_mm_s * max(0.0, duty - self.dead_duty) / (1.0 - self.dead_duty)


class Pid(msgspec.Struct, kw_only=True):
    """A PID controller with feed-forward for one wheel; its output is a duty of 0..1.

    The error is in mm/s. The gains were found on simulated cars, with motors of 60 ms time constant
    that differ by up to a fifth.
    """

    chassis: Chassis
    proportional: float = 0.0006
    integral: float = 0.006
    derivative: float = 0.0
    _sum_mm: float = 0.0
    _last_error: float = 0.0

    def duty(
        self, wanted_mm_s: float, measured_mm_s: float, moved_mm: float, dt_s: float, trim: float
    ) -> float:
        """Return the duty, `trim` included, after `moved_mm` in the `dt_s` seconds just gone."""
        error = wanted_mm_s - measured_mm_s
        owed_mm = self._sum_mm + wanted_mm_s * dt_s - moved_mm
        slope = (error - self._last_error) / dt_s if dt_s > 0 else 0.0
        self._last_error = error
        duty = (
            self.chassis.dead_duty
            + (1.0 - self.chassis.dead_duty) * wanted_mm_s / self.chassis.full_speed_mm_s
            + self.proportional * error
            + self.integral * owed_mm
            + self.derivative * slope
            + trim
        )
        if 0.0 <= duty <= 1.0:
            # While the output is at its limit, what is owed does not grow (anti-windup).
            self._sum_mm = owed_mm
        return min(1.0, max(0.0, duty))

    def reset(self) -> None:
        """Forget the past, as after standing still."""
        self._sum_mm = 0.0
        self._last_error = 0.0


class _Wheel:
    def __init__(self, chassis: Chassis) -> None:
        self.pid = Pid(chassis=chassis)
        self.speed_mm_s = 0.0
        self._free_us = 0
        self._last_edge_us = 0
        self._chassis = chassis
        self._duty = 0.0

    def update(
        self, moved_mm: float, wanted_mm_s: float, now_us: int, dt_s: float, trim: float
    ) -> float:
        if dt_s > 0:
            self.speed_mm_s += _SMOOTHING * (moved_mm / dt_s - self.speed_mm_s)
        if moved_mm or wanted_mm_s <= 0:
            self._last_edge_us = now_us
        is_held = self.speed_mm_s < _HELD_SHARE * self._chassis.unloaded_mm_s(self._duty)
        if wanted_mm_s <= 0 or not is_held:
            self._free_us = now_us
        if wanted_mm_s <= 0:
            self.pid.reset()
            self._duty = 0.0
            return 0.0
        self._duty = self.pid.duty(wanted_mm_s, self.speed_mm_s, moved_mm, dt_s, trim)
        return self._duty

    def is_stalled(self, now_us: int) -> bool:
        return now_us - min(self._last_edge_us, self._free_us) >= _STALL_US

    def rest(self, now_us: int) -> None:
        self._last_edge_us = self._free_us = now_us


class WheelControl:
    """Both wheels, and how far they have carried the car."""

    def __init__(self, chassis: Chassis) -> None:
        """Start at rest."""
        self._wheels = (_Wheel(chassis), _Wheel(chassis))
        self._mm_per_edge = (
            chassis.mm_per_edge * (1.0 + chassis.left_larger / 2),
            chassis.mm_per_edge * (1.0 - chassis.left_larger / 2),
        )
        self._edges: tuple[int, int] | None = None
        self._moved_mm = (0.0, 0.0)
        self._lead_mm = 0.0
        self._lead_sum = 0.0
        self._dt_s = 0.0
        self._now_us = 0
        self._travelled_mm = 0.0
        self._history: deque[tuple[int, float]] = deque()

    @property
    def travelled_mm(self) -> float:
        """How far the car has rolled since the start, the mean of both wheels."""
        return self._travelled_mm

    @property
    def speed_mm_s(self) -> float:
        """How fast it rolls, smoothed, the mean of both wheels."""
        return sum(wheel.speed_mm_s for wheel in self._wheels) / 2

    @property
    def is_stalled(self) -> bool:
        """Tell whether a wheel that is driven does not turn, or hardly."""
        return any(wheel.is_stalled(self._now_us) for wheel in self._wheels)

    def observe(self, edges: tuple[int, int], now_us: int) -> None:
        """Take the encoders' counts at `now_us`; call once a turn, before `duties`."""
        if self._edges is None:
            for wheel in self._wheels:
                wheel.rest(now_us)
        former = self._edges or edges
        left_mm, right_mm = self._mm_per_edge
        self._moved_mm = ((edges[0] - former[0]) * left_mm, (edges[1] - former[1]) * right_mm)
        self._dt_s = min(_MAX_TURN_S, (now_us - self._now_us) / 1e6) if self._edges else 0.0
        self._edges, self._now_us = edges, now_us
        self._travelled_mm += sum(self._moved_mm) / 2
        self._history.append((now_us, self._travelled_mm))
        while self._history[0][0] < now_us - _HISTORY_US:
            self._history.popleft()

    def duties(self, wanted_mm_s: float) -> tuple[float, float]:
        """Return the duties, left and right, that bring both wheels to `wanted_mm_s`."""
        left, right = (
            -wheel.update(moved_mm, wanted_mm_s, self._now_us, self._dt_s, trim)
            for wheel, moved_mm, trim in zip(
                self._wheels, self._moved_mm, self._trims(wanted_mm_s), strict=True
            )
        )
        return left, right

    def _trims(self, wanted_mm_s: float) -> tuple[float, float]:
        """Return what each duty gets on top, so that the wheel that is ahead waits."""
        if wanted_mm_s <= 0:
            self._lead_mm = self._lead_sum = 0.0
            return 0.0, 0.0
        self._lead_mm += self._moved_mm[0] - self._moved_mm[1]
        self._lead_sum += self._lead_mm * self._dt_s
        trim = _LEAD_GAIN * self._lead_mm + _LEAD_SUM_GAIN * self._lead_sum
        return -trim, trim

    def travelled_at(self, moment_us: int) -> float:
        """Return how far the car had rolled at a moment of the last second, interpolated."""
        later_us, later_mm = self._now_us, self._travelled_mm
        for at_us, at_mm in reversed(self._history):
            if at_us <= moment_us:
                span = later_us - at_us
                share = (moment_us - at_us) / span if span > 0 else 0.0
                return at_mm + min(1.0, share) * (later_mm - at_mm)
            later_us, later_mm = at_us, at_mm
        return later_mm
