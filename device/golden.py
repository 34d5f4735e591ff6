"""Whether a model answers here as it did where it was made, on the golden pictures.

Laws:
- two runtimes may round differently: up to `LIMIT_STEPS` output steps are the same answer;
- where nothing can be compared, that is said, and is no fault of the model's.

LiteRT and tflite-runtime differ by at most two steps in `tests/contracts`, which holds them to it.
"""

import math
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from shared import golden
from shared.errors import RefusedError
from shared.manifest import Golden, Manifest, Tensor, to_label, to_sigma
from shared.picture import Pixels

LIMIT_STEPS: Final = 2
"""How many output steps an answer may differ."""

_ROUNDING: Final = 1e-3
"""What scales lose as decimal text, in steps."""

Estimate = Callable[[Pixels], tuple[float, float]]


@dataclass(frozen=True)
class Agreement:
    """How an answer differs from the trainer's, at its worst: `steps` of `output`."""

    pictures: int
    steps: float
    output: str

    @property
    def holds(self) -> bool:
        """Whether these are the same answers."""
        return self.steps <= LIMIT_STEPS + _ROUNDING

    def __str__(self) -> str:
        """Return one line for people."""
        return (
            f"{self.pictures} golden pictures, {self.output} at most {self.steps:.0f} output "
            f"steps from the trainer's, limit {LIMIT_STEPS}"
        )


def incomparable(manifest: Manifest, shown: tuple[Pixels, ...]) -> str:
    """Return why the pictures `shown` tell nothing about a model; "" where they do."""
    told = manifest.golden
    if told is None:
        return "the manifest holds no answers to golden pictures: the model is of an older trainer"
    if told.pictures != golden.set_id(shown):
        return f"the set {told.pictures[:12]} of golden pictures is unknown to this car's software"
    if not (manifest.value.scale > 0 and manifest.log_sigma.scale > 0):
        return "the model is not quantised: there are no output steps to compare"
    return ""


def compare(manifest: Manifest, estimate: Estimate, shown: tuple[Pixels, ...]) -> Agreement | None:
    """Return how `estimate` answers to the pictures `shown`; None where they are `incomparable`.

    `estimate` is that of a loaded model: finite, and of a file whose scales are the manifest's.

    Raises:
        RefusedError: the manifest has not one answer a picture, or the model gives no number.
    """
    told = manifest.golden
    if told is None or incomparable(manifest, shown):
        return None
    if len(told.value) != len(shown):
        raise RefusedError(f"{len(told.value)} answers to {len(shown)} golden pictures")
    steps = {"value": 0.0, "log_sigma": 0.0}
    for number, picture in enumerate(shown):
        differences = _differences(manifest, told, number, estimate(picture))
        for output, difference in zip(steps, differences, strict=True):
            steps[output] = max(steps[output], difference)
    output = max(steps, key=lambda each: steps[each])
    return Agreement(pictures=len(shown), steps=steps[output], output=output)


def _differences(
    manifest: Manifest, told: Golden, number: int, answer: tuple[float, float]
) -> tuple[float, float]:
    """Return how far value and log sigma are from what was told, in steps of each."""
    task = manifest.task
    value, sigma = answer
    wanted = to_label(_meant(manifest.value, told.value[number]), task)
    wanted_sigma = to_sigma(_meant(manifest.log_sigma, told.log_sigma[number]), task)
    return (
        abs(value - wanted) / (manifest.value.scale * task.span),
        abs(_log(sigma) - _log(wanted_sigma)) / manifest.log_sigma.scale,
    )


def _meant(tensor: Tensor, quantised: int) -> float:
    return tensor.scale * (quantised - tensor.zero_point)


def _log(sigma: float) -> float:
    # A sigma may be too small for a float; its logarithm in the file then is as low as this.
    return math.log(max(sigma, sys.float_info.min))
