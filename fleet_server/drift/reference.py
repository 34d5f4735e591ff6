"""What is normal: the statistics of reference manoeuvres, and every manoeuvre beside them.

Laws:
- it is built once from the model's first manoeuvres in the field, or those it was trained on, and
  never moves with what it judges;
- a stretch of the range that fewer than `FEWEST` reference manoeuvres have been in is no reference:
  nothing is said there;
- a manoeuvre becomes one row of numbers a family, comparable whatever its distances were.

Columns:
- label: a manoeuvre's smallest, largest and mean label (of a car without a sensor: estimate);
- appearance: each characteristic's deviation from the reference at the same label, in standard
  deviations between manoeuvres, averaged over the manoeuvre; and the same at the same estimate;
- concept: the residual beyond the reference's at the same estimate, and the error's amount, over
  pictures whose label the reference knows and that look as in the reference: no characteristic is
  more than `SUPPORT` deviations off, at the same label or at the same estimate.

Tables have a row for each stretch of the range and a last one for "none"; what is not known is not
a number, and comparing with it gives none.
"""

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from fleet_server.drift.summaries import CELLS, CHARACTERISTICS, SIDE, Summary

Doubles = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.intp]

FEWEST: Final = 5
SUPPORT: Final = 4.0
FEWEST_INSIDE: Final = 8
"""Pictures inside the support that a window needs for its concept to be judged."""

LABEL, APPEARANCE, INSIDE = 0, 1, 2
"""What is new about a cell: a label that the reference does not know, a look, or nothing."""

_SD_SHARE: Final = 0.02
_SD_LEAST: Final = 0.5
_SIZE: Final = len(CHARACTERISTICS)


@dataclass(frozen=True, kw_only=True)
class Norm:
    """By stretch of the range: means and deviations of what manoeuvres showed there."""

    is_known: Bools
    appearance: Doubles
    deviation: Doubles
    residual: Doubles
    error: Doubles


@dataclass(frozen=True, kw_only=True)
class Norms:
    """The norms by label and by estimate, and the model's usual error."""

    by_label: Norm
    by_estimate: Norm
    error: float


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Manoeuvres as rows of numbers, a matrix each; not a number where nothing is known.

    `inside` counts the pictures that the concept was taken from.
    """

    label: Doubles
    appearance_by_label: Doubles
    appearance_by_estimate: Doubles
    concept: Doubles
    inside: int


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


@dataclass(frozen=True, kw_only=True)
class Cells:
    """The cells of a manoeuvre, one after the other in each array."""

    label: Numbers
    estimate: Numbers
    judged: Doubles
    residual: Doubles
    error: Doubles
    seen: Doubles
    appearance: Doubles


@dataclass(frozen=True, kw_only=True)
class Placed:
    """The cells of a manoeuvre as the reference sees them.

    `place` says what is new about each. `moved` are the deviations of its characteristics, those at
    the same label or at the same estimate, whichever are smaller; not numbers where there is
    nothing to compare with.
    """

    cells: Cells
    place: Numbers
    moved: Doubles
    residual_beyond: Doubles
    error_beyond: Doubles
    looks: tuple[Doubles, Doubles]


def build(found: Sequence[Summary], normal: float) -> Reference:
    """Return the statistics of `found`, the reference's manoeuvres.

    `normal` is the model's usual error, where no reference manoeuvre says what it is.
    """
    every = [cells_of(each) for each in found]
    norms = Norms(
        by_label=_norm(every, [each.label for each in every]),
        by_estimate=_norm(every, [each.estimate for each in every]),
        error=normal,
    )
    lines = [line for line in map(line_of, found) if line is not None]
    return Reference(
        norms=norms,
        manoeuvres=len(found),
        rows=compare(norms, found, every),
        ends=ends_of(found),
        residual=mean_residual(found),
        lines=np.asarray(lines, dtype=np.float64).reshape(-1, 2),
    )


def cells_of(summary: Summary) -> Cells:
    """Return a manoeuvre's cells as arrays."""
    numbers = np.fromiter(summary.cells, dtype=np.intp, count=len(summary.cells))
    kept = summary.cells.values()
    table = np.asarray(
        [(each.judged, each.residual, each.error, each.seen, *each.appearance) for each in kept],
        dtype=np.float64,
    ).reshape(-1, 4 + _SIZE)
    return Cells(
        label=numbers // SIDE,
        estimate=numbers % SIDE,
        judged=table[:, 0],
        residual=table[:, 1],
        error=table[:, 2],
        seen=table[:, 3],
        appearance=table[:, 4:],
    )


def compare(norms: Norms, found: Sequence[Summary], every: Sequence[Cells] | None = None) -> Rows:
    """Return `found` as rows beside `norms`; `every` are their cells, where they are at hand."""
    cells = [cells_of(each) for each in found] if every is None else every
    label = np.full((len(found), 3), math.nan)
    looks = np.full((2, len(found), _SIZE), math.nan)
    concept = np.full((len(found), 2), math.nan)
    inside = 0
    for at, each in enumerate(found):
        values = each.labels if each.labels.samples else each.estimates
        if values.samples:
            label[at] = values.low, values.high, values.mean
        one = placed(norms, cells[at])
        looks[:, at] = one.looks
        kept = (one.place == INSIDE) & (one.cells.judged > 0) & ~np.isnan(one.residual_beyond)
        count = float(one.cells.judged[kept].sum())
        if count:
            concept[at] = (
                float(one.residual_beyond[kept].sum()) / count,
                float(one.error_beyond[kept].sum()) / count,
            )
            inside += int(count)
    return Rows(
        label=label,
        appearance_by_label=looks[0],
        appearance_by_estimate=looks[1],
        concept=concept,
        inside=inside,
    )


def placed(norms: Norms, cells: Cells) -> Placed:
    """Return the cells of a manoeuvre with what is new about each."""
    off_label, look_label = _deviations(norms.by_label, cells, cells.label)
    off_estimate, look_estimate = _deviations(norms.by_estimate, cells, cells.estimate)
    by_label, by_estimate = off_label[cells.label], off_estimate[cells.estimate]
    most_label, most_estimate = _most(by_label), _most(by_estimate)
    is_nearer = (most_label <= most_estimate) | np.isnan(most_estimate)
    moved = np.where(is_nearer[:, None], by_label, by_estimate)
    is_new = (cells.label != CELLS) & ~norms.by_label.is_known[cells.label]
    is_strange = _most(moved) > SUPPORT
    residual, error = _usual(norms, cells)
    return Placed(
        cells=cells,
        place=np.where(is_new, LABEL, np.where(is_strange, APPEARANCE, INSIDE)),
        moved=moved,
        residual_beyond=cells.residual - residual * cells.judged,
        error_beyond=cells.error - error * cells.judged,
        looks=(look_label, look_estimate),
    )


def ends_of(found: Sequence[Summary]) -> tuple[float, float]:
    """Return the smallest and largest label of manoeuvres; estimates where there is no sensor."""
    values = [each.labels if each.labels.samples else each.estimates for each in found]
    known = [each for each in values if each.samples]
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
    if count < estimates.samples or count < FEWEST or not estimates.variance > 1.0:
        return None
    covariance = summary.product / count - judged.mean * estimates.mean
    slope = covariance / estimates.variance
    return judged.mean - slope * estimates.mean, slope


def _usual(norms: Norms, cells: Cells) -> tuple[Doubles, Doubles]:
    """Return residual and error that are usual at each cell's estimate, else at its label."""
    near, far = norms.by_estimate, norms.by_label
    is_near = near.is_known[cells.estimate]
    residual = np.where(is_near, near.residual[cells.estimate], far.residual[cells.label])
    error = np.where(is_near, near.error[cells.estimate], far.error[cells.label])
    return residual, np.where(np.isnan(error), norms.error, error)


def _most(table: Doubles) -> Doubles:
    return np.asarray(np.abs(table).max(axis=1, initial=0.0))


def _summed(cells: Cells, stretch: Numbers) -> tuple[Doubles, Doubles]:
    """Return how many pictures were seen in each stretch, and the sums of how they looked."""
    chosen = np.equal.outer(np.arange(SIDE), stretch).astype(np.float64)
    return chosen @ cells.seen, chosen @ cells.appearance


def _deviations(norm: Norm, cells: Cells, stretch: Numbers) -> tuple[Doubles, Doubles]:
    """Return the deviations in each stretch, and their mean over the pictures."""
    seen, sums = _summed(cells, stretch)
    seen[CELLS] = 0.0
    off = (sums / np.where(seen > 0.0, seen, math.nan)[:, None] - norm.appearance) / norm.deviation
    is_known = ~np.isnan(off[:, 0])
    weight = float(seen[is_known].sum())
    if not weight:
        return off, np.full(_SIZE, math.nan)
    return off, np.asarray(seen[is_known] @ off[is_known] / weight)


def _norm(every: Sequence[Cells], stretches: Sequence[Numbers]) -> Norm:
    looks = np.full((len(every), SIDE, _SIZE), math.nan)
    visits, judged = np.zeros(SIDE), np.zeros(SIDE)
    residual, error = np.zeros(SIDE), np.zeros(SIDE)
    for at, (cells, stretch) in enumerate(zip(every, stretches, strict=True)):
        seen, sums = _summed(cells, stretch)
        looks[at] = sums / np.where(seen > 0.0, seen, math.nan)[:, None]
        visits[np.unique(stretch)] += 1
        np.add.at(judged, stretch, cells.judged)
        np.add.at(residual, stretch, cells.residual)
        np.add.at(error, stretch, cells.error)
    is_known = visits >= FEWEST
    is_known[CELLS] = False
    looks[:, ~is_known] = math.nan
    mean, spread = _mean_and_spread(looks)
    known_judged = np.where(is_known & (judged > 0), judged, math.nan)
    return Norm(
        is_known=is_known,
        appearance=mean,
        # What never varied in a few manoeuvres may still vary a little.
        deviation=np.maximum(spread, np.maximum(np.abs(mean) * _SD_SHARE, _SD_LEAST)),
        residual=residual / known_judged,
        error=error / known_judged,
    )


def _mean_and_spread(looks: Doubles) -> tuple[Doubles, Doubles]:
    with warnings.catch_warnings():
        # A stretch that nobody was in has neither, which is what not-a-number says.
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.nanmean(looks, axis=0), np.nanstd(looks, axis=0, ddof=1)
