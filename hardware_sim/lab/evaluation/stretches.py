"""What an evaluation leaves: stretches of driving under one model, and phases made of them."""

from dataclasses import dataclass, field
from typing import Any

from hardware_sim.lab.evaluation.phases import Phase
from hardware_sim.lab.measure import Pair

Pairs = dict[str, list[Pair]]
"""Pairs by car."""


@dataclass
class Measurement:
    """One stretch of driving: the runs of each car that belong to it, and the model in service."""

    setting: str
    runs: dict[str, list[int]]
    model: str | None


@dataclass
class Done:
    """What a phase left: its measurements, verdicts, decisions and times in UTC microseconds.

    `strays` are verdicts of stretches in which nothing changed any more. `opened` are the verdicts
    of the phase that are not cleared at its end.
    """

    phase: Phase
    before: Measurement | None = None
    after: Measurement | None = None
    again: list[Measurement] = field(default_factory=list)
    verdicts: list[dict[str, Any]] = field(default_factory=list)
    strays: list[dict[str, Any]] = field(default_factory=list)
    opened: int = 0
    decisions: list[dict[str, Any]] = field(default_factory=list)
    manoeuvres: list[dict[str, Any]] = field(default_factory=list)
    times_us: dict[str, int] = field(default_factory=dict)
    seconds: float = 0.0


class Tell:
    """Hears how an evaluation goes; this one says nothing."""

    def phase(self, phase: Phase) -> None:
        """A phase begins."""

    def stage(self, what: str, manoeuvres: int = 0) -> None:
        """A stage of it begins, with so many manoeuvres to drive."""

    def driven(self, manoeuvres: int) -> None:
        """So many of the stage's manoeuvres are driven."""

    def done(self, done: Done) -> None:
        """The phase is over."""


def chosen(measurement: Measurement | None, pairs: Pairs) -> list[Pair]:
    """Return the pairs of a measurement that were led by its model."""
    if measurement is None:
        return []
    return [
        pair
        for name, runs in measurement.runs.items()
        for pair in pairs.get(name, [])
        if pair.run in runs and _leader(pair) in (None, measurement.model)
    ]


def _leader(pair: Pair) -> str | None:
    return pair.sample.estimates[0].model if pair.sample.estimates else None
