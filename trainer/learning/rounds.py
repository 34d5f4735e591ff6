"""How long a training takes, in rounds of a fixed number of steps, and which of them are judged.

Apart from `fit`, so that who plans a training, or reads of one, need not load TensorFlow.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from trainer.settings import TrainingSettings

STEPS_PER_ROUND: Final = 25

LOOK: Final = 0.45
"""The share of its rounds after which a search looks at a training. Measured on eight whole ones:
the least validation error until then ranks them as the end does from here on (Spearman's 0.90; at
0.40 it is 0.71, and up to 0.35, while the value alone is learnt, it is chance)."""

_JUDGED_EVERY: Final = 4
"""Rounds between two judgements while the value alone is learnt: none of these is ever the best in
the end, and judging costs an eighth of a round."""


@dataclass(frozen=True)
class Round:
    """How training stands after a round that was judged; `validation_mae` is in the task's unit."""

    number: int
    of: int
    loss: float
    validation_mae: float
    learning_rate: float


def numbered(rounds: Iterable[Round], number: int) -> Round:
    """Return round `number` of those that were judged.

    Raises:
        KeyError: it was not.
    """
    return {each.number: each for each in rounds}[number]


def planned_steps(pictures: int, settings: TrainingSettings) -> int:
    """Return how many gradient steps a training on that many pictures takes at most."""
    seen = pictures * (2 if settings.mirror else 1)
    for_passes = settings.passes * seen // settings.batch
    return max(STEPS_PER_ROUND, settings.steps, min(for_passes, settings.most_steps))


def planned_rounds(pictures: int, settings: TrainingSettings) -> int:
    """Return how many rounds a training on that many pictures has at most."""
    return planned_steps(pictures, settings) // STEPS_PER_ROUND


def look_after(rounds: int) -> int:
    """Return after which of so many rounds a search looks at a training."""
    return max(1, round(LOOK * rounds))


def is_judged(number: int, of: int, settings: TrainingSettings) -> bool:
    """Tell whether round `number` (from 1) is judged: each once sigma is learnt, fewer before."""
    return (
        number > settings.warm_up * of
        or number % _JUDGED_EVERY == 0
        or number in (look_after(of), of)
    )
