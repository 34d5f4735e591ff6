"""`python -m trainer.search.trial FOLDER INDEX PARENT`: tries what waits in a study.

Laws:
- it works for its parent alone, which stops it: once that is gone, it ends by itself;
- it stays while nothing waits: what is found may ask for more, and TensorFlow takes seconds to
  import;
- what a trial made is kept before the study hears that it is complete;
- who goes on with the training that it looked at last has it still, and need not build it anew.
"""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import optuna
from optuna.trial import TrialState

from shared.clock import Clock, SystemClock
from shared.errors import RefusedError
from trainer import runtime
from trainer.learning.rounds import look_after, numbered, planned_rounds
from trainer.pipeline.folder import RunFolder
from trainer.search import halving
from trainer.search import plan as planning
from trainer.search import study as studies
from trainer.search.plan import Plan

if TYPE_CHECKING:
    from trainer.learning.fit import Training
    from trainer.learning.rounds import Round
    from trainer.notebook.board import Board

_POLL_US: Final = 100_000


def main(folder: Path, index: int, parent: int, *, clock: Clock) -> None:
    """Try what waits in the study in `folder`, for the process `parent`."""
    plan = msgspec.json.decode((folder / "plan.json").read_bytes(), type=Plan)
    begun_us = clock.monotonic_us()
    runtime.prepare(plan.base.threads, notebook=False)
    imported_s = (clock.monotonic_us() - begun_us) / 1e6
    RunFolder(folder).keep_json(f"worker-{index}.json", {"tensorflow_import_s": imported_s})
    objective = _Objective(RunFolder(folder.parent), plan, parent, clock)
    study = studies.open_study(folder, plan, worker=index)
    while os.getppid() == parent:
        if study.get_trials(deepcopy=False, states=(TrialState.WAITING,)):
            study.optimize(objective, n_trials=1, catch=(RefusedError,))
        else:
            clock.sleep_until_us(clock.monotonic_us() + _POLL_US)


class _Objective:
    """Trains what a trial asks for; returns its least validation error in the task's unit."""

    def __init__(self, folder: RunFolder, plan: Plan, parent: int, clock: Clock) -> None:
        from trainer.data.snapshot import Snapshots
        from trainer.pipeline import kept

        self._folder = folder
        self._plan = plan
        self._parent = parent
        self._clock = clock
        self._last: tuple[int, Training | None] = (-1, None)
        dataset = Snapshots(Path(plan.snapshots)).load(plan.dataset_sha256, plan.task)
        split = kept.read_split(folder)
        self._train, self._validation = (
            dataset.part(rows) for rows in (split.train, split.validation)
        )

    def __call__(self, trial: optuna.Trial) -> float:
        from trainer.notebook.board import Board

        if planning.ASKED not in trial.user_attrs:
            # Another process took the last one that waited.
            raise optuna.TrialPruned
        board = Board(self._folder.path / "tensorboard" / f"trial-{trial.number}")
        reporter = _Reporter(trial, board, self._parent)
        try:
            if planning.WHOLE in trial.user_attrs:
                return self._gone_on(trial, board, reporter)
            return self._looked_at(trial, reporter)
        except RefusedError as error:
            trial.set_user_attr(planning.DIVERGED, str(error))
            raise
        finally:
            settings = planning.settings_of(self._plan, trial)
            board.told(settings, {"validation_mae": reporter.best})
            board.close()

    def _looked_at(self, trial: optuna.Trial, reporter: "_Reporter") -> float:
        """Train until the look, and keep what the training stands at."""
        from trainer.learning.fit import Training
        from trainer.pipeline import kept

        settings = planning.settings_of(self._plan, trial)
        training = Training(self._train, self._validation, self._plan.task, settings)
        look = look_after(planned_rounds(len(self._train), settings))
        training.go_on(until=look, on_round=reporter)
        stood = training.standing()
        kept.keep_standing(self._place(trial.number), stood)
        self._last = (trial.number, training)
        return numbered(stood.rounds, stood.best_round).validation_mae

    def _gone_on(self, trial: optuna.Trial, board: "Board", reporter: "_Reporter") -> float:
        """Train from the look to the end, and keep the network.

        Where the look left nothing to go on from, it begins anew and comes to the same bytes.
        """
        from trainer.pipeline import kept

        begun_us = self._clock.monotonic_us()
        training = self._stood(trial)
        # Histograms and profile of the one that may win; they cost seconds.
        training.go_on(on_round=reporter, callbacks=(board.callback(),))
        fitted = training.fitted(seconds=(self._clock.monotonic_us() - begun_us) / 1e6)
        kept.keep_fitted(self._place(trial.number), fitted)
        return fitted.best.validation_mae

    def _stood(self, trial: optuna.Trial) -> "Training":
        """Return the training that `trial` goes on with."""
        from trainer.learning.fit import Training
        from trainer.pipeline import kept

        look = trial.user_attrs[planning.WHOLE]
        number, last = self._last
        if last and number == look:
            return last
        stood = kept.read_standing(self._place(look))
        settings = planning.settings_of(self._plan, trial)
        return Training(self._train, self._validation, self._plan.task, settings, stood=stood)

    def _place(self, number: int) -> RunFolder:
        return RunFolder(self._folder.path / planning.place(number))


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
        if self._is_poor(percent):
            raise optuna.TrialPruned

    def _is_poor(self, percent: int) -> bool:
        """Tell whether this look is to be stopped; one that goes on to the end never is."""
        if planning.WHOLE in self._trial.user_attrs or percent < studies.NONE_STOPPED_BEFORE:
            return False
        trials = self._trial.study.get_trials(deepcopy=False)
        # Counted here: to Optuna's pruner one that is through is one more that was looked at.
        return halving.looked_at(trials) >= studies.LOOKED_AT_FIRST and self._trial.should_prune()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), clock=SystemClock())
