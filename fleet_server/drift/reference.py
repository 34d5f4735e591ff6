"""What is normal for a model: the statistics of its reference manoeuvres.

Laws:
- it is built once from the model's first manoeuvres in the field, or those it was trained on, and
  never moves with what it judges;
- its own manoeuvres are held beside its norms just as those are that it judges.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from fleet_server.drift import norms
from fleet_server.drift.comparison import Rows, compare
from fleet_server.drift.norms import Doubles, Norms
from fleet_server.drift.summaries import Summary

_FEWEST_ON_A_LINE: Final = 5


@dataclass(frozen=True, kw_only=True)
class Reference:
    """The norms, and the reference's own rows beside them; `ends` are its smallest and largest
    labels, `residual` its mean of estimate - label, `lines` the offset and slope of the labels over
    the estimates in each manoeuvre that has them.
    """

    norms: Norms
    manoeuvres: int
    rows: Rows
    ends: tuple[float, float]
    residual: float
    lines: Doubles


class Built:
    """References that were built lately, so that each is built once; not for two threads."""

    def __init__(self, most: int = 256) -> None:
        """Keep up to `most`."""
        self._most = most
        self._kept: dict[tuple[int, ...], Reference] = {}
        self._erased: object = None

    def heed(self, erased: object) -> bool:
        """Forget all where `erased`, the state of what was erased, is not that of the last time."""
        if erased == self._erased:
            return False
        self._erased = erased
        self._kept.clear()
        return True

    def get(self, numbers: tuple[int, ...], make: Callable[[], Reference]) -> Reference:
        """Return the reference made of the manoeuvres `numbers`, by `make` where it is new."""
        found = self._kept.pop(numbers, None)
        if found is None:
            found = make()
            if len(self._kept) >= self._most:
                self._kept.pop(next(iter(self._kept)))
        self._kept[numbers] = found
        return found


def build(found: Sequence[Summary], normal: float) -> Reference:
    """Return the statistics of `found`, the reference's manoeuvres.

    `normal` is the model's usual error, where no reference manoeuvre says what it is.
    """
    every = [norms.cells_of(each) for each in found]
    known = norms.of(every, normal)
    lines = [line for line in map(line_of, found) if line is not None]
    return Reference(
        norms=known,
        manoeuvres=len(found),
        rows=compare(known, found, every),
        ends=ends_of(found),
        residual=mean_residual(found),
        lines=np.asarray(lines, dtype=np.float64).reshape(-1, 2),
    )


def ends_of(found: Sequence[Summary]) -> tuple[float, float]:
    """Return the smallest and largest label of manoeuvres; estimates where there is no sensor."""
    known = [each.distances for each in found if each.distances.samples]
    if not known:
        return math.nan, math.nan
    return min(each.low for each in known), max(each.high for each in known)


def mean_residual(found: Sequence[Summary]) -> float:
    """Return the mean of estimate - label over manoeuvres."""
    samples = sum([each.residuals.samples for each in found])
    return sum([each.residuals.total for each in found]) / samples if samples else 0.0


def line_of(summary: Summary) -> tuple[float, float] | None:
    """Return offset and slope of the label over the estimate in a manoeuvre, where it has them."""
    judged, estimates, count = summary.judged, summary.estimates, summary.judged.samples
    if count < estimates.samples or count < _FEWEST_ON_A_LINE or not estimates.variance > 1.0:
        return None
    covariance = summary.product / count - judged.mean * estimates.mean
    slope = covariance / estimates.variance
    return judged.mean - slope * estimates.mean, slope
