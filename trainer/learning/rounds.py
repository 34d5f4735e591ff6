"""How long a training takes: in rounds of a fixed number of steps, whatever the amount of data.

Apart from `fit`, so that who plans a training, or reads of one, need not load TensorFlow.
"""

from dataclasses import dataclass
from typing import Final

import msgspec

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
    """Return how many gradient steps a training on that many pictures takes at most.

    Those before its restart are not counted.
    """
    seen = pictures * (2 if settings.mirror else 1)
    for_passes = settings.passes * seen // settings.batch
    in_all = max(settings.steps, min(for_passes, settings.most_steps))
    return max(STEPS_PER_ROUND, round((1.0 - settings.restart) * in_all))


def shortened(settings: TrainingSettings, share: float) -> TrainingSettings:
    """Return `settings` for a training of `share` of the length, its schedule drawn together."""
    return msgspec.structs.replace(
        settings,
        **{
            name: max(1, round(share * getattr(settings, name)))
            for name in ("steps", "passes", "most_steps")
        },
    )
