"""What to give up when space runs out: a rule over cells and rows, without IO.

Laws:
- what the server has goes first; the rest goes by value, and no more of it than must;
- what goes before others in the queue stays longest: no pair that was flagged or asked for is given
  up while there is an ordinary one;
- a *cell* is one setting and one stretch of labels: the fullest cells are cut down to a common
  level, so that thin label bins and rare settings keep what they have;
- within a cell, pairs with a high residual stay longest; among the ordinary ones the one whose
  neighbours in time are nearest goes, so that what is left is spread evenly.

Upload what teaches, and keep what teaches: high residual, thin bins, rare settings, and what the
watch over the model's error or an operator has pointed at.
"""

import heapq
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import NamedTuple

from shared.samples import Sample

_HIGH = 2.0
"""A residual is high from this many times its neighbours' median on."""

_BRIGHTNESS_STEP = 32
_SATURATION_STEP = 64
_FAR_APART = 2**62


class Cell(NamedTuple):
    """One setting and one stretch of labels (`cell_of`), apart by priority in the queue."""

    priority: int
    name: str


@dataclass(frozen=True, slots=True)
class Row:
    """What of a stored pair its value depends on; in order of (boot, sequence)."""

    boot: str
    sequence: int
    residual: float | None


def cell_of(sample: Sample) -> str:
    """Return the name of the cell that `sample` belongs to.

    A setting is the deployment with the picture's brightness and saturation in coarse steps. Bins
    of the label grow with it, half an octave each: they need no knowledge of the task, and are
    narrow where the label is small, where a car's millimetres matter most.
    """
    seen = sample.characteristics
    look = (
        f"{int(seen.brightness // _BRIGHTNESS_STEP)}.{int(seen.saturation // _SATURATION_STEP)}"
        if seen
        else "-"
    )
    return f"{sample.deployment}/{look}/{_label_bin(sample.label)}"


def residual_of(sample: Sample) -> float | None:
    """Return how far the first estimate lay from the label, None where one of them is missing."""
    if sample.label is None or not sample.estimates:
        return None
    return abs(sample.estimates[0].value - sample.label)


def quotas(counts: Mapping[Cell, int], drop: int) -> dict[Cell, int]:
    """Return how many of each cell's `counts` to drop so that `drop` go, all if there are fewer.

    A priority gives all that it has before a higher one gives anything. Within one, every cell that
    gives something up ends at the same level, give or take one.
    """
    given: dict[Cell, int] = {}
    for priority in sorted({cell.priority for cell in counts}):
        tier = {cell: count for cell, count in counts.items() if cell.priority == priority}
        given |= _levelled(tier, drop - sum(given.values()))
    return given


def thin(rows: Sequence[Row], drop: int) -> tuple[list[Row], list[Row]]:
    """Return which `drop` of one cell's `rows` to give up: the ordinary ones, and the high ones."""
    known = [row.residual for row in rows if row.residual is not None]
    limit = _HIGH * median(known) if known else math.inf
    ordinary = [row.residual is None or row.residual <= limit for row in rows]
    crowded = _most_crowded(rows, ordinary, min(drop, sum(ordinary)))
    high = [row for row, plain in zip(rows, ordinary, strict=True) if not plain]
    high.sort(key=lambda row: (row.residual or 0.0, row.boot, row.sequence))
    return crowded, high[: max(0, drop - len(crowded))]


def _levelled(counts: Mapping[Cell, int], drop: int) -> dict[Cell, int]:
    level = _level(sorted(counts.values(), reverse=True), drop)
    given = {cell: max(0, count - level) for cell, count in counts.items()}
    # The level is the highest at which enough goes, so a few cells may keep one more.
    excess = sum(given.values()) - drop
    for cell in sorted(given, key=lambda each: (-counts[each], each)):
        if excess <= 0:
            break
        if given[cell]:
            given[cell] -= 1
            excess -= 1
    return {cell: count for cell, count in given.items() if count}


def _label_bin(label: float | None) -> str:
    if label is None:
        return "-"
    return str(math.floor(math.copysign(2 * math.log2(1 + abs(label)), label)))


def _level(falling: Sequence[int], drop: int) -> int:
    """Return the highest level that, taken as everybody's limit, makes `drop` or more go."""
    total = 0
    for cells, count in enumerate(falling, start=1):
        total += count
        below = falling[cells] if cells < len(falling) else 0
        # With these cells alone above it, the level that lets exactly `drop` go.
        level = (total - drop) // cells
        if level >= below:
            return level
    return 0


def _most_crowded(rows: Sequence[Row], may_go: Sequence[bool], drop: int) -> list[Row]:
    """Return `drop` of the rows that may go, each the one with the nearest neighbours then."""
    before = [at - 1 for at in range(len(rows))]
    after = [at + 1 for at in range(len(rows))]

    def gap(at: int) -> int:
        first, last = before[at], after[at]
        if first < 0 or last >= len(rows) or rows[first].boot != rows[last].boot:
            return _FAR_APART
        return rows[last].sequence - rows[first].sequence

    heap = [(gap(at), at) for at, may in enumerate(may_go) if may]
    heapq.heapify(heap)
    gone: list[Row] = []
    while len(gone) < drop:
        known, at = heapq.heappop(heap)
        now = gap(at)
        if now != known:
            heapq.heappush(heap, (now, at))
            continue
        gone.append(rows[at])
        if before[at] >= 0:
            after[before[at]] = after[at]
        if after[at] < len(rows):
            before[after[at]] = before[at]
    return gone
