"""A run: its folder, its data, who is told; `doing` does its steps.

Laws:
- what is in force and what was done is read from the folder each time: a step may change it.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras

from shared.clock import Clock
from shared.errors import UsageError
from trainer.data.dataset import Dataset
from trainer.learning.rounds import Round
from trainer.pipeline.folder import RunFolder
from trainer.pipeline.kept import Begun
from trainer.pipeline.progress import Tell
from trainer.pipeline.steps import STEPS, Done, Step
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
