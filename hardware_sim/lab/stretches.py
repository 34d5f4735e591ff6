"""A stretch of driving in one setting under one model, and the pairs that came of it."""

from dataclasses import dataclass

from hardware_sim.lab.measure import Pair

Pairs = dict[str, list[Pair]]
"""Pairs by car."""


@dataclass
class Measurement:
    """One stretch of driving: the runs of each car that belong to it, and the model in service."""

    setting: str
    runs: dict[str, list[int]]
    model: str | None


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
