"""`python -m trainer.search.trial FOLDER INDEX PARENT`: tries what waits in a study.

Laws:
- it works for its parent alone, which stops it: once that is gone, it ends by itself;
- it stays while nothing waits: what is found may ask for more, and TensorFlow takes seconds to
  import;
- what a trial made is kept before the study hears that it is complete.
"""

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import msgspec
import optuna
from optuna.trial import TrialState

from shared.clock import SystemClock
from shared.errors import RefusedError
from trainer import runtime
from trainer.pipeline.folder import RunFolder
from trainer.search import study as studies
from trainer.search.study import Plan
from trainer.settings import TrainingSettings

if TYPE_CHECKING:
    from trainer.learning.rounds import Round
    from trainer.notebook.board import Board

_LOOK_US: Final = 500_000


def main(folder: Path, index: int, parent: int) -> None:
    """Try what waits in the study in `folder`, for the process `parent`."""
    plan = msgspec.json.decode((folder / "plan.json").read_bytes(), type=Plan)
    runtime.prepare(studies.threads(plan), notebook=False)
    objective = _Objective(RunFolder(folder.parent), plan, parent)
    study = studies.open_study(folder, plan, worker=index)
    clock = SystemClock()
    while os.getppid() == parent:
        if study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            study.optimize(objective, n_trials=1, catch=(RefusedError,))
        else:
            clock.sleep_until_us(clock.monotonic_us() + _LOOK_US)


class _Objective:
    """Trains what a trial asks for; returns its least validation error in the task's unit."""

    def __init__(self, folder: RunFolder, plan: Plan, parent: int) -> None:
        from trainer.data.snapshot import Snapshots
        from trainer.pipeline import kept

        self._folder = folder
        self._plan = plan
        self._parent = parent
        self._dataset = Snapshots(Path(plan.snapshots)).load(plan.dataset_sha256, plan.task)
        self._split = kept.read_split(folder)

    def __call__(self, trial: optuna.Trial) -> float:
        from trainer.learning import fit
        from trainer.notebook.board import Board
        from trainer.pipeline import kept

        if studies.ASKED not in trial.user_attrs:
            # Another process took the last one that waited.
            raise optuna.TrialPruned
        settings = studies.settings_of(self._plan, trial)
        place = RunFolder(self._folder.path / studies.place(trial.number))
        board = Board(self._folder.path / "tensorboard" / f"trial-{trial.number}")
        reporter = _Reporter(trial, board, self._parent)
        # Histograms and profile of the one that may win; they cost seconds.
        watching = (board.callback(),) if studies.WHOLE in trial.user_attrs else ()
        try:
            fitted = fit.fit(
                self._dataset.part(self._split.train),
                self._dataset.part(self._split.validation),
                self._plan.task,
                settings,
                clock=SystemClock(),
                on_round=reporter,
                callbacks=watching,
                begun=self._begun(trial, settings),
            )
        finally:
            board.told(settings, {"validation_mae": reporter.best})
            board.close()
        kept.keep_fitted(place, fitted)
        return fitted.rounds[fitted.best_round - 1].validation_mae

    def _begun(self, trial: optuna.Trial, settings: TrainingSettings) -> Sequence[Any] | None:
        """Return the weights that a whole trial goes on from, if its short one kept them."""
        from trainer.pipeline import kept

        if not settings.restart:
            return None
        short = RunFolder(self._folder.path / studies.place(trial.user_attrs[studies.WHOLE]))
        if not short.has(studies.TRIAL_FILES[0]):
            return None  # It was stopped before its end.
        found: Sequence[Any] = kept.read_network(short, self._plan.task, settings).get_weights()
        return found


class _Reporter:
    def __init__(self, trial: optuna.Trial, board: "Board", parent: int) -> None:
        self._trial = trial
        self._board = board
        self._parent = parent
        self._told = -1
        self.best = float("inf")

    def __call__(self, each: "Round") -> None:
        if os.getppid() != self._parent:
            sys.exit("the process that searches is gone")
        self._board.on_round(each)
        self.best = min(self.best, each.validation_mae)
        percent = 100 * each.number // each.of
        if percent == self._told:
            return  # Optuna takes one value a step.
        self._told = percent
        self._trial.report(self.best, step=percent)
        # The whole ones are few, and nothing waits for their processes.
        if studies.WHOLE not in self._trial.user_attrs and self._trial.should_prune():
            raise optuna.TrialPruned


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))
