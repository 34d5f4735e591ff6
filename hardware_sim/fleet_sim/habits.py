"""What differs from car to car of a simulated fleet, and what is remembered of its driving.

Laws:
- which model drives a manoeuvre is read from the car's own journal, by the rules that drive keeps;
- chance comes from the generator that is handed in.
"""

import math
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean

from device.journal import Journal
from device.update import arms, saved
from shared.messages import UploadLevel
from shared.samples import Estimate, Sample


@dataclass(frozen=True, kw_only=True)
class Habits:
    """What differs from car to car: how it drives, what it uploads, how its models do there.

    `manoeuvres` are driven in a trip. `errors_mm` is the mean absolute error of each model, of one
    that is not named 0; `floor` multiplies them all. Half of a model's variance is common to the
    pictures of a manoeuvre.
    """

    manoeuvres: int = 1
    upload: UploadLevel = "pictures"
    errors_mm: Mapping[str, float] = field(default_factory=dict)
    floor: float = 1.0

    def answers(
        self, models: Sequence[str], rng: random.Random
    ) -> Callable[[float], tuple[Estimate, ...]]:
        """Return how `models` answer the pictures of one manoeuvre."""
        # The mean absolute value of a normal is its deviation times sqrt(2 / pi).
        spreads = [
            self.errors_mm.get(model, 0.0) * self.floor * math.sqrt(math.pi / 4) for model in models
        ]
        common = [rng.gauss(0.0, spread) for spread in spreads]

        def answer(label: float) -> tuple[Estimate, ...]:
            return tuple(
                Estimate(model=model, value=label + shift + rng.gauss(0.0, spread), sigma=4.0)
                for model, shift, spread in zip(models, common, spreads, strict=True)
            )

        return answer


@dataclass(frozen=True)
class Driven:
    """A manoeuvre that `model` drove: when it ended, and its mean error in millimetres."""

    utc_us: int
    model: str
    error_mm: float


def models_of(journal: Journal, device: str, boot: str, manoeuvre: int) -> list[str]:
    """Return which model drives a manoeuvre and which answers beside it, as drive would."""
    active, shadow = journal.active_model(), journal.shadow_model()
    models = [each for each in (active, shadow) if each is not None]
    draw = saved.draw_of(saved.load(journal.update_state()))
    if draw is None or models != [draw[0].incumbent, draw[0].candidate]:
        return models
    arm = arms.choose(*draw, device=device, boot=boot, manoeuvre=manoeuvre)
    return models[::-1] if arm == "candidate" else models


def driven(utc_us: int, model: str, samples: Sequence[Sample]) -> Driven:
    """Return what to remember of a manoeuvre that `model` drove."""
    errors = [abs(each.estimates[0].value - (each.label or 0.0)) for each in samples]
    return Driven(utc_us, model, fmean(errors))
