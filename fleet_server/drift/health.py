"""The range sensor's health, from what it says of itself and how its labels move.

Laws:
- labels are learned only from a sensor that shows none of these symptoms;
- each symptom is measured on its own, without any model: a model that has become bad is no fault of
  the sensor;
- a healthy sensor's value is a floor to what is compared with: a sensor that never once missed an
  echo is not ill at the first.

    symptom    measured by                                                 healthy
    stuck      share of labels that equal the one before                   0.2
    noisy      root mean square of the label's bends, over sqrt(6): the
               standard deviation of one label if the way were straight    4 (task's unit)
    dropping   share of pictures without a label                           0.05

A bend is the difference of two following steps; of independent noise with standard deviation s it
has the variance 6 s^2. A car that brakes bends its way, too: hence a healthy value above the
sensor's own noise. A constant offset shows in none of these, nor does a wrong scale: those are
found by comparison with the model (`naming`).
"""

import math
from typing import Final

from fleet_server.drift.summaries import Summary

SYMPTOMS: Final = ("stuck", "noisy", "dropping")
HEALTHY: Final = {"stuck": 0.2, "noisy": 4.0, "dropping": 0.05}
FEWEST: Final = 3
"""Values of a manoeuvre that a mean needs."""

_FEWEST_LABELS: Final = 6


def measure(summary: Summary) -> dict[str, float]:
    """Return what each symptom of the sensor measures in a manoeuvre, where it can be measured."""
    found: dict[str, float] = {}
    asked = summary.samples - summary.absent
    if asked >= FEWEST:
        found["dropping"] = summary.silent / asked
    labels = summary.labels.samples
    if labels >= _FEWEST_LABELS:
        found["stuck"] = summary.repeats / (labels - 1)
    if summary.bends.samples >= FEWEST:
        found["noisy"] = math.sqrt(summary.bends.squares / summary.bends.samples / 6.0)
    return found
