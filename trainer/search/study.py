"""The search: trials over Optuna's storage, short ones first, then the best of them whole.

Laws:
- everything is in the run's folder: the plan, the study (SQLite), each trial's network and logs;
- a search that was cut short goes on: finished trials stay, a trial whose process died is tried
  again, and no trial is started twice at once;
- a trial is a training of `SHORT` of the whole length, its schedule drawn together; one that is
  poorer than the median is stopped; the best, as many as there are processes, go on from there to
  the whole length (successive halving over lengths, see docs/adr/0035);
- the winner's network is taken as it is: nothing is trained a second time;
- settings that diverge are a failed trial, not a failed search.
"""

import math
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import msgspec
import optuna
from optuna.trial import FrozenTrial, TrialState

from shared.clock import Clock
from shared.errors import RefusedError
from shared.samples import Record
from shared.task import Task
from trainer.learning.rounds import shortened
from trainer.pipeline.folder import RunFolder
from trainer.search import space
from trainer.search.crew import Crew
from trainer.search.space import Choice, LogRange, Value
from trainer.settings import TrainingSettings

_FOLDER: Final = "search"
_NAME: Final = "search"
_LOOK_US: Final = 250_000
_STALE_AFTER_S: Final = 20
_HEARTBEAT_S: Final = 4
_LEAST_TO_COMPARE: Final = 2

ASKED: Final = "asked"
"""Marks the trials that were meant: a process that finds none left is handed one without it."""

WHOLE: Final = "whole"
"""Marks the trials of full length; says which short one each goes back to."""

SHORT: Final = 0.3
"""The length of a trial as a share of the whole: with a fifth, settings that learn slowly and end
well were taken for poor ones."""

NONE_STOPPED_BEFORE: Final = 50
"""Per cent of a short trial's way; half-way down its learning rate it says little."""

LOOKED_AT_FIRST: Final = 4
"""So many trials come to their end before any is stopped: of few, the better half is too few."""

TRIAL_FILES: Final = ("network.npz", "rounds.json")


class Plan(Record, frozen=True):
    """What a search is about; `snapshots` is the folder of data sets."""

    dataset_sha256: str
    snapshots: str
    task: Task
    base: TrainingSettings
    trials: int
    workers: int
    space: dict[str, Choice | LogRange] = msgspec.field(default_factory=lambda: dict(space.DEFAULT))


class Tried(Record, frozen=True):
    """One trial: what it tried, how it ended, its least validation error (task's unit), if any.

    `whole` tells a training of full length from a short one.
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


def search(
    folder: RunFolder,
    plan: Plan,
    *,
    clock: Clock,
    on_progress: Callable[[float, str], None],
) -> Found:
    """Return what `plan.trials` trials found; goes on with what an earlier call had begun.

    Raises:
        RefusedError: no trial came to its end, or the processes die again and again.
        RetryLaterError: the folder cannot be written.
    """
    folder.keep_json(f"{_FOLDER}/plan.json", plan)
    study = open_study(folder.path / _FOLDER, plan)
    _enqueue(study, plan)
    with Crew(folder.path / _FOLDER, size=plan.workers) as crew:
        while _is_open(study) or _enqueue_whole(study, plan):
            _notice_dead(study)
            crew.keep_up()
            on_progress(*_progress(study, plan))
            clock.sleep_until_us(clock.monotonic_us() + _LOOK_US)
    return _found(study, plan)


def open_study(folder: Path, plan: Plan, *, worker: int = 0) -> optuna.Study:
    """Return the study in `folder`, created where there is none; `worker` varies the sampler."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        # Heartbeats are there since 2020, and Optuna still calls them experimental.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        storage = optuna.storages.RDBStorage(
            f"sqlite:///{folder / 'study.sqlite'}",
            engine_kwargs={"connect_args": {"timeout": 60}},
            heartbeat_interval=_HEARTBEAT_S,
            grace_period=_STALE_AFTER_S,
            heartbeat_stale_trial_callback=_try_again,
        )
    return optuna.create_study(
        storage=storage,
        study_name=_NAME,
        load_if_exists=True,
        direction="minimize",
        sampler=optuna.samplers.TPESampler(
            seed=plan.base.seed + worker, n_startup_trials=space.DRAWN_FIRST
        ),
        pruner=optuna.pruners.MedianPruner(LOOKED_AT_FIRST, n_warmup_steps=NONE_STOPPED_BEFORE),
    )


def settings_of(plan: Plan, trial: Any) -> TrainingSettings:
    """Return the settings that `trial` tries: each process trains on its share of the threads."""
    values = {name: _suggested(trial, name, each) for name, each in plan.space.items()}
    base = msgspec.structs.replace(plan.base, threads=threads(plan))
    whole = space.applied(base, values)
    if WHOLE not in trial.user_attrs:
        return shortened(whole, SHORT)
    return msgspec.structs.replace(whole, restart=SHORT if _looks_first(plan) else 0.0)


def threads(plan: Plan) -> int:
    """Return how many threads one process of the search has."""
    return max(1, plan.base.threads // plan.workers)


def place(number: int) -> str:
    """Return where in the run's folder trial `number` keeps what it made."""
    return f"{_FOLDER}/trial-{number}"


def take_winner(folder: RunFolder, settings: TrainingSettings) -> bool:
    """Take the network of the search's best trial as the run's; False where there is none."""
    if not folder.has("search.json"):
        return False
    found = folder.read_json("search.json", Found)
    if found.settings != settings:
        return False
    for name in TRIAL_FILES:
        folder.keep(name, folder.read(f"{place(found.best)}/{name}"))
    return True


def _enqueue(study: optuna.Study, plan: Plan) -> None:
    """Queue the trials that are not there yet: whole ones where there are no more than processes.

    Then nothing can be won by looking at short ones first.
    """
    there = sum(_is_short(each) for each in study.trials if ASKED in each.user_attrs)
    if _looks_first(plan):
        for values in space.drawn(plan.space, plan.base, count=plan.trials)[there:]:
            study.enqueue_trial(values, user_attrs={ASKED: True})
        return
    whole = {each.user_attrs[WHOLE] for each in study.trials if WHOLE in each.user_attrs}
    for number, values in enumerate(space.drawn(plan.space, plan.base, count=plan.trials)):
        if number not in whole:
            study.enqueue_trial(values, user_attrs={ASKED: True, WHOLE: number})


def _enqueue_whole(study: optuna.Study, plan: Plan) -> bool:
    """Queue the best of the short trials to be trained whole; False where all of them were."""
    there = {each.user_attrs[WHOLE] for each in study.trials if WHOLE in each.user_attrs}
    left = [each for each in _finalists(study, plan) if each.number not in there]
    for each in left:
        study.enqueue_trial(each.params, user_attrs={ASKED: True, WHOLE: each.number})
    return bool(left)


def _finalists(study: optuna.Study, plan: Plan) -> list[FrozenTrial]:
    """Return the best short trials: those that were stopped come last."""
    ended = [each for each in study.trials if _is_short(each) and each.params]
    stopped = [each for each in ended if each.state == TrialState.PRUNED]
    complete = [each for each in ended if each.state == TrialState.COMPLETE]
    ranked = [*sorted(complete, key=_rank), *sorted(stopped, key=_rank)]
    return ranked[: plan.workers]


def _is_short(trial: FrozenTrial) -> bool:
    return WHOLE not in trial.user_attrs


def _rank(trial: FrozenTrial) -> tuple[float, int]:
    return (_least(trial), trial.number)


def _least(trial: FrozenTrial) -> float:
    """Return the least error of a trial, of one that was stopped as well; infinite without any."""
    if trial.state == TrialState.COMPLETE and trial.value is not None:
        return trial.value
    return min(trial.intermediate_values.values(), default=float("inf"))


def _notice_dead(study: optuna.Study) -> None:
    """Give up the trials whose processes no longer beat."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        optuna.storages.fail_stale_trials(study)


def _try_again(study: optuna.Study, trial: FrozenTrial) -> None:
    """Queue what a dead process had been trying."""
    study.enqueue_trial(trial.params, user_attrs=trial.user_attrs)


def _suggested(trial: Any, name: str, within: Choice | LogRange) -> Value:
    if isinstance(within, Choice):
        value: Value = trial.suggest_categorical(name, list(within.values))
    else:
        value = trial.suggest_float(name, within.low, within.high, log=True)
    return value


def _is_open(study: optuna.Study) -> bool:
    return bool(study.get_trials(deepcopy=False, states=(TrialState.WAITING, TrialState.RUNNING)))


def _progress(study: optuna.Study, plan: Plan) -> tuple[float, str]:
    trials = _real(study.get_trials(deepcopy=False))
    ended = sum(each.state.is_finished() for each in trials)
    reached = sum(
        _length(each) * (1.0 if each.state.is_finished() else (each.last_step or 0) / 100)
        for each in trials
    )
    in_all = sum(_length(each) for each in trials)
    if _looks_first(plan) and all(_is_short(each) for each in trials):
        in_all += plan.workers * (1.0 - SHORT)
    done = [each.value for each in trials if each.state == TrialState.COMPLETE and each.value]
    best = f", best validation error {min(done):.1f} {plan.task.unit}" if done else ""
    return min(1.0, reached / max(in_all, SHORT)), f"{ended} of {len(trials)} trials{best}"


def _length(trial: FrozenTrial) -> float:
    return SHORT if _is_short(trial) else 1.0 - SHORT


def _looks_first(plan: Plan) -> bool:
    return plan.trials > plan.workers


def _real(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials that were meant: not those of dead processes, nor surplus ones."""
    return [each for each in trials if ASKED in each.user_attrs and each.state != TrialState.FAIL]


def _found(study: optuna.Study, plan: Plan) -> Found:
    trials = [each for each in study.trials if each.params]
    whole = [each for each in trials if not _is_short(each)]
    complete = [each for each in whole if each.state == TrialState.COMPLETE]
    if not complete:
        raise RefusedError(f"none of {len(trials)} trials came to its end: widen the search")
    best = min(complete, key=_rank)
    return Found(
        best=best.number,
        settings=settings_of(plan, best),
        trials=tuple(_tried(each) for each in trials),
        importance=_importance([each for each in trials if _is_short(each)] or whole),
    )


def _tried(trial: FrozenTrial) -> Tried:
    least = _least(trial)
    return Tried(
        number=trial.number,
        state=trial.state.name.lower(),
        whole=not _is_short(trial),
        parameters=dict(trial.params),
        validation_mae=least if math.isfinite(least) else None,
        reached=(trial.last_step or 0) / 100,
        seconds=trial.duration.total_seconds() if trial.duration else 0.0,
    )


def _importance(trials: list[FrozenTrial]) -> dict[str, float]:
    """Return what mattered how much among `trials`, which are all of one length."""
    apart = optuna.create_study()
    apart.add_trials(trials)
    if sum(each.state == TrialState.COMPLETE for each in trials) < _LEAST_TO_COMPARE:
        return {}
    found = optuna.importance.get_param_importances(apart)
    return {name: float(each) for name, each in found.items()}
