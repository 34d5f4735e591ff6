"""When a deployment gets a new model trained: pure rules.

Laws:
- a decision carries its reason in words and the numbers it rests on;
- at most one job of a deployment is open;
- a retraining needs harm: a verdict about the model that the deployment runs now. So none follows
  another before the last model was loaded by a car and judged: that is the cool-down;
- a failed training is repeated a few times, after a pause, and then left to people.

| models | verdict about the latest | data enough              | then                  |
|--------|--------------------------|--------------------------|-----------------------|
| none   | -                        | pairs and manoeuvres     | train the first model |
| some   | none                     | -                        | nothing               |
| some   | measured error risen     | pairs since it rose      | retrain               |
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["train-first", "retrain"]


@dataclass(frozen=True, kw_only=True)
class Policy:
    """The policy's numbers."""

    first_pairs: int = 400
    first_manoeuvres: int = 2
    retrain_pairs: int = 150
    attempts: int = 3
    pause_us: int = 30_000_000


@dataclass(frozen=True, kw_only=True)
class Harm:
    """A verdict about the latest model, as far as the policy cares."""

    verdict: int
    reason: str
    pairs_since: int


@dataclass(frozen=True, kw_only=True)
class Situation:
    """A deployment as the policy sees it.

    `pairs` are labelled and have their picture; `manoeuvres` counts those that ended, by car, of
    the cars that have any. `failures` counts the failed jobs for the same cause, the last at
    `failed_utc_us`.
    """

    models: int
    open_jobs: int
    pairs: int
    manoeuvres: Mapping[str, int]
    harm: Harm | None
    failures: int
    failed_utc_us: int
    now_utc_us: int


@dataclass(frozen=True, kw_only=True)
class Decision:
    """Train, and why."""

    kind: Kind
    reason: str
    evidence: dict[str, object]
    verdict: int | None = None


def decide(situation: Situation, policy: Policy) -> Decision | None:
    """Return what to train now, or None."""
    if situation.open_jobs or _rests(situation, policy):
        return None
    if situation.models == 0:
        return _first(situation, policy)
    return _again(situation, policy)


def _rests(situation: Situation, policy: Policy) -> bool:
    if situation.failures >= policy.attempts:
        return True
    since_us = situation.now_utc_us - situation.failed_utc_us
    return situation.failures > 0 and since_us < policy.pause_us


def _first(situation: Situation, policy: Policy) -> Decision | None:
    fewest = min(situation.manoeuvres.values(), default=0)
    if situation.pairs < policy.first_pairs or fewest < policy.first_manoeuvres:
        return None
    return Decision(
        kind="train-first",
        reason=(
            f"train the first model: at least {situation.pairs} labelled pairs "
            f"from {len(situation.manoeuvres)} cars"
        ),
        evidence={
            "pairs": situation.pairs,
            "pairs_needed": policy.first_pairs,
            "manoeuvres": dict(situation.manoeuvres),
            "failures": situation.failures,
        },
    )


def _again(situation: Situation, policy: Policy) -> Decision | None:
    harm = situation.harm
    if harm is None or harm.pairs_since < policy.retrain_pairs:
        return None
    return Decision(
        kind="retrain",
        reason=f"retrain: {harm.reason}; {harm.pairs_since} labelled pairs since"[:500],
        evidence={
            "pairs_since": harm.pairs_since,
            "pairs_needed": policy.retrain_pairs,
            "failures": situation.failures,
        },
        verdict=harm.verdict,
    )
