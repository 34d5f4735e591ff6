"""Manoeuvres beside the norms: what is new about each, and one row of numbers a family.

Laws:
- a row is comparable whatever the manoeuvre's distances were;
- where the norms know nothing, nothing is said.

Columns:
- label: a manoeuvre's smallest, largest and mean label (of a car without a sensor: estimate);
- appearance: each characteristic's deviation from the reference at the same label, in standard
  deviations between manoeuvres, averaged over the manoeuvre; and the same at the same estimate;
- concept: the residual beyond the reference's at the same estimate, and the error's amount, over
  pictures whose label the reference knows and that look as in the reference: no characteristic is
  more than `SUPPORT` deviations off, at the same label or at the same estimate.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from fleet_server.drift.norms import Cells, Doubles, Norm, Norms, Numbers, cells_of, summed
from fleet_server.drift.summaries import CELLS, CHARACTERISTICS, Summary

SUPPORT: Final = 4.0
FEWEST_INSIDE: Final = 8
"""Pictures inside the support that a window needs for its concept to be judged."""

LABEL, APPEARANCE, INSIDE = 0, 1, 2
"""What is new about a cell: a label that the reference does not know, a look, or nothing."""

_SIZE: Final = len(CHARACTERISTICS)


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


def compare(norms: Norms, found: Sequence[Summary], every: Sequence[Cells] | None = None) -> Rows:
    """Return `found` as rows beside `norms`; `every` are their cells, where they are at hand."""
    cells = [cells_of(each) for each in found] if every is None else every
    label = np.full((len(found), 3), math.nan)
    looks = np.full((2, len(found), _SIZE), math.nan)
    concept = np.full((len(found), 2), math.nan)
    inside = 0
    for at, each in enumerate(found):
        values = each.distances
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


def _usual(norms: Norms, cells: Cells) -> tuple[Doubles, Doubles]:
    """Return residual and error that are usual at each cell's estimate, else at its label."""
    near, far = norms.by_estimate, norms.by_label
    is_near = near.is_known[cells.estimate]
    residual = np.where(is_near, near.residual[cells.estimate], far.residual[cells.label])
    error = np.where(is_near, near.error[cells.estimate], far.error[cells.label])
    return residual, np.where(np.isnan(error), norms.error, error)


def _most(table: Doubles) -> Doubles:
    return np.asarray(np.abs(table).max(axis=1, initial=0.0))


def _deviations(norm: Norm, cells: Cells, stretch: Numbers) -> tuple[Doubles, Doubles]:
    """Return the deviations in each stretch, and their mean over the pictures."""
    seen, sums = summed(cells, stretch)
    seen[CELLS] = 0.0
    off = (sums / np.where(seen > 0.0, seen, math.nan)[:, None] - norm.appearance) / norm.deviation
    is_known = ~np.isnan(off[:, 0])
    weight = float(seen[is_known].sum())
    if not weight:
        return off, np.full(_SIZE, math.nan)
    return off, np.asarray(seen[is_known] @ off[is_known] / weight)
