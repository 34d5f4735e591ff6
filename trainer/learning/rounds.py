"""How long a training takes: in rounds of a fixed number of steps, whatever the amount of data.

Apart from `fit`, so that who plans a training, or reads of one, need not load TensorFlow.
"""

from dataclasses import dataclass
from typing import Final

from trainer.settings import TrainingSettings

STEPS_PER_ROUND: Final = 25


@dataclass(frozen=True)
class Round:
    """How training stands after one round; `validation_mae` is in the task's unit."""

    number: int
    of: int
    loss: float
    validation_mae: float
    learning_rate: float


def planned_steps(pictures: int, settings: TrainingSettings) -> int:
    """Return how many gradient steps a training on that many pictures takes at most."""
    seen = pictures * (2 if settings.mirror else 1)
    for_passes = settings.passes * seen // settings.batch
    return max(STEPS_PER_ROUND, settings.steps, min(for_passes, settings.most_steps))
