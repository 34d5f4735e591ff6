"""Simulated trials: manoeuvres whose pictures are near-twins, judged by one noisy sensor.

Half of a model's variance is common to the pictures of a manoeuvre (the way it came, the light),
half is each picture's own; the sensor's noise falls on both models alike.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count

import numpy as np

from device.update import trial
from device.update.trial import Pair, Trial
from shared.task import WALL_DISTANCE

PICTURES = 25
SENSOR_MM = 3.0
IN_SERVICE, CANDIDATE = "a" * 64, "b" * 64


@dataclass(frozen=True)
class Outcome:
    """How a trial ended, and after how many manoeuvres."""

    promoted: bool
    manoeuvres: int


def pairs(rng: np.random.Generator, *, in_service_mm: float, candidate_mm: float) -> Iterator[Pair]:
    """Yield the errors of manoeuvre after manoeuvre of models with those mean absolute errors."""
    for _ in count():
        noise = rng.normal(0.0, SENSOR_MM, PICTURES)
        errors = [
            float(np.abs(_residuals(rng, mae_mm) - noise).mean())
            for mae_mm in (in_service_mm, candidate_mm)
        ]
        yield Pair(errors[0], errors[1])


def run(found: Iterator[Pair], *, harmed: bool = False) -> Outcome:
    """Return how the trial of such manoeuvres ends."""
    known: Trial = trial.begin(IN_SERVICE, CANDIDATE, WALL_DISTANCE)
    for pair in found:
        known = trial.learn(known, pair, harmed=harmed)
        verdict = trial.judge(known)
        if verdict is not None:
            return Outcome(verdict.is_better, known.manoeuvres)
    raise AssertionError("a trial ends")


def many(
    seed: int, *, in_service_mm: float, candidate_mm: float, harmed: bool = False, trials: int = 200
) -> list[Outcome]:
    """Return how many trials of the same two models end."""
    return [
        run(
            pairs(
                np.random.default_rng((seed, number)),
                in_service_mm=in_service_mm,
                candidate_mm=candidate_mm,
            ),
            harmed=harmed,
        )
        for number in range(trials)
    ]


def _residuals(rng: np.random.Generator, mae_mm: float) -> np.ndarray:
    deviation = mae_mm * math.sqrt(math.pi) / 2
    return rng.normal(rng.normal(0.0, deviation), deviation, PICTURES)
