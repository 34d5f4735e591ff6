"""What a search is about, what marks its trials, and where each keeps what it made.

Laws:
- all of it follows from the plan and the trial: a process needs nothing else;
- a trial trains with its own settings alone: a fit with the same makes the same bytes.
"""

from typing import Any, Final

import msgspec

from shared.samples import Record
from shared.task import Task
from trainer.learning.rounds import planned_steps
from trainer.search import space
from trainer.search.space import Choice, LogRange, Value
from trainer.settings import TrainingSettings

FOLDER: Final = "search"

ASKED: Final = "asked"
"""Marks the trials that were meant, with which draw it is; a process that finds none waiting is
handed one without it."""

WHOLE: Final = "whole"
"""Marks the trials that go on to the end; says from which look."""

DIVERGED: Final = "diverged"
"""Marks the trials that are not to be tried again, with the reason."""

_PER_STEP: Final = 7e7
"""What a step costs besides its pictures, in multiplications: measured, 4 ms of 11."""


class Plan(Record, frozen=True):
    """What a search is about; `snapshots` is the folder of data sets.

    `pictures` is how many are learnt from.
    """

    dataset_sha256: str
    snapshots: str
    task: Task
    base: TrainingSettings
    trials: int
    workers: int
    pictures: int = 0
    space: dict[str, Choice | LogRange] = msgspec.field(default_factory=lambda: dict(space.DEFAULT))


def settings_of(plan: Plan, trial: Any) -> TrainingSettings:
    """Return the settings that `trial` tries, one of Optuna's, running or ended."""
    values = {name: _suggested(trial, name, each) for name, each in plan.space.items()}
    return space.applied(plan.base, values)


def place(number: int) -> str:
    """Return where in the run's folder trial `number` keeps what it made."""
    return f"{FOLDER}/trial-{number}"


def drawn(plan: Plan) -> list[dict[str, Value]]:
    """Return what each draw tries; an empty one is left to the sampler."""
    return space.drawn(plan.space, plan.base, count=plan.trials)


def costs(plan: Plan) -> dict[int, float]:
    """Return about what each draw's whole training costs, the longest first.

    Those left to the sampler come last, and are taken for ones with the settings asked for.
    """
    draws = drawn(plan)
    found = {number: _cost(plan, values) for number, values in enumerate(draws)}
    ordered = sorted(found, key=lambda each: (not draws[each], -found[each]))
    return {number: found[number] for number in ordered}


def _cost(plan: Plan, values: dict[str, Value]) -> float:
    """Return about how many multiplications a training takes."""
    settings = space.applied(plan.base, values)
    area = plan.task.picture_width * plan.task.picture_height
    for_picture, depth = 0.0, 3
    for number, width in enumerate(settings.widths, start=1):
        for_picture += area / 4**number * 9 * depth * width
        depth = width
    steps = planned_steps(plan.pictures, settings)
    return steps * (_PER_STEP + settings.batch * for_picture)


def _suggested(trial: Any, name: str, within: Choice | LogRange) -> Value:
    if isinstance(within, Choice):
        value: Value = trial.suggest_categorical(name, list(within.values))
    else:
        value = trial.suggest_float(name, within.low, within.high, log=True)
    return value
