"""How a new model goes through a fleet, stage by stage: pure rules.

Laws:
- one rollout belongs to one deployment and moves its version; a car decides for itself whether it
  keeps a candidate, the rollout decides which cars are offered it, and when it counts as promoted;
- worse error, rollback *and silence* count as failure: a car that has not answered by the stage's
  deadline has failed it;
- who is in a stage is drawn from the rollout and the car's name alone: the same on every look, and
  every stage holds the cars of the one before;
- two arms that share the driving go on until the fleet knows which one is better (`arms`): no car
  keeps one of them by itself; at the deadline what is not proven better is dropped;
- a paused rollout offers to nobody new and takes from nobody; an aborted one is offered no more;
- cars without a reference sensor, which cannot try anything, wait for five that have one.

    strategy   stages                      what a car is told    the rollout ends when
    direct     all at once                 target                at once
    shadow     all at once                 candidate             enough cars keep it
    canary     growing shares of the cars  candidate             the last stage passes its gate
    ab         all at once                 two arms, a share     one of them is proven better
    bandit     all at once                 two arms, to draw     the same; what is better drives
                                           by what it measured   more and more meanwhile
"""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

from fleet_server.rollout import arms
from fleet_server.rollout.arms import Weight

Strategy = Literal["direct", "shadow", "canary", "ab", "bandit"]

OF_ARMS: Final = ("ab", "bandit")
"""The strategies in which two models share the driving."""

Standing = Literal["waiting", "keeps", "shares", "failed"]
"""What a car made of the model: no word yet, it is loaded, it drives in turn with the former one,
or it was refused or rolled back."""

SENSORS_FIRST = 5
"""So many cars with a reference sensor must keep a model before one without gets it."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How far a model goes in each stage, and what stops it.

    `shares` are of the cars that can try, growing up to 1. A stage passes once the share `enough`
    of its cars keep the model; where it is not so by `deadline_us`, once those that failed or are
    silent are at most `most_failed` of them. More failures than that pause it at once.
    """

    strategy: Strategy
    shares: tuple[float, ...] = (1.0,)
    enough: float = 1.0
    deadline_us: int = 7 * 24 * 3_600_000_000
    most_failed: float = 0.1


PLANS: dict[Strategy, Plan] = {
    "direct": Plan(strategy="direct"),
    "shadow": Plan(strategy="shadow", enough=0.5, most_failed=0.5),
    "canary": Plan(strategy="canary", shares=(0.05, 0.25, 1.0), enough=0.9),
    "ab": Plan(strategy="ab"),
    "bandit": Plan(strategy="bandit"),
}


@dataclass(frozen=True)
class Car:
    """A car of the deployment, as far as the rollout cares."""

    name: str
    standing: Standing
    has_sensor: bool = True


@dataclass(frozen=True, kw_only=True)
class Count:
    """How the cars of a stage stand; `silent` ones are waiting past the deadline."""

    cars: int
    keep: int
    failed: int
    silent: int

    @property
    def failures(self) -> float:
        """The share that failed, silence included."""
        return (self.failed + self.silent) / max(1, self.cars)


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What becomes of a stage, why, and on which numbers."""

    move: Literal["advance", "pause", "end", "drop"]
    reason: str
    count: Count


def stage_of(plan: Plan, rollout: int, stage: int, cars: Sequence[Car]) -> list[Car]:
    """Return the cars of a stage: those of the former ones, and as many new ones as its share asks.

    There is at least one where there is any that can try.
    """
    able = sorted((car for car in cars if car.has_sensor), key=lambda car: _place(rollout, car))
    size = math.ceil(plan.shares[min(stage, len(plan.shares) - 1)] * len(able))
    return able[:size]


def offered(plan: Plan, rollout: int, stage: int, cars: Sequence[Car]) -> set[str]:
    """Return the names of the cars that are to be told of the model as a candidate."""
    return {car.name for car in stage_of(plan, rollout, stage, cars)}


def judge(
    plan: Plan,
    rollout: int,
    stage: int,
    cars: Sequence[Car],
    *,
    elapsed_us: int,
    weight: Weight | None = None,
) -> Verdict | None:
    """Return what becomes of the stage that began `elapsed_us` ago, or None while it goes on.

    `weight` is what the cars measured of two arms, where the plan is one of `OF_ARMS`.
    """
    count = counted(stage_of(plan, rollout, stage, cars), is_late=elapsed_us >= plan.deadline_us)
    if count.cars == 0:
        return None
    found = arms.verdict(weight) if weight is not None else None
    if weight is not None and found == "worse":
        return Verdict(
            move="drop", reason=f"worse than what drives: {_compared(weight)}", count=count
        )
    if count.failures > plan.most_failed:
        return Verdict(move="pause", reason=_words(count, "more than the gate allows"), count=count)
    is_late = elapsed_us >= plan.deadline_us
    if weight is not None and found == "better":
        return Verdict(move="end", reason=_compared(weight), count=count)
    if weight is not None:
        reason = f"not proven to be better: {_compared(weight)}"
        return Verdict(move="drop", reason=reason, count=count) if is_late else None
    if count.keep < plan.enough * count.cars and not (is_late and count.keep):
        return None
    is_last = stage >= len(plan.shares) - 1
    reason = _words(count, "the gate allows it")
    return Verdict(move="end" if is_last else "advance", reason=reason, count=count)


def counted(cars: Sequence[Car], *, is_late: bool) -> Count:
    """Return how `cars` stand; those that wait are silent where it `is_late`."""
    standings = [car.standing for car in cars]
    return Count(
        cars=len(standings),
        keep=standings.count("keeps"),
        failed=standings.count("failed"),
        silent=standings.count("waiting") if is_late else 0,
    )


def _compared(weight: Weight) -> str:
    return (
        f"error {weight.error_of_candidate:.1f} in {weight.driven_by_candidate} manoeuvres beside "
        f"{weight.error_in_service:.1f} in {weight.driven_in_service}, by {weight.cars} cars; "
        f"evidence {weight.evidence:.3g}"
    )


def _place(rollout: int, car: Car) -> bytes:
    return hashlib.sha256(f"{rollout}/{car.name}".encode()).digest()


def _words(count: Count, end: str) -> str:
    return (
        f"of {count.cars} cars {count.keep} keep it, {count.failed} refused it or stepped back, "
        f"{count.silent} are silent: {end}"
    )
