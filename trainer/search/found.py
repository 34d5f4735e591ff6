"""What a search found, told from the trials of its study."""

import math
from collections.abc import Sequence

import optuna
from optuna.trial import FrozenTrial, TrialState

from shared.errors import RefusedError
from shared.samples import Record
from trainer.search import halving
from trainer.search.plan import WHOLE, Plan, settings_of
from trainer.search.space import Value
from trainer.settings import TrainingSettings

_LEAST_TO_COMPARE = 2


class Tried(Record, frozen=True):
    """One trial: what it tried, how it ended, its least validation error (task's unit), if any.

    `whole` tells one that went on to the end of its training from a look; `reached` is the share of
    the training.
    """

    number: int
    state: str
    whole: bool
    parameters: dict[str, Value]
    validation_mae: float | None
    reached: float
    seconds: float


class Found(Record, frozen=True):
    """What a search found: the settings of the best trial, all trials, what mattered how much."""

    best: int
    settings: TrainingSettings
    trials: tuple[Tried, ...]
    importance: dict[str, float]


def found(trials: Sequence[FrozenTrial], plan: Plan) -> Found:
    """Return what `trials` found.

    Raises:
        RefusedError: none came to its end.
    """
    tried = [each for each in trials if each.params]
    whole = [each for each in tried if WHOLE in each.user_attrs]
    complete = [each for each in whole if each.state == TrialState.COMPLETE]
    if not complete:
        raise RefusedError(f"none of {len(tried)} trials came to its end: widen the search")
    best = min(complete, key=halving.rank)
    return Found(
        best=best.number,
        settings=settings_of(plan, best),
        trials=tuple(_tried(each) for each in tried),
        importance=_importance([each for each in tried if WHOLE not in each.user_attrs]),
    )


def _tried(trial: FrozenTrial) -> Tried:
    least, _ = halving.rank(trial)
    return Tried(
        number=trial.number,
        state=trial.state.name.lower(),
        whole=WHOLE in trial.user_attrs,
        parameters=dict(trial.params),
        validation_mae=least if math.isfinite(least) else None,
        reached=(trial.last_step or 0) / 100,
        seconds=trial.duration.total_seconds() if trial.duration else 0.0,
    )


def _importance(looks: list[FrozenTrial]) -> dict[str, float]:
    """Return what mattered how much among `looks`, which are all after the same share."""
    apart = optuna.create_study()
    apart.add_trials(looks)
    if sum(each.state == TrialState.COMPLETE for each in looks) < _LEAST_TO_COMPARE:
        return {}
    told = optuna.importance.get_param_importances(apart)
    return {name: float(each) for name, each in told.items()}
