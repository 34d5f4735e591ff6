"""Has a family of numbers changed? Permutation tests over manoeuvres.

Laws:
- the unit is the manoeuvre; nothing is assumed of the numbers but that, without a change, any order
  of the manoeuvres is as likely as any other;
- the largest difference over a family's columns is one statistic: that there are many columns
  costs no false alarms;
- the same manoeuvres give the same p-value: the permutations come from a seed that is handed in.

The statistic is, over the columns, the largest difference of window and reference in pooled
standard deviations (Welch's scale would divide by a window of three). A column that more than half
of the window or the reference has no number in says nothing.
"""

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from fleet_server.drift.comparison import FEWEST_INSIDE, Rows
from fleet_server.drift.norms import Bools, Doubles
from fleet_server.drift.reference import Reference

PERMUTATIONS: Final = 999
FEWEST_REFERENCE: Final = 8
FEWEST_WINDOW: Final = 3
_LEAST_SD: Final = 1e-9


@dataclass(frozen=True, kw_only=True)
class Tested:
    """What a family's test said: its p-value, and each column's difference in deviations.

    The p-value is None where the test does not apply.
    """

    p_value: float | None
    differences: tuple[float, ...]

    @property
    def size(self) -> float:
        """The largest difference, in pooled standard deviations between manoeuvres."""
        return max([abs(each) for each in self.differences if not math.isnan(each)], default=0.0)


NOT_APPLICABLE: Final = Tested(p_value=None, differences=())


def judge(reference: Reference, window: Rows, seed: int) -> dict[str, Tested]:
    """Return the test of each family of `window` beside the reference's own rows.

    A picture looks different only where it does at the same label and at the same estimate: a wrong
    label or a wrong estimate alone is no change of the pictures.
    """
    own, draws = reference.rows, Draws(seed)
    looks = [
        permuted(own.appearance_by_label, window.appearance_by_label, draws),
        permuted(own.appearance_by_estimate, window.appearance_by_estimate, draws),
    ]
    applicable = [each for each in looks if each.p_value is not None]
    # The weaker of both speaks for the family, in its p-value and in its size.
    look = max(
        applicable, key=lambda each: (each.p_value or 0.0, -each.size), default=NOT_APPLICABLE
    )
    is_judged = window.inside >= FEWEST_INSIDE
    concept = permuted(own.concept, window.concept, draws) if is_judged else NOT_APPLICABLE
    return {
        "label": permuted(own.label, window.label, draws),
        "appearance": look,
        "concept": concept,
    }


class Draws:
    """Random windows out of all manoeuvres, drawn once for each number of them."""

    def __init__(self, seed: int) -> None:
        """Draw from `seed`."""
        self._rng = np.random.default_rng(seed)
        self._drawn: dict[tuple[int, int], Doubles] = {}

    def windows(self, manoeuvres: int, window: int) -> Doubles:
        """Return `PERMUTATIONS` rows with a 1 at each manoeuvre in the window, else 0."""
        key = manoeuvres, window
        if key not in self._drawn:
            order = self._rng.random((PERMUTATIONS, manoeuvres))
            chosen = np.argpartition(order, window - 1, axis=1)[:, :window]
            drawn = np.zeros((PERMUTATIONS, manoeuvres))
            np.put_along_axis(drawn, chosen, 1.0, axis=1)
            self._drawn[key] = drawn
        return self._drawn[key]


def permuted(reference: Doubles, window: Doubles, draws: Draws) -> Tested:
    """Return the permutation test of two tables of manoeuvres (rows) with the same columns."""
    columns = _usable(reference) & _usable(window)
    if not columns.any():
        return NOT_APPLICABLE
    known = [table[~np.isnan(table[:, columns]).any(axis=1)] for table in (reference, window)]
    first, second = (table[:, columns] for table in known)
    if len(first) < FEWEST_REFERENCE or len(second) < FEWEST_WINDOW:
        return NOT_APPLICABLE
    pooled = np.vstack([first, second])
    # Sums of squares are taken about the middle: about nought they would cancel.
    pooled -= pooled.mean(axis=0)
    own = np.concatenate([np.zeros(len(first)), np.ones(len(second))])[None, :]
    seen = _differences(pooled, own)[0]
    drawn = np.abs(_differences(pooled, draws.windows(len(pooled), len(second)))).max(axis=1)
    as_large = int((drawn >= np.abs(seen).max() * (1.0 - _LEAST_SD)).sum())
    differences = np.full(len(columns), math.nan)
    differences[columns] = seen
    return Tested(
        p_value=(1 + as_large) / (PERMUTATIONS + 1), differences=tuple(differences.tolist())
    )


def _usable(table: Doubles) -> Bools:
    share: Doubles = np.isnan(table).mean(axis=0) if len(table) else np.ones(table.shape[1])
    return np.asarray(share <= 0.5)


def _differences(pooled: Doubles, windows: Doubles) -> Doubles:
    """Return for each window how far its means lie from the others', standardised."""
    inside = float(windows[0].sum())
    outside = len(pooled) - inside
    sums, squares = windows @ pooled, windows @ pooled**2
    rest, rest_squares = pooled.sum(axis=0) - sums, (pooled**2).sum(axis=0) - squares
    within = squares - sums**2 / inside + rest_squares - rest**2 / outside
    deviation = np.sqrt(np.maximum(within, 0.0) / (inside + outside - 2.0))
    scale = np.maximum(deviation, _LEAST_SD)
    return np.asarray((sums / inside - rest / outside) / scale)
