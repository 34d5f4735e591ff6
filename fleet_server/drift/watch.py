"""What is remembered of one model on one car, and what another manoeuvre does to it.

Laws:
- what a model is measured against is its own error on this very car over its first manoeuvres;
  until these are driven, the error that its manifest promises fills the places that are empty;
- a manoeuvre that looks like drift never becomes part of the reference;
- the memory is bounded, whatever the car has driven: a reference and a few numbers;
- an alarm is told once: after it the evidence begins anew only when the alarm is over.

A car without a reference sensor is watched by its model's own sigma, turned into an error by what
the ratio of both was wherever the model met labels; that error is an estimate, and says so.

Seven detectors share the budget of false alarms: `harm` has a third, the sensor's three symptoms
(`health`) a third between them, and the three families (`families`) the rest.
"""

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import msgspec
from msgspec import field

from fleet_server.drift import evidence, health
from fleet_server.drift.summaries import Summary

FAMILIES: Final = ("label", "appearance", "concept")

MEAN_ERROR_OF_SIGMA: Final = math.sqrt(2.0 / math.pi)
"""Mean |error| of a normal error with a standard deviation of 1."""

_PADDED: Final = 10
_SUSPECT: Final = 2.0
_PROMISE_SLACK: Final = 1.5


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """How a model is watched.

    `between_alarms`: manoeuvres of one car expected between two false alarms, at the least.
    `slack`: how many times worse than its reference a car may be and still count as the same.
    `reference`: a model's first manoeuvres on a car that are its reference.
    `window`: manoeuvres that are compared with the reference together.
    """

    between_alarms: float = 200.0
    slack: float = 1.2
    reference: int = 20
    window: int = 8

    @property
    def harm_limit(self) -> float:
        """The evidence at which harm is an alarm."""
        return 3.0 * self.between_alarms

    @property
    def health_limit(self) -> float:
        """The evidence at which a symptom of the sensor is an alarm."""
        return 3.0 * len(health.SYMPTOMS) * self.between_alarms

    @property
    def family_limit(self) -> float:
        """The evidence, a step a window, at which a family has changed."""
        return 3.0 * len(FAMILIES) * self.between_alarms / self.window


class Watch(msgspec.Struct, kw_only=True):
    """One model on one car.

    `promised` is the error of the model's manifest, in the task's unit; `errors` the reference's
    manoeuvres, `symptoms` those of the sensor. `harm`, `health` and `families` are the evidence of
    the detectors, `alarmed` those that have alarmed and are not over. `error_sum` and `sigma_sum`
    are over the reference's labelled manoeuvres that told their sigma. `manoeuvres` counts all,
    `quiet` those since the last that was twice as bad as usual or worse; `lately` are the errors of
    the last window.
    """

    promised: float
    manoeuvres: int = 0
    quiet: int = 0
    lately: list[float] = field(default_factory=list)
    errors: list[float] = field(default_factory=list)
    symptoms: dict[str, list[float]] = field(default_factory=dict)
    error_sum: float = 0.0
    sigma_sum: float = 0.0
    harm: float = 0.0
    health: dict[str, float] = field(default_factory=dict)
    families: dict[str, float] = field(default_factory=dict)
    alarmed: list[str] = field(default_factory=list)

    @property
    def reference(self) -> float:
        """The error that is normal for this model on this car."""
        return sum(self.errors) / len(self.errors) if self.errors else self.promised


class Learnt(msgspec.Struct, frozen=True, kw_only=True):
    """What a manoeuvre did: the detectors that began to alarm with it, and those that are over.

    `error` is its mean error, None where nothing is known of it; `is_estimate` says that it was
    made of sigma. `is_normal` says that nothing is wrong with it, so that it may be a reference.
    """

    error: float | None
    is_estimate: bool
    is_normal: bool
    began: tuple[str, ...] = ()
    ended: tuple[str, ...] = ()


def learn(watch: Watch, summary: Summary, settings: Settings, *, ratio: float) -> Learnt:
    """Change `watch` by one more manoeuvre.

    `ratio` is mean error over mean sigma of this model wherever it met labels.
    """
    error, is_estimate = error_of(summary, ratio)
    found = health.measure(summary)
    changes = _Changes()
    if error is not None:
        _harm(watch, error, settings, changes)
    for name, value in found.items():
        _symptom(watch, name, value, settings, changes)
    is_normal = _is_normal(watch, error)
    if is_normal and error is not None and len(watch.errors) < settings.reference:
        watch.errors.append(error)
        if not is_estimate and summary.sigmas.samples:
            watch.error_sum += error
            watch.sigma_sum += summary.sigmas.mean
        for name, value in found.items():
            watch.symptoms.setdefault(name, []).append(value)
    watch.manoeuvres += 1
    return Learnt(
        error=error,
        is_estimate=is_estimate,
        is_normal=is_normal,
        began=tuple(changes.began),
        ended=tuple(changes.ended),
    )


def is_calm(watch: Watch, manoeuvres: int, settings: Settings) -> bool:
    """Tell whether the last `manoeuvres` (at most a window) were as usual.

    None of them was twice as bad, and their mean error is within the slack: single manoeuvres that
    are a little worse are as usual as those that are a little better.
    """
    latest = watch.lately[-manoeuvres:]
    if min(watch.quiet, len(latest)) < manoeuvres:
        return False
    beside = _beside(watch, settings)
    return sum(latest) / len(latest) <= settings.slack * sum(beside) / len(beside)


def learn_families(watch: Watch, p_values: Mapping[str, float], settings: Settings) -> list[str]:
    """Change `watch` by the tests of one more window; return the families that alarm."""
    began = []
    for name, p_value in p_values.items():
        e_value = evidence.calibrated(p_value)
        watch.families[name] = evidence.grown(watch.families.get(name, 0.0), e_value)
        if watch.families[name] >= settings.family_limit:
            watch.families[name] = 0.0
            began.append(name)
    return began


def error_of(summary: Summary, ratio: float) -> tuple[float | None, bool]:
    """Return a manoeuvre's mean error, and whether it is an estimate made of sigma."""
    if summary.errors.samples >= health.FEWEST:
        return summary.errors.mean, False
    # A sensor that should be there and is silent makes no car without a sensor of it.
    if summary.absent and summary.sigmas.samples >= health.FEWEST:
        return summary.sigmas.mean * ratio, True
    return None, False


@dataclass
class _Changes:
    began: list[str] = dataclasses.field(default_factory=list)
    ended: list[str] = dataclasses.field(default_factory=list)


def _beside(watch: Watch, settings: Settings) -> list[float]:
    """Return the errors that a manoeuvre is held against."""
    wanted = min(_PADDED, settings.reference)
    promises = [watch.promised * _PROMISE_SLACK] * max(0, wanted - len(watch.errors))
    return [*watch.errors, *promises]


def _harm(watch: Watch, error: float, settings: Settings, changes: _Changes) -> None:
    beside = _beside(watch, settings)
    watch.harm = evidence.grown(watch.harm, evidence.soft_rank(error, beside, settings.slack))
    watch.lately = [*watch.lately, error][-settings.window :]
    watch.quiet = watch.quiet + 1 if error <= _SUSPECT * sum(beside) / len(beside) else 0
    if "harm" in watch.alarmed:
        watch.harm = 0.0
        if is_calm(watch, settings.window, settings):
            watch.alarmed.remove("harm")
            changes.ended.append("harm")
    elif watch.harm >= settings.harm_limit:
        watch.harm = 0.0
        watch.quiet = 0
        watch.alarmed.append("harm")
        changes.began.append("harm")


def _symptom(watch: Watch, name: str, value: float, settings: Settings, changes: _Changes) -> None:
    known = watch.symptoms.get(name, [])
    healthy = health.HEALTHY[name]
    beside = [max(each, healthy) for each in known]
    beside += [healthy] * max(0, _PADDED - len(known))
    e_value = evidence.soft_rank(value, beside, settings.slack)
    grown = watch.health[name] = evidence.grown(watch.health.get(name, 0.0), e_value)
    if name in watch.alarmed:
        if value <= settings.slack * max(beside):
            watch.alarmed.remove(name)
            changes.ended.append(name)
            watch.health[name] = 0.0
    elif grown >= settings.health_limit:
        watch.health[name] = 0.0
        watch.alarmed.append(name)
        changes.began.append(name)


def _is_normal(watch: Watch, error: float | None) -> bool:
    if watch.alarmed:
        return False
    return error is None or error <= _SUSPECT * max(watch.reference, watch.promised)
