"""What is done about verdicts, and when a deployment gets a new model trained: pure rules.

Laws:
- a decision carries its reason in words and the numbers it rests on; waiting is a decision, too;
- at most one job of a deployment is open, and none while a newer model is being rolled out;
- a retraining needs harm with a cause that learning mends: a verdict about the model that the
  deployment runs now. Labels of a suspected sensor are never learned but where a person has checked
  it and said so (approve);
- what a person decided about a verdict (approve, veto) is above what the rules would do, but for
  the data: nothing is trained on too few;
- a failed training is repeated a few times, after a pause, and then left to people.

| verdict                                   | then                                             |
|-------------------------------------------|--------------------------------------------------|
| vetoed                                    | nothing                                          |
| of the sensor, or concept-or-sensor       | check-sensor; once approved: as below            |
| a change that does not hurt               | nothing: noted                                   |
| a change on a car without a sensor        | collect: labels by a car that has one            |
| drift, model-or-runtime                   | check-model                                      |
| drift, not named yet                      | wait                                             |
| drift, named: too few pairs or manoeuvres | collect                                          |
| drift, named: cool-down or budget         | wait                                             |
| drift, named: a person must approve       | propose                                          |
| drift, named                              | retrain                                          |

Without any model a deployment gets its first from enough pairs (train-first).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final, Literal

from fleet_server.drift.naming import MENDED_BY_LEARNING, OF_SENSOR

Kind = Literal[
    "train-first", "retrain", "propose", "collect", "wait", "check-sensor", "check-model", "nothing"
]
Word = Literal["approve", "veto"]
"""What a person said about a verdict."""

TRAINS: Final = frozenset({"train-first", "retrain"})
"""Decisions that a training job follows."""

_URGENT: Final = 3.0


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The policy's numbers; times in microseconds.

    `cool_down_us` must have passed since the last retraining was asked for, and fewer than `budget`
    must have been asked for within `budget_us`. `asks` says that a person has to approve each.
    """

    first_pairs: int = 400
    first_manoeuvres: int = 2
    retrain_pairs: int = 150
    retrain_manoeuvres: int = 3
    attempts: int = 3
    pause_us: int = 30_000_000
    cool_down_us: int = 600_000_000
    budget: int = 12
    budget_us: int = 86_400_000_000
    asks: bool = False


@dataclass(frozen=True, kw_only=True)
class Known:
    """An open verdict about the latest model, as far as the policy cares.

    `pairs` are labelled, trusted, have their picture and are from its beginning on; `manoeuvres`
    ended since then in the deployment. `word` is what a person said last about it. `failures`
    counts the failed jobs because of it, the last at `failed_utc_us`.
    """

    verdict: int
    cause: str
    hurts: bool
    is_estimate: bool
    reason: str
    error: float | None = None
    normal: float | None = None
    pairs: int = 0
    manoeuvres: int = 0
    word: Word | None = None
    failures: int = 0
    failed_utc_us: int = 0


@dataclass(frozen=True, kw_only=True)
class Situation:
    """A deployment as the policy sees it.

    `pairs` are labelled and have their picture; `cars` are those that have ended manoeuvres, each
    at least `fewest_manoeuvres`: both are counted once there are pairs enough. `open_jobs` counts
    open jobs and rollouts under way. `retrained_utc_us` are the moments at which retrainings were
    asked for within the budget's time. `failures` counts the failed jobs for a first model.
    """

    deployment: str
    models: int
    open_jobs: int
    pairs: int
    cars: int
    fewest_manoeuvres: int
    known: tuple[Known, ...]
    failures: int
    failed_utc_us: int
    now_utc_us: int
    retrained_utc_us: tuple[int, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What to do, and why; `deployments` are those to train for, `urgent` where harm is great."""

    kind: Kind
    reason: str
    evidence: dict[str, object] = field(default_factory=dict)
    verdict: int | None = None
    deployments: tuple[str, ...] = ()
    urgent: bool = False


def decide(situation: Situation, policy: Policy) -> tuple[Decision, ...]:
    """Return what to do now: one decision for each verdict, or the one about a first model.

    At most one of them trains.
    """
    if situation.models == 0:
        return (_first(situation, policy),)
    found: list[Decision] = []
    for known in sorted(situation.known, key=_by_harm):
        decision = _answer(known, situation, policy)
        if decision.kind in TRAINS and any(each.kind in TRAINS for each in found):
            decision = _of(known, "wait", "a retraining was just asked for")
        found.append(decision)
    return tuple(found)


def _by_harm(known: Known) -> float:
    return -(known.error or 0.0) / (known.normal or 1.0)


def _rests(failures: int, failed_utc_us: int, situation: Situation, policy: Policy) -> str:
    """Return why a training that failed is not repeated now, or an empty text."""
    if failures >= policy.attempts:
        return f"its training failed {failures} times: look at its jobs"
    if failures > 0 and situation.now_utc_us - failed_utc_us < policy.pause_us:
        return "its training failed; it is repeated after a pause"
    return ""


def _first(situation: Situation, policy: Policy) -> Decision:
    resting = _rests(situation.failures, situation.failed_utc_us, situation, policy)
    evidence: dict[str, object] = {
        "pairs": situation.pairs,
        "pairs_needed": policy.first_pairs,
        "cars": situation.cars,
        "fewest_manoeuvres": situation.fewest_manoeuvres,
        "failures": situation.failures,
    }
    if situation.open_jobs or resting:
        return Decision(kind="wait", reason=resting or "a training or a rollout is under way")
    is_thin = situation.fewest_manoeuvres < policy.first_manoeuvres
    if situation.pairs < policy.first_pairs or is_thin:
        return Decision(kind="collect", reason="too few pairs for a first model", evidence=evidence)
    return Decision(
        kind="train-first",
        reason=(
            f"train the first model: at least {situation.pairs} labelled pairs "
            f"from {situation.cars} cars"
        ),
        evidence=evidence,
        deployments=(situation.deployment,),
    )


def _answer(known: Known, situation: Situation, policy: Policy) -> Decision:
    if known.word == "veto":
        return _of(known, "nothing", "vetoed by a person")
    if known.cause in OF_SENSOR and known.word != "approve":
        return _of(known, "check-sensor", f"check the sensor: {known.reason}")
    if not known.hurts and known.is_estimate:
        return _of(known, "collect", f"labels are needed from a car with a sensor: {known.reason}")
    if not known.hurts:
        return _of(known, "nothing", f"noted: {known.reason}")
    if known.cause == "model-or-runtime" and known.word != "approve":
        return _of(known, "check-model", f"run the golden pictures again: {known.reason}")
    if known.cause not in MENDED_BY_LEARNING and known.word != "approve":
        return _of(known, "wait", f"for a cause: {known.reason}")
    return _retrain(known, situation, policy)


def _retrain(known: Known, situation: Situation, policy: Policy) -> Decision:
    if situation.open_jobs:
        return _of(known, "wait", "a training or a rollout is under way")
    if known.pairs < policy.retrain_pairs or known.manoeuvres < policy.retrain_manoeuvres:
        wanted = f"{policy.retrain_pairs} labelled pairs, {policy.retrain_manoeuvres} manoeuvres"
        return _of(known, "collect", f"more data until {wanted} since it began: {known.reason}")
    for reason in _reasons_to_wait(known, situation, policy):
        return _of(known, "wait", reason)
    if policy.asks and known.word != "approve":
        return _of(known, "propose", f"approve a retraining: {known.reason}")
    return Decision(
        kind="retrain",
        reason=f"retrain: {known.reason}; {known.pairs} labelled pairs since"[:500],
        evidence=_numbers(known) | {"pairs_needed": policy.retrain_pairs},
        verdict=known.verdict,
        deployments=(situation.deployment,),
        urgent=_is_urgent(known),
    )


def _reasons_to_wait(known: Known, situation: Situation, policy: Policy) -> Iterator[str]:
    resting = _rests(known.failures, known.failed_utc_us, situation, policy)
    if resting:
        yield resting
    # A training that failed was none: its repetition neither cools down nor costs.
    if known.failures or known.word == "approve":
        return
    last = max(situation.retrained_utc_us, default=None)
    if last is not None and situation.now_utc_us - last < policy.cool_down_us:
        yield f"for the cool-down of {policy.cool_down_us / 1e6:.0f} s since the last retraining"
    if len(situation.retrained_utc_us) >= policy.budget:
        yield f"the budget of {policy.budget} retrainings is spent: approve one, or wait"


def _of(known: Known, kind: Kind, reason: str) -> Decision:
    return Decision(
        kind=kind,
        reason=reason[:500],
        evidence=_numbers(known),
        verdict=known.verdict,
        urgent=_is_urgent(known),
    )


def _is_urgent(known: Known) -> bool:
    return known.hurts and (known.error or 0.0) >= _URGENT * (known.normal or 1.0)


def _numbers(known: Known) -> dict[str, object]:
    return {
        "cause": known.cause,
        "error": known.error,
        "normal": known.normal,
        "is_estimate": known.is_estimate,
        "pairs_since": known.pairs,
        "manoeuvres_since": known.manoeuvres,
        "failures": known.failures,
        "urgent": _is_urgent(known),
    }
