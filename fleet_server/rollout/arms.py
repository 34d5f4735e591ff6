"""Which of two models that share the driving of a fleet is better: pure rules.

Laws:
- the evidence is what the cars measured of the manoeuvres that each arm drove (`UpdateEvent`); cars
  are compared with themselves alone, so that floors, sensors and drivers cancel out;
- however often one looks, one of two equal models is called better with a probability of about
  1 / GATE at the most: the evidence is a Bayes factor for a difference against none, a martingale
  while there is none, also where the share follows what was measured, as a bandit's does, since
  draws depend on the past alone (Robbins, "Statistical methods related to the law of the iterated
  logarithm", Ann. Math. Stat. 41, 1970; Deng, Lu, Chen, "Continuous monitoring of A/B tests without
  pain", DSAA 2016);
- of ten cars or more none weighs more than a tenth, and cars that disagree make the mean less sure:
  one that lies or whose sensor fails does not decide for the others;
- what a car reports is not signed: numbers that cannot be are no evidence.

With n manoeuvres, mean m and variance s^2 of the log errors of an arm on a car, and d = m of the
candidate - m of the model in service there:

    w = n_c * n_s / (n_c + n_s)         V = the greater of s^2, pooled, / sum w
    D = sum w * d / sum w                   and sum (w * (d - D))^2 / (sum w)^2; s^2 is pooled
                                            with ten manoeuvres of spread 0.5
    evidence = sqrt(V / (V + T^2)) * exp(D^2 T^2 / (2 V (V + T^2)))

T is how great a difference is thought of beforehand. Its measured rates are in docs/updates.md
(`tests/fleet_server/rollout/test_arms.py`).
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

GATE: Final = 20.0

LEAST_DRIVEN: Final = 10
"""Manoeuvres that each arm must have driven in all, so that their spread is known."""

_THOUGHT: Final = 0.5
"""T: a factor of 1.6 between the errors of two models that are worth comparing."""

_SPREAD: Final = 0.5
_KNOWN: Final = 10
"""The spread of one manoeuvre's log error, as it is thought of before as many were driven."""

_MOST_SHARE: Final = 0.1
_MANY_CARS: Final = 10


@dataclass(frozen=True)
class Tally:
    """What one car measured of one arm; `error` in the task's unit, the others of its logarithm."""

    driven: int
    error: float
    log_error: float
    log_spread: float


@dataclass(frozen=True)
class Told:
    """What one car measured of both."""

    in_service: Tally
    candidate: Tally


@dataclass(frozen=True, kw_only=True)
class Weight:
    """What all cars measured together.

    `ratio` is the candidate's error in parts of the other's, car by car; `evidence` that it is not
    1. Errors are means over all manoeuvres, in the task's unit.
    """

    cars: int = 0
    driven_in_service: int = 0
    driven_by_candidate: int = 0
    error_in_service: float = 0.0
    error_of_candidate: float = 0.0
    ratio: float = 1.0
    evidence: float = 0.0


def read(evidence: Mapping[str, float]) -> Told | None:
    """Return what a car's report says of its arms, or None where it says nothing that can be."""
    arms = [_tally(evidence, name) for name in ("in_service", "of_candidate")]
    ours, theirs = arms
    return Told(ours, theirs) if ours is not None and theirs is not None else None


def weigh(everyone: Sequence[Told]) -> Weight:
    """Return what `everyone` measured, added up."""
    both = [each for each in everyone if each.in_service.driven and each.candidate.driven]
    ours = [each.in_service for each in everyone]
    theirs = [each.candidate for each in everyone]
    difference, evidence = _difference(both)
    return Weight(
        cars=len(both),
        driven_in_service=sum(each.driven for each in ours),
        driven_by_candidate=sum(each.driven for each in theirs),
        error_in_service=_mean(ours),
        error_of_candidate=_mean(theirs),
        ratio=math.exp(max(-20.0, min(20.0, difference))),
        evidence=evidence,
    )


def verdict(weight: Weight) -> Literal["better", "worse"] | None:
    """Return what the candidate is proven to be, or None."""
    least = min(weight.driven_in_service, weight.driven_by_candidate)
    if least < LEAST_DRIVEN or weight.evidence < GATE:
        return None
    return "better" if weight.ratio < 1.0 else "worse"


def _tally(evidence: Mapping[str, float], name: str) -> Tally | None:
    keys = (f"driven_{name}", f"error_{name}", f"log_error_{name}", f"log_spread_{name}")
    if any(key not in evidence for key in keys):
        return None
    driven, error, log_error, log_spread = (evidence[key] for key in keys)
    is_possible = (
        0 <= driven < 1e6 and 0 <= error < 1e6 and abs(log_error) < 20 and 0 <= log_spread < 20
    )
    return Tally(int(driven), error, log_error, log_spread) if is_possible else None


def _mean(tallies: Sequence[Tally]) -> float:
    driven = sum(each.driven for each in tallies)
    return sum(each.error * each.driven for each in tallies) / max(1, driven)


def _difference(both: Sequence[Told]) -> tuple[float, float]:
    """Return the mean difference of log errors within cars, and the evidence that there is one."""
    if not both:
        return 0.0, 0.0
    sizes = [
        each.in_service.driven
        * each.candidate.driven
        / (each.in_service.driven + each.candidate.driven)
        for each in both
    ]
    everything = sum(sizes)
    # So many times what all others have together is a tenth of the whole.
    others = _MOST_SHARE / (1 - _MOST_SHARE)
    is_many = len(both) >= _MANY_CARS
    weights = [min(size, others * (everything - size)) if is_many else size for size in sizes]
    gaps = [each.candidate.log_error - each.in_service.log_error for each in both]
    total = sum(weights)
    mean = sum(weight * gap for weight, gap in zip(weights, gaps, strict=True)) / total
    # A capped car's own mean is as sure as before; it only counts for less.
    spent = sum(weight**2 / size for weight, size in zip(weights, sizes, strict=True))
    apart = sum((weight * (gap - mean)) ** 2 for weight, gap in zip(weights, gaps, strict=True))
    variance = max(_pooled(both) * spent, apart) / total**2
    thought = _THOUGHT**2
    factor = 0.5 * math.log(variance / (variance + thought))
    factor += mean**2 * thought / (2 * variance * (variance + thought))
    return mean, math.exp(min(factor, 50.0))


def _pooled(both: Sequence[Told]) -> float:
    """Return the variance of one manoeuvre's log error within a car and an arm.

    Few manoeuvres that are alike by chance say little: what is thought beforehand weighs with them.
    """
    tallies = [arm for each in both for arm in (each.in_service, each.candidate)]
    freedom = sum(each.driven - 1 for each in tallies)
    squares = sum((each.driven - 1) * each.log_spread**2 for each in tallies)
    return (squares + _KNOWN * _SPREAD**2) / (freedom + _KNOWN)
