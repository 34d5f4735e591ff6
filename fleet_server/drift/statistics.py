"""What was normal when a model was trained, as a file that is kept with its run.

Laws:
- it holds aggregates over manoeuvres alone, no picture and no label of one;
- it says the same as the reference that the model's first manoeuvres on a car are held against;
- it is closed JSON with its units, so that other tools can read it.
"""

from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np

from fleet_server.drift import reference
from fleet_server.drift.norms import Doubles, Norm
from fleet_server.drift.summaries import CELLS, CHARACTERISTICS, Summary
from shared.task import Task

FILE: Final = "drift-reference.json"


class Stretch(msgspec.Struct, frozen=True, kw_only=True):
    """What manoeuvres showed between `low` and `high`, in the task's unit.

    `mean` and `deviation` are by characteristic; `residual` is the mean of estimate - label under
    the models that led then and `error` that of its amount, None where none did.
    """

    low: float
    high: float
    mean: dict[str, float]
    deviation: dict[str, float]
    residual: float | None
    error: float | None


class Statistics(msgspec.Struct, frozen=True, kw_only=True):
    """The reference of a model: the label's ends, and looks by stretch of label and of estimate."""

    unit: str
    manoeuvres: int
    smallest: float | None
    largest: float | None
    by_label: tuple[Stretch, ...]
    by_estimate: tuple[Stretch, ...]


def of(found: Sequence[Summary], task: Task, promised: float) -> Statistics:
    """Return the statistics of the manoeuvres `found`; `promised` is the model's own error."""
    built = reference.build(found, promised)
    return Statistics(
        unit=task.unit,
        manoeuvres=built.manoeuvres,
        smallest=_number(built.ends[0]),
        largest=_number(built.ends[1]),
        by_label=_stretches(built.norms.by_label, task),
        by_estimate=_stretches(built.norms.by_estimate, task),
    )


def _stretches(norm: Norm, task: Task) -> tuple[Stretch, ...]:
    width = task.span / CELLS
    return tuple(
        Stretch(
            low=task.low + at * width,
            high=task.low + (at + 1) * width,
            mean=_by_name(norm.appearance[at]),
            deviation=_by_name(norm.deviation[at]),
            residual=_number(norm.residual[at]),
            error=_number(norm.error[at]),
        )
        for at in np.flatnonzero(norm.is_known).tolist()
    )


def _by_name(row: Doubles) -> dict[str, float]:
    named = zip(CHARACTERISTICS, row.tolist(), strict=True)
    return {name: value for name, value in named if np.isfinite(value)}


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
