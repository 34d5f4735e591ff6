"""Which range belongs to which picture: by time, interpolated, or not at all.

Laws:
- a label is never taken from further away in time than the stated skew;
- between two good readings the label is interpolated to the picture's moment; a single one serves
  only where it is close enough on its own;
- a picture waits for the reading after it, but not for ever, and every picture comes out once, in
  order.

33 ms at 1 m/s are 33 mm of label error: unsynchronised pairs cost more than slow inference.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from device.hardware import RangeReading
from shared.samples import SensorStatus

T = TypeVar("T")

MAX_GAP_US = 120_000
"""The longest time between two readings to interpolate over; four turns of a VL53L0X at 33 ms."""

MAX_SKEW_US = 40_000
"""How far a single reading may lie from its picture."""

_WAIT_US = 120_000
_KEPT_READINGS = 16


@dataclass(frozen=True)
class Label:
    """The sensor's word on one picture; `skew_us` is the time to the nearest reading used."""

    value: float | None
    status: SensorStatus
    skew_us: int


def label_at(moment_us: int, readings: list[RangeReading]) -> Label:
    """Return the label for a picture exposed at `moment_us`; `readings` are in order of time."""
    before = max(
        (r for r in readings if r.measured_us <= moment_us),
        key=lambda r: r.measured_us,
        default=None,
    )
    after = min(
        (r for r in readings if r.measured_us > moment_us),
        key=lambda r: r.measured_us,
        default=None,
    )
    if before and after and after.measured_us - before.measured_us <= MAX_GAP_US:
        label = _between(before, after, moment_us)
        if label is not None:
            return label
    near = [r for r in (before, after) if r and abs(r.measured_us - moment_us) <= MAX_SKEW_US]
    if not near:
        return Label(None, "no_reading", 0)
    best = min(near, key=lambda r: (r.range_mm is None, abs(r.measured_us - moment_us)))
    return Label(best.range_mm, best.status, abs(best.measured_us - moment_us))


def _between(before: RangeReading, after: RangeReading, moment_us: int) -> Label | None:
    if before.range_mm is None or after.range_mm is None:
        return None
    share = (moment_us - before.measured_us) / (after.measured_us - before.measured_us)
    value = before.range_mm + share * (after.range_mm - before.range_mm)
    skew_us = min(moment_us - before.measured_us, after.measured_us - moment_us)
    return Label(value, "ok", skew_us)


@dataclass
class Pairing(Generic[T]):
    """Pictures that wait for their label; each is any value with the moment of its exposure."""

    is_fitted: bool
    _readings: deque[RangeReading] = field(default_factory=lambda: deque(maxlen=_KEPT_READINGS))
    _waiting: deque[tuple[int, T]] = field(default_factory=deque)

    def add_reading(self, reading: RangeReading) -> None:
        """Take a reading, in order of time."""
        self._readings.append(reading)

    def add_picture(self, exposed_us: int, picture: T) -> None:
        """Take a picture, in order of time."""
        self._waiting.append((exposed_us, picture))

    def due(self, now_us: int) -> list[tuple[T, Label]]:
        """Return the pictures whose label is settled by now, oldest first."""
        settled = []
        while self._waiting and self._is_settled(self._waiting[0][0], now_us):
            exposed_us, picture = self._waiting.popleft()
            settled.append((picture, self._label(exposed_us)))
        return settled

    def rest(self) -> list[tuple[T, Label]]:
        """Return all that still wait, with the label that can be had now."""
        settled = [(picture, self._label(exposed_us)) for exposed_us, picture in self._waiting]
        self._waiting.clear()
        return settled

    def _is_settled(self, exposed_us: int, now_us: int) -> bool:
        if not self.is_fitted or now_us - exposed_us >= _WAIT_US:
            return True
        return bool(self._readings) and self._readings[-1].measured_us > exposed_us

    def _label(self, exposed_us: int) -> Label:
        if not self.is_fitted:
            return Label(None, "absent", 0)
        return label_at(exposed_us, list(self._readings))
