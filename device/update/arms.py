"""Which of two models drives the next manoeuvre: by a fixed share (A/B), or by what was measured.

Laws:
- both models were probed and lie in memory; who drives is drawn at the start of a manoeuvre and
  holds to its end; that is no commit and no step back;
- a draw is a function of what is saved and of (device, candidate, boot, manoeuvre) alone: made
  again it is the same, and no draw waits for agent or network;
- an arm's evidence is the error of the manoeuvres that it drove, measured by the car's own range
  sensor; the unit is the manoeuvre, on a logarithmic scale, since errors are a matter of factors;
- the other model answers beside the one that drives, so that the paired bets of `trial` guard the
  car: the candidate that loses them, is far worse once, slow or silent is dropped at once;
- the car proposes, the fleet decides which arm stays (`fleet_server.rollout.arms`).

    share      the candidate drives where hash(device, candidate, boot, manoeuvre) < share
    thompson   each arm's mean log error is drawn from its posterior, Student's t with n - 1
               degrees of freedom about the sample mean (flat prior on mean and log sigma; Gelman
               et al., "Bayesian Data Analysis", 3.2); the lower draw drives. Until each arm drove
               `LEAST` manoeuvres, the one that drove fewer does. (Thompson, Biometrika 25, 1933;
               Russo et al., "A Tutorial on Thompson Sampling", 2018)
"""

import hashlib
import math
import random
from collections.abc import Sequence
from statistics import fmean, median
from typing import Annotated, Literal

import msgspec

from device.update import trial
from device.update.probation import LATENCY_LIMIT_US, MOST_SLOW
from device.update.trial import LEAST_PICTURES, Pair, Trial
from shared.ids import Sha256
from shared.messages import Draw
from shared.samples import Count, Record, Sample
from shared.task import Task

LEAST = 2
"""Manoeuvres that each arm drives before a posterior has a width."""

HARM_CAPS = 3.0
"""A manoeuvre in which the candidate's mean error is greater by so many caps (`trial`) ends it."""

_FLOOR_SHARE = 0.5 / 350
"""The least error told apart, in parts of the task's range: half a millimetre, a sensor's step."""

_LEAST_SPREAD = 0.05
"""Standard deviation of one manoeuvre's log error that a posterior is given at the least, so that
two manoeuvres that are alike by chance do not settle the matter."""

Arm = Literal["incumbent", "candidate"]


class Split(Record, frozen=True):
    """What the server announced: how to draw, and the share of manoeuvres of the candidate."""

    draw: Draw
    share: Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]


class Tally(Record, frozen=True):
    """The manoeuvres that one arm drove.

    `mean` is of their log errors, `squares` the sum of squared deviations from it (Welford);
    `errors` is the sum of the errors themselves, in the task's unit.
    """

    driven: Count = 0
    mean: float = 0.0
    squares: float = 0.0
    errors: float = 0.0

    @property
    def spread(self) -> float:
        """The standard deviation of one manoeuvre's log error; 0 where nothing is known."""
        return math.sqrt(self.squares / (self.driven - 1)) if self.driven > 1 else 0.0


class Arms(Record, frozen=True):
    """What is remembered of two arms; `slow` counts the candidate's slow manoeuvres in a row."""

    incumbent: Sha256
    candidate: Sha256
    floor: float
    of_incumbent: Tally = Tally()
    of_candidate: Tally = Tally()
    slow: Count = 0
    harm: float = 0.0


def begin(incumbent: str, candidate: str, task: Task) -> Arms:
    """Return two arms of which nothing is known."""
    return Arms(incumbent=incumbent, candidate=candidate, floor=task.span * _FLOOR_SHARE)


def choose(arms: Arms, split: Split, *, device: str, boot: str, manoeuvre: int) -> Arm:
    """Return which arm drives the manoeuvre `manoeuvre` of `boot`."""
    named = f"{device}/{arms.candidate}/{boot}/{manoeuvre}"
    seed = hashlib.sha256(named.encode()).digest()
    if split.draw == "share":
        return "candidate" if _uniform(seed) < split.share else "incumbent"
    ours, theirs = arms.of_incumbent, arms.of_candidate
    if min(ours.driven, theirs.driven) < LEAST:
        if ours.driven == theirs.driven:
            return "candidate" if _uniform(seed) < split.share else "incumbent"
        return "candidate" if theirs.driven < ours.driven else "incumbent"
    rng = random.Random(seed)  # noqa: S311 - draws who drives, guards nothing
    return "candidate" if _drawn(theirs, rng) < _drawn(ours, rng) else "incumbent"


def learn(arms: Arms, samples: Sequence[Sample], pair: Pair | None, *, cap: float) -> Arms:
    """Return the arms after a manoeuvre; `pair` is its comparison by `trial`, `cap` the trial's."""
    driver = next((each.estimates[0].model for each in samples if each.estimates), None)
    if driver not in (arms.incumbent, arms.candidate):
        return arms
    is_candidate = driver == arms.candidate
    error = _mean_error(samples, driver)
    if error is not None:
        log_error = math.log(max(error, arms.floor))
        if is_candidate:
            arms = msgspec.structs.replace(
                arms, of_candidate=_counted(arms.of_candidate, log_error, error)
            )
        else:
            arms = msgspec.structs.replace(
                arms, of_incumbent=_counted(arms.of_incumbent, log_error, error)
            )
    if pair is not None and pair.candidate is not None:
        worse = pair.candidate - pair.incumbent
        if worse >= HARM_CAPS * cap:
            arms = msgspec.structs.replace(arms, harm=max(arms.harm, worse))
    if is_candidate:
        latency_us = median(each.latency.inference_us for each in samples)
        is_slow = latency_us > LATENCY_LIMIT_US
        arms = msgspec.structs.replace(arms, slow=arms.slow + 1 if is_slow else 0)
    return arms


def failure(arms: Arms, guard: Trial) -> str:
    """Return why the candidate must not drive any more, or an empty text."""
    if arms.harm:
        return f"harm in one manoeuvre: error greater by {arms.harm:.1f}"
    if arms.slow >= MOST_SLOW:
        return f"estimates took longer than {LATENCY_LIMIT_US} us in {arms.slow} manoeuvres"
    return trial.objection(guard)


def evidence(arms: Arms) -> dict[str, float]:
    """Return what to tell of both arms, in numbers; the fleet's server adds them up."""
    told: dict[str, float] = {}
    for name, tally in (("in_service", arms.of_incumbent), ("of_candidate", arms.of_candidate)):
        told[f"driven_{name}"] = float(tally.driven)
        told[f"error_{name}"] = tally.errors / max(1, tally.driven)
        told[f"log_error_{name}"] = tally.mean
        told[f"log_spread_{name}"] = tally.spread
    return told


def _uniform(seed: bytes) -> float:
    """Return a number from [0, 1): 53 bits, as many as a float holds exactly."""
    return (int.from_bytes(seed[:8], "big") >> 11) / 2**53


def _drawn(tally: Tally, rng: random.Random) -> float:
    freedom = tally.driven - 1
    scale = max(tally.spread, _LEAST_SPREAD) / math.sqrt(tally.driven)
    # Student's t is a normal over the root of a chi-square, gamma(freedom / 2, 2), over freedom.
    width = math.sqrt(rng.gammavariate(freedom / 2, 2.0) / freedom)
    return tally.mean + scale * rng.gauss(0.0, 1.0) / max(width, 1e-9)


def _counted(tally: Tally, log_error: float, error: float) -> Tally:
    driven = tally.driven + 1
    mean = tally.mean + (log_error - tally.mean) / driven
    squares = tally.squares + (log_error - tally.mean) * (log_error - mean)
    return Tally(driven=driven, mean=mean, squares=squares, errors=tally.errors + error)


def _mean_error(samples: Sequence[Sample], model: str) -> float | None:
    errors = [
        abs(each.value - sample.label)
        for sample in samples
        if sample.label is not None
        for each in sample.estimates
        if each.model == model
    ]
    finite = [error for error in errors if math.isfinite(error)]
    return fmean(finite) if len(finite) >= LEAST_PICTURES else None
