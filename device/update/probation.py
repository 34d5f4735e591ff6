"""A model that was just committed is watched for slowness and a greater error.

Laws:
- for its first manoeuvres the former model answers the same pictures beside it, so that a change of
  the floor is no reason to go back, and a worse model is one;
- the first model of a deployment has no former one, since another setting's is none: it is held to
  the error that its manifest promises, at first only, since later a risen error is drift and not
  the model's fault;
- a crash loop fails it too, which `starts` counts;
- a probation ends by itself; who fails it is rolled back and never tried again on this car.
"""

from dataclasses import dataclass
from typing import Final

import msgspec

from device.update import trial
from device.update.trial import Pair, Trial
from shared.ids import Sha256
from shared.messages import TargetPath
from shared.samples import Count, Record
from shared.task import Task

MANOEUVRES: Final = 20
MANOEUVRES_OF_FIRST: Final = 8
"""Two more than `device.error_watch` needs to find a model out that is bad from the start."""

MOST_SLOW: Final = 2
"""Manoeuvres, one after another, in which most answers took longer than allowed."""

LATENCY_LIMIT_US: Final = 33_333
"""The most that an estimate may take: a frame's time (`device.drive.loop`). One that takes longer
would be driven by, picture by picture, until it is older than parking allows.
"""


class Probation(Record, frozen=True):
    """What is remembered about a model since it was committed.

    `slow` counts manoeuvres in a row. `reversed` is a trial in which the former model is the
    candidate; None where there is no former one.
    """

    target: TargetPath
    model: Sha256
    manoeuvres: Count = 0
    slow: Count = 0
    has_alarmed: bool = False
    reversed: Trial | None = None


@dataclass(frozen=True, kw_only=True)
class Manoeuvre:
    """What a closed manoeuvre tells of the model on probation; `latency_us` is its median.

    `alarmed`: the watch over its error (`device.error_watch`) raised an alarm.
    """

    pair: Pair | None
    latency_us: float | None
    alarmed: bool


def begin(target: str, model: str, *, former: str | None, task: Task) -> Probation:
    """Return the probation of a model that was just committed in the place of `former`."""
    known = trial.begin(model, former, task) if former is not None and former != model else None
    return Probation(target=target, model=model, reversed=known)


def learn(probation: Probation, driven: Manoeuvre) -> Probation:
    """Return the probation after a manoeuvre by its model."""
    is_slow = driven.latency_us is not None and driven.latency_us > LATENCY_LIMIT_US
    known = probation.reversed
    if known is not None and driven.pair is not None:
        known = trial.learn(known, driven.pair)
    return msgspec.structs.replace(
        probation,
        manoeuvres=probation.manoeuvres + 1,
        slow=probation.slow + 1 if is_slow else 0,
        has_alarmed=probation.has_alarmed or driven.alarmed,
        reversed=known,
    )


def failure(probation: Probation) -> str:
    """Return why the model must go, or an empty text."""
    if probation.slow >= MOST_SLOW:
        return f"estimates took longer than {LATENCY_LIMIT_US} us in {probation.slow} manoeuvres"
    if probation.reversed is None:
        return "measured error above what its manifest promises" if probation.has_alarmed else ""
    verdict = trial.judge(probation.reversed)
    if verdict is not None and verdict.is_better:
        return f"the former model is {verdict.reason}"
    return ""


def is_over(probation: Probation) -> bool:
    """Tell whether the model has passed."""
    enough = MANOEUVRES_OF_FIRST if probation.reversed is None else MANOEUVRES
    return probation.manoeuvres >= enough and not failure(probation)


def evidence(probation: Probation) -> dict[str, float]:
    """Return what to tell of a probation, in numbers."""
    told = {"manoeuvres": float(probation.manoeuvres)}
    known = probation.reversed
    if known is None or not known.manoeuvres:
        return told
    return {
        **told,
        "error_in_service": known.incumbent_sum / known.manoeuvres,
        "error_of_former": known.candidate_sum / known.manoeuvres,
    }
