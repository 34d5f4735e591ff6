"""Simulated fleets whose cars drive by two models in turn, and report as cars do."""

import math
from collections.abc import Iterator

import numpy as np

from fleet_server.rollout.arms import Tally, Told

SPREAD = 0.35
"""Of one manoeuvre's log error: what `tests.device.update.trials` gives at 13 mm, about."""


def report(errors_mm: list[float]) -> Tally:
    logs = [math.log(each) for each in errors_mm]
    return Tally(
        driven=len(logs),
        error=sum(errors_mm) / max(1, len(logs)),
        log_error=sum(logs) / max(1, len(logs)),
        log_spread=float(np.std(logs, ddof=1)) if len(logs) > 1 else 0.0,
    )


def fleet(
    rng: np.random.Generator, *, cars: int, in_service_mm: float, candidate_mm: float
) -> Iterator[list[Told]]:
    """Yield what all cars report after each round of one manoeuvre a car, drawn half and half.

    Cars differ in how hard their floor is, for both models alike.
    """
    floors = np.exp(rng.normal(0.0, 0.5, cars))
    driven: list[tuple[list[float], list[float]]] = [([], []) for _ in range(cars)]
    while True:
        for floor, both in zip(floors, driven, strict=True):
            arm = int(rng.random() < 0.5)
            mean_mm = (in_service_mm, candidate_mm)[arm]
            both[arm].append(float(floor * mean_mm * np.exp(rng.normal(0.0, SPREAD))))
        yield [Told(report(ours), report(theirs)) for ours, theirs in driven]
