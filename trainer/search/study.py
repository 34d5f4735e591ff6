"""The search: trainings over Optuna's storage, looked at on their way; the best go on to the end.

Laws:
- everything is in the run's folder: the plan, the study (SQLite), what each trial stood at, its
  network and its logs;
- this process alone says what is tried next (see `halving`), as soon as one of the others has
  nothing to do: nothing is tried twice at once;
- a search that was cut short goes on: looks that ended stay, with what they stood at, and a trial
  whose process died is begun again;
- what is looked at is the training itself, stood still, no shorter one: the winner's network is the
  one that a fit with its settings makes, to the byte, and is taken as it is (docs/adr/0061);
- a look poorer than the median is stopped; settings that diverge are a failed trial, not a failed
  search.
"""

import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import optuna
from optuna.trial import FrozenTrial, TrialState

from shared.clock import Clock
from trainer.learning.rounds import LOOK
from trainer.pipeline.folder import RunFolder
from trainer.search import found as finding
from trainer.search import halving, space
from trainer.search.crew import Crew
from trainer.search.found import Found
from trainer.search.plan import ASKED, FOLDER, WHOLE, Plan, costs, drawn, place
from trainer.settings import TrainingSettings

_NAME: Final = "search"
_POLL_US: Final = 250_000
_STALE_AFTER_S: Final = 20
_HEARTBEAT_S: Final = 4

NONE_STOPPED_BEFORE: Final = 40
"""Per cent of the whole training: before sigma is learnt, the error says little."""

LOOKED_AT_FIRST: Final = 4
"""So many looks come to their end before any is stopped: of few, the better half is too few."""

NETWORK_FILES: Final = ("network.npz", "rounds.json")


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
    folder.keep_json(f"{FOLDER}/plan.json", plan)
    study = open_study(folder.path / FOLDER, plan)
    _end_running(study, TrialState.FAIL)  # An earlier call was cut short: its processes are gone.
    costing = costs(plan)
    looked_us = 0
    with Crew(folder.path / FOLDER, size=plan.workers) as crew:
        while not halving.is_over(trials := _trials(study), draws=plan.trials):
            if clock.monotonic_us() - looked_us >= _HEARTBEAT_S * 1_000_000:
                looked_us = clock.monotonic_us()
                _notice_dead(study)
            _begin(study, plan, trials, costing)
            crew.keep_up()
            on_progress(*_progress(trials, plan))
            clock.sleep_until_us(clock.monotonic_us() + _POLL_US)
    _end_running(study, TrialState.PRUNED)  # Given up: the best is through.
    on_progress(*_progress(_trials(study), plan))
    return finding.found(_trials(study), plan)


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


def take_winner(folder: RunFolder, settings: TrainingSettings) -> bool:
    """Take the network of the search's best trial as the run's; False where there is none."""
    if not folder.has("search.json"):
        return False
    found = folder.read_json("search.json", Found)
    if found.settings != settings:
        return False
    for name in NETWORK_FILES:
        folder.keep(name, folder.read(f"{place(found.best)}/{name}"))
    return True


def _begin(
    study: optuna.Study, plan: Plan, trials: Sequence[FrozenTrial], costing: dict[int, float]
) -> None:
    """Queue something for each process without work, if there is anything to do."""
    while (found := halving.to_begin(trials, costs=costing, workers=plan.workers)) is not None:
        if isinstance(found, int):
            # What the sampler chose for a dead process is tried, not chosen anew.
            values = _tried(trials, found) or drawn(plan)[found]
            study.enqueue_trial(values, user_attrs={ASKED: found})
        else:
            attributes = {ASKED: found.user_attrs[ASKED], WHOLE: found.number}
            study.enqueue_trial(found.params, user_attrs=attributes)
        trials = _trials(study)


def _tried(trials: Sequence[FrozenTrial], draw: int) -> dict[str, Any]:
    """Return the parameters that some trial of `draw` had already; none where there is none."""
    tried = [each.params for each in trials if each.user_attrs.get(ASKED) == draw]
    return tried[-1] if tried else {}


def _trials(study: optuna.Study) -> list[FrozenTrial]:
    return study.get_trials(deepcopy=False)


def _notice_dead(study: optuna.Study) -> None:
    """Give up the trials whose processes no longer beat."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        optuna.storages.fail_stale_trials(study)


def _end_running(study: optuna.Study, state: TrialState) -> None:
    """End the trials that nobody trains any more."""
    for each in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
        study.tell(each.number, state=state)


def _progress(trials: Sequence[FrozenTrial], plan: Plan) -> tuple[float, str]:
    now = halving.standings(trials)
    begun = [*now.looks.values(), *now.whole.values()]
    ended = [each for each in begun if each.state.is_finished()]
    reached = sum(_share(each) for each in begun)
    in_all = plan.trials * LOOK + 1.0 - LOOK
    done = [each.value for each in ended if each.state == TrialState.COMPLETE and each.value]
    best = f", best validation error {min(done):.1f} {plan.task.unit}" if done else ""
    return min(1.0, reached / in_all), f"{len(ended)} of {len(begun)} trials{best}"


def _share(trial: FrozenTrial) -> float:
    """Return what share of a whole training `trial` has done itself."""
    if WHOLE not in trial.user_attrs:
        return LOOK - halving.share_left(trial)
    return (
        1.0 - LOOK if trial.state.is_finished() else max(0.0, (trial.last_step or 0) / 100 - LOOK)
    )
