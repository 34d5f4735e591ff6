"""A run: does the steps of the table, one by one, in its folder.

Laws:
- a step is done once: where the record says so, its outputs are whole and its inputs and settings
  are the same, it is passed over, so that a run that was cut short is gone on with;
- a step's outputs are on the disk before the record that names them;
- whoever is told may end the run by raising.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras

from shared.clock import Clock
from shared.errors import UsageError
from trainer.data.dataset import Dataset
from trainer.learning.rounds import Round
from trainer.pipeline.doers import DOERS
from trainer.pipeline.folder import RunFolder
from trainer.pipeline.kept import Begun
from trainer.pipeline.progress import BEGINS, Progress, Tell
from trainer.pipeline.steps import DATASET, STEPS, Done, Step, parameters
from trainer.settings import TrainingSettings


@dataclass(frozen=True, eq=False, kw_only=True)
class Run:
    """One run: its folder, its data, how it began, and who is told.

    `callbacks` are Keras's, `on_round` hears of each round; both watch the fit.
    """

    folder: RunFolder
    dataset: Dataset
    begun: Begun
    clock: Clock
    tell: Tell
    on_round: Callable[[Round], None]
    snapshots: Path
    callbacks: Sequence[keras.callbacks.Callback] = ()

    def done(self) -> list[Done]:
        """Return the steps that were done, in order."""
        return done_steps(self.folder)

    @property
    def settings(self) -> TrainingSettings:
        """The settings in force: those asked for, or those that a search has found."""
        return self.folder.read_json("settings.json", TrainingSettings)

    def do_all(self) -> None:
        """Do every step that is not done.

        Raises:
            RefusedError: training diverged, or the converted file is not what it must be.
            RetryLaterError: the run's folder cannot be written.
        """
        for step in STEPS:
            if self.begun.order.trials or not step.optional:
                self.do(step)

    def do(self, step: Step) -> None:
        """Do `step`, unless it is done already.

        Raises:
            UsageError: a step before it has not been done.
            RefusedError: training diverged, or the converted file is not what it must be.
            RetryLaterError: the run's folder cannot be written.
        """
        inputs = {name: self._digest(name) for name in step.reads}
        heeded = parameters(step, self.settings)
        if self._is_done(step, inputs, heeded):
            return
        message = step.what if step.name != "split" else f"{len(self.dataset)} pairs"
        self.tell(Progress(stage=step.name, fraction=BEGINS[step.name], message=message))
        begun_us = self.clock.monotonic_us()
        DOERS[step.name](self)
        self._record(
            Done(
                name=step.name,
                inputs=inputs,
                outputs={name: self._digest(name) for name in step.makes},
                parameters=heeded,
                seconds=(self.clock.monotonic_us() - begun_us) / 1e6,
            )
        )

    def _digest(self, name: str) -> str:
        return self.dataset.sha256 if name == DATASET else self.folder.digest(name)

    def _is_done(self, step: Step, inputs: Mapping[str, str], heeded: Mapping[str, str]) -> bool:
        done = {each.name: each for each in done_steps(self.folder)}.get(step.name)
        if done is None or (done.inputs, done.parameters) != (inputs, heeded):
            return False
        return all(
            self.folder.has(name) and self.folder.digest(name) == digest
            for name, digest in done.outputs.items()
        )

    def _record(self, done: Done) -> None:
        earlier = [each for each in done_steps(self.folder) if each.name != done.name]
        self.folder.keep_json("steps.json", [*earlier, done])


def done_steps(folder: RunFolder) -> list[Done]:
    """Return the steps that were done, in order.

    Raises:
        RefusedError: the record is damaged.
    """
    return folder.read_json("steps.json", list[Done]) if folder.has("steps.json") else []


def find(name: str) -> Step:
    """Return the step called `name`.

    Raises:
        UsageError: there is none.
    """
    for step in STEPS:
        if step.name == name:
            return step
    raise UsageError(f"there is no step {name!r}: {', '.join(step.name for step in STEPS)}")
