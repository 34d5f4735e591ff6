"""Is the candidate better than the model in service, on this very car? A paired e-process.

Laws:
- the unit is the manoeuvre, as in `device.error_watch`; both models answer the same pictures, and
  the car's own reference sensor judges both, with no network;
- however often one looks, a candidate that is no better is promoted with a probability of at most
  1 / gate (Ville's inequality on a nonnegative supermartingale; Waudby-Smith and Ramdas,
  "Estimating means of bounded random variables by betting", JRSS B 86, 2024);
- after declared harm the gate is looser: what drives is known to be bad, so that a wrong promotion
  costs little and a late one much;
- a picture that only one of the two answered counts as the worst for the other; one that a third
  model answered tells nothing;
- a trial ends: proven better, proven worse, silent, or not proven within `MOST` manoeuvres.

With e the mean |estimate - label| of a manoeuvre, and c the cap:

    d = clip(e_in_service - e_candidate, -c, +c) / c
    W_k <- W_k * (1 + lambda_k * d)          for each lambda_k; W_k = 1 at the start
    better where the mean of W_k reaches the gate; worse where the same with -d does

Measured over 200 simulated trials (`tests/device/update/test_trial_statistics.py`): 0 to 3 % of
equal models promoted; 9 manoeuvres from 45 to 6 mm, 26 from 13 to 7 mm (docs/updates.md).
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean

import msgspec

from shared.ids import Sha256
from shared.samples import Count, Record, Sample
from shared.task import Task

LAMBDAS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.7)
"""The bets; all below 1, so that no factor turns negative."""

GATE = 20.0
GATE_AFTER_HARM = 3.0
"""Four manoeuvres that are better by the whole cap, or more that are less so."""

MOST = 100
MOST_SILENT = 5
"""Manoeuvres, one after another, of which the candidate answered no picture."""

LEAST_PICTURES = 3
_RICHEST = 1e12
"""Where a bet's wealth ends, so that a trial without an end stays finite; less is never a lie."""

_CAP_SHARE = 20 / 350
"""The cap in parts of the task's range: 20 mm where that is 350 mm."""

Wealth = tuple[float, float, float, float, float, float]
_START: Wealth = (1.0, 1.0, 1.0, 1.0, 1.0, 1.0)


class Trial(Record, frozen=True):
    """What is remembered of a trial; errors in the task's unit.

    `wealth` bets that the candidate is better, `against` that it is worse. The sums are of the mean
    errors of `manoeuvres`; `silent` counts those in a row that the candidate did not answer.
    """

    incumbent: Sha256
    candidate: Sha256
    cap: float
    manoeuvres: Count = 0
    wealth: Wealth = _START
    against: Wealth = _START
    incumbent_sum: float = 0.0
    candidate_sum: float = 0.0
    silent: Count = 0
    harmed: bool = False

    @property
    def gate(self) -> float:
        """What the evidence must reach."""
        return GATE_AFTER_HARM if self.harmed else GATE


@dataclass(frozen=True)
class Pair:
    """The mean errors of a manoeuvre; None where the candidate answered no picture of it."""

    incumbent: float
    candidate: float | None


@dataclass(frozen=True)
class Verdict:
    """How a trial ended; `reason` tells people why."""

    is_better: bool
    reason: str


def begin(incumbent: str, candidate: str, task: Task) -> Trial:
    """Return the trial of a candidate against the model in service."""
    return Trial(incumbent=incumbent, candidate=candidate, cap=task.span * _CAP_SHARE)


def compare(samples: Iterable[Sample], trial: Trial) -> Pair | None:
    """Return how both models did in a manoeuvre; None where there is too little to tell.

    A picture without a label tells nothing, nor does one that neither answered.
    """
    models = {trial.incumbent, trial.candidate}
    pairs = [
        (_error(sample, trial.incumbent), _error(sample, trial.candidate))
        for sample in samples
        if sample.label is not None and {each.model for each in sample.estimates} <= models
    ]
    told = [pair for pair in pairs if pair != (None, None)]
    if len(told) < LEAST_PICTURES:
        return None
    filled = [_filled(ours, theirs, trial.cap) for ours, theirs in told]
    silent = all(theirs is None for _, theirs in told)
    mean = fmean(ours for ours, _ in filled)
    return Pair(mean, None if silent else fmean(theirs for _, theirs in filled))


def learn(trial: Trial, pair: Pair, *, harmed: bool = False) -> Trial:
    """Return the trial after a manoeuvre.

    `harmed`: the model in service was declared harmful. That holds to the trial's end.
    """
    harmed = trial.harmed or harmed
    if pair.candidate is None:
        return msgspec.structs.replace(trial, silent=trial.silent + 1, harmed=harmed)
    gain = max(-trial.cap, min(trial.cap, pair.incumbent - pair.candidate)) / trial.cap
    return msgspec.structs.replace(
        trial,
        manoeuvres=trial.manoeuvres + 1,
        wealth=_bet(trial.wealth, gain),
        against=_bet(trial.against, -gain),
        incumbent_sum=trial.incumbent_sum + pair.incumbent,
        candidate_sum=trial.candidate_sum + pair.candidate,
        silent=0,
        harmed=harmed,
    )


def judge(trial: Trial) -> Verdict | None:
    """Return the verdict, or None while there is none."""
    if fmean(trial.wealth) >= trial.gate:
        return Verdict(is_better=True, reason=f"better on this car: {_means(trial)}")
    if reason := objection(trial):
        return Verdict(is_better=False, reason=reason)
    if trial.manoeuvres >= MOST:
        return Verdict(is_better=False, reason=f"not shown to be better: {_means(trial)}")
    return None


def objection(trial: Trial) -> str:
    """Return why the candidate must go, or an empty text; one that is merely no better may stay."""
    if fmean(trial.against) >= GATE:
        return f"worse on this car: {_means(trial)}"
    if trial.silent >= MOST_SILENT:
        return f"no answer in {trial.silent} manoeuvres"
    return ""


def evidence(trial: Trial) -> dict[str, float]:
    """Return what to tell of a trial, in numbers."""
    driven = max(1, trial.manoeuvres)
    return {
        "manoeuvres": float(trial.manoeuvres),
        "error_in_service": trial.incumbent_sum / driven,
        "error_of_candidate": trial.candidate_sum / driven,
        "evidence": fmean(trial.wealth),
        "evidence_against": fmean(trial.against),
        "gate": trial.gate,
    }


def _means(trial: Trial) -> str:
    driven = max(1, trial.manoeuvres)
    return (
        f"mean error {trial.candidate_sum / driven:.1f} beside {trial.incumbent_sum / driven:.1f} "
        f"in {trial.manoeuvres} manoeuvres"
    )


def _bet(wealth: Wealth, gain: float) -> Wealth:
    first, second, third, fourth, fifth, sixth = (
        min(held * (1.0 + bet * gain), _RICHEST) for held, bet in zip(wealth, LAMBDAS, strict=True)
    )
    return first, second, third, fourth, fifth, sixth


def _error(sample: Sample, model: str) -> float | None:
    for estimate in sample.estimates:
        if estimate.model == model and sample.label is not None:
            error = abs(estimate.value - sample.label)
            return error if math.isfinite(error) else None
    return None


def _filled(ours: float | None, theirs: float | None, cap: float) -> tuple[float, float]:
    if theirs is None:
        return (ours or 0.0), (ours or 0.0) + cap
    return (theirs + cap if ours is None else ours), theirs
