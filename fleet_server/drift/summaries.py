"""A manoeuvre in a few numbers: all that the drift rules ever see of its samples.

Laws:
- the unit is the manoeuvre: its pictures are near-twins, and taken singly they raise false alarms
  in most windows;
- a summary is built sample by sample, in order of sequence, in constant memory;
- it holds only what a real car knows: labels, the sensor's own word, estimates, characteristics.

A picture's characteristics depend on how far away the wall is. So they are summed in cells, one
for each pair of a stretch of the range that the label lies in and one that the estimate lies in.
What is compared later is P(x | y), in which a mere change of the distances does not show; and
since a wrong label moves a picture along one side only and a wrong estimate along the other, both
can be told from a picture that looks different.
"""

import math
from collections.abc import Callable
from typing import Final

import msgspec
from msgspec import field

from shared.samples import Characteristics, Sample

CHARACTERISTICS: Final = Characteristics.__struct_fields__
"""Names of a picture's characteristics, in the order of a cell's `appearance`."""

CELLS: Final = 14
"""Stretches that the range is divided into: 25 mm each of 350."""

SIDE: Final = CELLS + 1

_SAME: Final = 1e-6


class Cell(msgspec.Struct, array_like=True, gc=False):
    """The samples of a manoeuvre in one stretch of labels, of estimates, or both.

    `seen` of the `samples` have characteristics, `judged` have both label and estimate: `residual`
    sums estimate - label over these, `error` its amount; `appearance` sums each characteristic.
    """

    samples: int = 0
    judged: int = 0
    residual: float = 0.0
    error: float = 0.0
    seen: int = 0
    appearance: list[float] = field(default_factory=lambda: [0.0] * len(CHARACTERISTICS))


class Sums(msgspec.Struct, array_like=True, gc=False):
    """Plain sums of one kind of value: what its mean, spread and ends are taken from."""

    samples: int = 0
    total: float = 0.0
    squares: float = 0.0
    low: float = math.inf
    high: float = -math.inf

    def add(self, value: float) -> None:
        """Take one more value in."""
        self.samples += 1
        self.total += value
        self.squares += value * value
        self.low = min(self.low, value)
        self.high = max(self.high, value)

    @property
    def mean(self) -> float:
        """The mean; not a number where there is none."""
        return self.total / self.samples if self.samples else math.nan

    @property
    def variance(self) -> float:
        """The variance (n in the denominator); not a number below two values."""
        if self.samples < 2:
            return math.nan
        return max(0.0, self.squares / self.samples - self.mean**2)


class Summary(msgspec.Struct, kw_only=True, gc=False):
    """One manoeuvre under one model; lengths in the task's unit.

    `model` is the digest that led it, "" where none did. `silent` counts samples whose reference
    sensor gave no label, `absent` those of a car without one. `product` sums label x estimate;
    `repeats` counts labels that equal the one before them, `bends` are the differences between two
    following steps of the label: of a smooth way they are small, of a noisy sensor not. `cells` are
    kept by `SIDE` x the label's stretch + the estimate's, where `CELLS` stands for none.
    """

    device: str
    deployment: str
    model: str
    low: float
    span: float
    samples: int = 0
    silent: int = 0
    absent: int = 0
    repeats: int = 0
    labels: Sums = field(default_factory=Sums)
    estimates: Sums = field(default_factory=Sums)
    judged: Sums = field(default_factory=Sums)
    errors: Sums = field(default_factory=Sums)
    residuals: Sums = field(default_factory=Sums)
    product: float = 0.0
    sigmas: Sums = field(default_factory=Sums)
    cells: dict[int, Cell] = field(default_factory=dict)
    bends: Sums = field(default_factory=Sums)
    last: float | None = None
    step: float | None = None

    def add(self, sample: Sample) -> None:
        """Take one more sample in."""
        self.samples += 1
        estimate = None
        for each in sample.estimates:
            if each.model == self.model:
                estimate = each.value
                self.estimates.add(estimate)
                if each.sigma is not None:
                    self.sigmas.add(each.sigma)
        label = sample.label
        if label is not None:
            self._judge(label, estimate)
        else:
            self.last = self.step = None
            if sample.sensor_status == "absent":
                self.absent += 1
            else:
                self.silent += 1
        self._place(label, estimate, sample.characteristics)

    @property
    def distances(self) -> Sums:
        """The labels; of a car without a sensor, the estimates."""
        return self.labels if self.labels.samples else self.estimates

    def _judge(self, label: float, estimate: float | None) -> None:
        self.labels.add(label)
        if self.last is not None:
            step = label - self.last
            if abs(step) < _SAME:
                self.repeats += 1
            if self.step is not None:
                self.bends.add(step - self.step)
            self.step = step
        self.last = label
        if estimate is not None:
            residual = estimate - label
            self.judged.add(label)
            self.errors.add(abs(residual))
            self.residuals.add(residual)
            self.product += label * estimate

    def _place(
        self, label: float | None, estimate: float | None, seen: Characteristics | None
    ) -> None:
        low, span = self.low, self.span
        number = stretch_of(label, low, span) * SIDE + stretch_of(estimate, low, span)
        cell = self.cells.get(number)
        if cell is None:
            cell = self.cells[number] = Cell()
        cell.samples += 1
        if label is not None and estimate is not None:
            residual = estimate - label
            cell.judged += 1
            cell.residual += residual
            cell.error += abs(residual)
        if seen is not None:
            cell.seen += 1
            sums = cell.appearance
            sums[0] += seen.brightness
            sums[1] += seen.saturation
            sums[2] += seen.hue
            sums[3] += seen.mean_red
            sums[4] += seen.mean_green
            sums[5] += seen.mean_blue
            sums[6] += seen.contrast
            sums[7] += seen.texture
            sums[8] += seen.keypoints


def stretch_of(value: float | None, low: float, span: float) -> int:
    """Return the stretch that `value` lies in, the nearest where beyond; `CELLS` stands for none.

    `low` and `span` are the range's, in the same unit.
    """
    if value is None:
        return CELLS
    return min(max(int((value - low) / span * CELLS), 0), CELLS - 1)


def by_label(summary: Summary) -> dict[int, Cell]:
    """Return the cells of labelled pictures, summed by the label's stretch."""
    return _summed(summary, lambda number: number // SIDE)


def by_estimate(summary: Summary) -> dict[int, Cell]:
    """Return the cells of pictures with an estimate, summed by the estimate's stretch."""
    return _summed(summary, lambda number: number % SIDE)


def _summed(summary: Summary, stretch: Callable[[int], int]) -> dict[int, Cell]:
    found: dict[int, Cell] = {}
    for number, cell in summary.cells.items():
        at = stretch(number)
        if at == CELLS:
            continue
        held = found.get(at)
        found[at] = cell if held is None else _added(held, cell)
    return found


def _added(first: Cell, second: Cell) -> Cell:
    return Cell(
        samples=first.samples + second.samples,
        judged=first.judged + second.judged,
        residual=first.residual + second.residual,
        error=first.error + second.error,
        seen=first.seen + second.seen,
        appearance=[a + b for a, b in zip(first.appearance, second.appearance, strict=True)],
    )
