"""Measured error: pairs from the server beside the simulator's truth.

Laws:
- a pair belongs to the person's order (run) during which its frame was exposed; truth and pair are
  joined by that moment and by nothing else;
- the error against the sensor is what the field would measure; the error against the truth is what
  only a simulator can know. Both are mean absolute errors in millimetres.
"""

import csv
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from shared.samples import Sample


@dataclass(frozen=True, kw_only=True)
class Pair:
    """One stored pair with what the simulator knows of it."""

    sample: Sample
    run: int
    truth_mm: float

    @property
    def estimate_mm(self) -> float | None:
        """The answer of the model that was in service, None where there was none."""
        return self.sample.estimates[0].value if self.sample.estimates else None


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What one car did in one phase; errors are None where no model ran."""

    manoeuvres: int
    pairs: int
    models: tuple[str, ...]
    mae_sensor_mm: float | None
    mae_truth_mm: float | None


def read_truth(path: Path) -> dict[int, tuple[int, float]]:
    """Return (run, true distance in mm) by moment of exposure in microseconds."""
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        return {
            int(row["exposed_us"]): (int(row["run"]), float(row["true_mm"]))
            for row in csv.DictReader(file)
        }


def join(samples: Iterable[Sample], truth: dict[int, tuple[int, float]]) -> list[Pair]:
    """Return the samples that the simulator knows of, in order of exposure."""
    known = [sample for sample in samples if sample.monotonic_us in truth]
    known.sort(key=lambda sample: sample.monotonic_us)
    return [
        Pair(sample=s, run=truth[s.monotonic_us][0], truth_mm=truth[s.monotonic_us][1])
        for s in known
    ]


def measure(pairs: Iterable[Pair]) -> Measured:
    """Return counts and mean absolute errors of `pairs`."""
    every = list(pairs)
    against_sensor, against_truth = [], []
    for pair in every:
        if pair.estimate_mm is None:
            continue
        against_truth.append(abs(pair.estimate_mm - pair.truth_mm))
        if pair.sample.label is not None:
            against_sensor.append(abs(pair.estimate_mm - pair.sample.label))
    models = {e.model: None for pair in every for e in pair.sample.estimates[:1]}
    return Measured(
        manoeuvres=len({(pair.sample.boot, pair.sample.manoeuvre) for pair in every}),
        pairs=len(every),
        models=tuple(models),
        mae_sensor_mm=fmean(against_sensor) if against_sensor else None,
        mae_truth_mm=fmean(against_truth) if against_truth else None,
    )


def by_manoeuvre(pairs: Iterable[Pair]) -> list[Measured]:
    """Return one measurement a manoeuvre, in the order in which they were driven."""
    groups: dict[tuple[str, int], list[Pair]] = {}
    for pair in pairs:
        groups.setdefault((pair.sample.boot, pair.sample.manoeuvre), []).append(pair)
    return [measure(group) for group in groups.values()]
