"""What manoeuvres showed at each stretch of the range: means, and deviations between manoeuvres.

Laws:
- the unit is the manoeuvre: a long one counts no more than a short one in how pictures look;
- a stretch that fewer than `FEWEST` manoeuvres have been in is not known: nothing is said there;
- what never varied in a few manoeuvres may still vary a little: no deviation is below a least one.

Tables have a row for each stretch of the range and a last one for "none"; what is not known is not
a number, and comparing with it gives none.
"""

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from fleet_server.drift.summaries import CELLS, CHARACTERISTICS, SIDE, Summary

Doubles = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.intp]

FEWEST: Final = 5

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
class Cells:
    """The cells of a manoeuvre, one after the other in each array."""

    label: Numbers
    estimate: Numbers
    judged: Doubles
    residual: Doubles
    error: Doubles
    seen: Doubles
    appearance: Doubles


def of(every: Sequence[Cells], error: float) -> Norms:
    """Return the norms of the manoeuvres whose cells are `every`; `error` is the usual one."""
    return Norms(
        by_label=_norm(every, [each.label for each in every]),
        by_estimate=_norm(every, [each.estimate for each in every]),
        error=error,
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


def summed(cells: Cells, stretch: Numbers) -> tuple[Doubles, Doubles]:
    """Return how many pictures were seen in each stretch, and the sums of how they looked."""
    chosen = np.equal.outer(np.arange(SIDE), stretch).astype(np.float64)
    return chosen @ cells.seen, chosen @ cells.appearance


def _norm(every: Sequence[Cells], stretches: Sequence[Numbers]) -> Norm:
    looks = np.full((len(every), SIDE, _SIZE), math.nan)
    visits, judged = np.zeros(SIDE), np.zeros(SIDE)
    residual, error = np.zeros(SIDE), np.zeros(SIDE)
    for at, (cells, stretch) in enumerate(zip(every, stretches, strict=True)):
        seen, sums = summed(cells, stretch)
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
        deviation=np.maximum(spread, np.maximum(np.abs(mean) * _SD_SHARE, _SD_LEAST)),
        residual=residual / known_judged,
        error=error / known_judged,
    )


def _mean_and_spread(looks: Doubles) -> tuple[Doubles, Doubles]:
    with warnings.catch_warnings():
        # A stretch that nobody was in has neither, which is what not-a-number says.
        warnings.simplefilter("ignore", RuntimeWarning)
        return np.nanmean(looks, axis=0), np.nanstd(looks, axis=0, ddof=1)
