"""The last seconds of one car: measured and estimated distance, speed, state.

Laws:
- a trace is a value: what comes later makes a new one, and the old one stays as it was;
- it holds `SPAN_US` and no more than `KEPT` points, whatever a car sends.
"""

from dataclasses import dataclass

SPAN_US = 30_000_000
KEPT = 300
"""Twice what a car sends in that time: five times a second."""


@dataclass(frozen=True, kw_only=True)
class Point:
    """What a car said at one moment of the console's monotonic clock."""

    at_us: int
    label: float | None
    estimate: float | None
    speed_mm_s: float
    state: str


@dataclass(frozen=True)
class Trace:
    """Points, oldest first."""

    points: tuple[Point, ...] = ()

    def after(self, point: Point) -> "Trace":
        """Return this trace with `point` at its end."""
        first_us = point.at_us - SPAN_US
        kept = tuple(each for each in self.points[1 - KEPT :] if each.at_us >= first_us)
        return Trace((*kept, point))

    def since(self, first_us: int) -> tuple[Point, ...]:
        """Return the points from `first_us` on."""
        return tuple(each for each in self.points if each.at_us >= first_us)

    def mean_error(self) -> float | None:
        """Return the mean distance between estimate and measurement, None where neither is."""
        errors = [
            abs(each.estimate - each.label)
            for each in self.points
            if each.estimate is not None and each.label is not None
        ]
        return sum(errors) / len(errors) if errors else None
