"""What moved, and by how much: the evidence beside a cause, in numbers and in words.

Laws:
- a characteristic's levels before and now are compared at the same distances, so that a car that
  merely parks from farther away moves nothing;
- every number is of the summaries that were tested, and of nothing else.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np

from fleet_server.drift.comparison import SUPPORT, Placed
from fleet_server.drift.norms import Doubles, Norms
from fleet_server.drift.reference import Reference, ends_of, line_of, mean_residual
from fleet_server.drift.summaries import CELLS, CHARACTERISTICS, Summary

TOLD: Final = 3
"""Characteristics that are named, those that moved most."""

_SCALE_LEAST: Final = 0.04
_SCALE_CERTAIN: Final = 4.0
_OFFSET_SHARE: Final = 0.35
_FEWEST: Final = 3


@dataclass(frozen=True, kw_only=True)
class Moved:
    """A characteristic that moved: its mean at the same distances before and now.

    `deviations` is by how many standard deviations between the reference's manoeuvres; `share` is
    the part of the added error in pictures that it sets apart, None where no error is measured.
    """

    name: str
    before: float
    now: float
    deviations: float
    share: float | None


def characteristics(norms: Norms, window: Sequence[Placed]) -> list[Moved]:
    """Return every characteristic with how it moved, the one that moved most first."""
    off = np.concatenate([each.moved for each in window])
    seen = np.concatenate([each.cells.seen for each in window])
    added = np.maximum(np.concatenate([each.error_beyond for each in window]), 0.0)
    known = (seen > 0.0) & ~np.isnan(off[:, 0])
    if not known.any():
        return []
    before, now = _levels(norms, window)
    mean_off = seen[known] @ off[known] / seen[known].sum()
    total = float(added[known].sum())
    apart = added[known] @ (np.abs(off[known]) > SUPPORT)
    found = [
        Moved(
            name=characteristic,
            before=float(before[at]),
            now=float(now[at]),
            deviations=float(mean_off[at]),
            share=float(apart[at]) / total if total else None,
        )
        for at, characteristic in enumerate(CHARACTERISTICS)
    ]
    return sorted(found, key=lambda each: -abs(each.deviations))


def _levels(norms: Norms, window: Sequence[Placed]) -> tuple[Doubles, Doubles]:
    """Return each characteristic's mean in the reference, at the window's distances, and in it."""
    size, seen = len(CHARACTERISTICS), 0.0
    before, now = np.zeros(size), np.zeros(size)
    for each in window:
        cells = each.cells
        is_labelled = bool((cells.label != CELLS).any())
        norm = norms.by_label if is_labelled else norms.by_estimate
        stretch = cells.label if is_labelled else cells.estimate
        known = norm.is_known[stretch] & (cells.seen > 0.0) & ~np.isnan(norm.appearance[stretch, 0])
        before += cells.seen[known] @ norm.appearance[stretch[known]]
        now += cells.appearance[known].sum(axis=0)
        seen += float(cells.seen[known].sum())
    return (before / seen, now / seen) if seen else (before + math.nan, now + math.nan)


def in_words(
    family: str, moved: Sequence[Moved], first: Reference, window: Sequence[Summary]
) -> str:
    """Return how a family moved from the reference to `window`, as a part of a sentence."""
    if family == "appearance":
        told = [f"{each.name} from {each.before:.4g} to {each.now:.4g}" for each in moved[:TOLD]]
        return f"pictures changed at the same distance ({', '.join(told)})"
    if family == "label":
        (low, high), (new_low, new_high) = first.ends, ends_of(window)
        return f"distances from {low:.0f}..{high:.0f} to {new_low:.0f}..{new_high:.0f}"
    return f"labels moved by {offset(first, window):+.1f} against pictures that look as before"


def offset(first: Reference, window: Sequence[Summary]) -> float:
    """Return by how much labels moved against estimates."""
    return first.residual - mean_residual(window)


def scale(first: Reference, window: Sequence[Summary]) -> dict[str, float]:
    """Return the scale of the labels where a wrong one explains them, else nothing.

    A wrong scale turns the line of labels over estimates about the wall: the offset stays.
    """
    now = [line for line in map(line_of, window) if line is not None]
    if len(first.lines) < _FEWEST or len(now) < _FEWEST:
        return {}
    offsets, slopes = first.lines.T
    middle_offset, slope = (float(each) for each in np.asarray(now).mean(axis=0))
    turned = slope / float(slopes.mean()) - 1.0
    scatter = float(slopes.std(ddof=1)) / math.sqrt(len(now))
    is_sure = abs(turned) > max(_SCALE_LEAST, _SCALE_CERTAIN * scatter)
    middle = float(np.mean([each.estimates.mean for each in window]))
    shifted = abs(middle_offset - float(offsets.mean()))
    is_turned = shifted < _OFFSET_SHARE * abs(turned) * middle
    return {"scale": 1.0 + turned} if is_sure and is_turned else {}
