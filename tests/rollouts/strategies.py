"""One model through a fleet by one strategy, from the first offer to the last car.

Laws:
- the model in service errs by 13 mm, the new one by 7: figures of the reference evaluation;
- what is told of a manoeuvre is what its car measured; what is told of the rollout is what the
  server answers over REST.
"""

import itertools
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

from fleet_server.rollout.stages import Strategy
from hardware_sim.fleet_sim.habits import Driven
from tests.rollouts.world import World, serving

OLD_MM: Final = 13.0
NEW_MM: Final = 7.0
MANOEUVRES: Final = 2
"""Of a car in a round."""

_SPEED: Final = 20.0
_ROUND_S: Final = 20.0
_BEFORE: Final = 5
"""Rounds before the new model comes: the first model passes its probation in four of them."""

_MOST: Final = 60
_AFTER: Final = 3


@dataclass(frozen=True)
class Round:
    """What one round of the fleet looked like; `cars` have the new model committed by its end."""

    ended_utc_us: int
    error_mm: float
    share: float
    cars: int
    state: str
    stage: int


@dataclass(frozen=True, kw_only=True)
class Story:
    """A rollout, round by round; `begins` is the index of the first one with the new model."""

    strategy: str
    cars: int
    begins: int
    rounds: tuple[Round, ...]
    decisions: tuple[str, ...]
    seconds: float

    @property
    def to_decide(self) -> int:
        """How many rounds passed from the offer to the server's decision."""
        return sum(each.state == "running" for each in self.rounds[self.begins :])

    @property
    def ended_well(self) -> bool:
        """Whether the new model was promoted and every car drives by it."""
        last = self.rounds[-1]
        return last.state == "ended" and last.cars == self.cars

    @property
    def driven_worse(self) -> float:
        """The share of manoeuvres driven by the old model between the offer and the last car."""
        after = self.rounds[self.begins :]
        return 1.0 - sum(each.share for each in after) / max(1, len(after))


def run(strategy: Strategy, *, cars: int, seed: int = 1) -> Story:
    """Take a model through a fleet of `cars` by `strategy`."""
    settings = {"rollout_strategy": strategy, "control_interval_s": 0.1}
    with (
        TemporaryDirectory() as folder,
        serving(Path(folder), seed=seed, speed=_SPEED, settings=settings) as world,
    ):
        return _tell(world, strategy, cars)


def _tell(world: World, strategy: str, cars: int) -> Story:
    began_us = world.real.monotonic_us()
    world.release(error_mm=OLD_MM)
    world.enrol(cars, manoeuvres=MANOEUVRES)
    rounds = [_round(world, None) for _ in range(_BEFORE)]
    new = world.release(error_mm=NEW_MM)
    over = 0
    for _ in itertools.repeat(None, _MOST):
        rounds.append(_round(world, new))
        over += rounds[-1].cars == cars or rounds[-1].state in ("paused", "dropped")
        if over >= _AFTER:
            break
    return Story(
        strategy=strategy,
        cars=cars,
        begins=_BEFORE,
        rounds=tuple(rounds),
        decisions=tuple(_words(each) for each in world.decisions() if each["model"] == new),
        seconds=(world.real.monotonic_us() - began_us) / 1e6,
    )


def _round(world: World, new: str | None) -> Round:
    before = [len(car.driven) for car in world.cars]
    world.round(world.cars, over_s=_ROUND_S)
    driven: list[Driven] = []
    for car, known in zip(world.cars, before, strict=True):
        driven += car.driven[known:]
    rollout = world.rollout()
    return Round(
        ended_utc_us=world.clock.utc_us(),
        error_mm=sum(each.error_mm for each in driven) / max(1, len(driven)),
        share=sum(each.model == new for each in driven) / max(1, len(driven)),
        cars=sum(each == new for each in world.loaded().values()) if new else 0,
        state=rollout["state"] if rollout else "none",
        stage=rollout["stage"] if rollout else 0,
    )


def _words(decision: Mapping[str, Any]) -> str:
    return f"{decision['kind']}: {decision['reason']}"


def told(story: Story) -> dict[str, object]:
    """Return a story for a report."""
    return {**asdict(story), "to_decide": story.to_decide, "driven_worse": story.driven_worse}
