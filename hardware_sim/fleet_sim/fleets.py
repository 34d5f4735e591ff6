"""What all simulated fleets have in common: the plan, the report, the run itself."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from device.agent.probe import Verdict, try_model
from device.home import Home
from hardware_sim import scene as scenes
from hardware_sim.fleet_sim import reels, run
from hardware_sim.fleet_sim.car import Car
from hardware_sim.fleet_sim.run import Outcome
from shared.clock import Clock

DEPLOYMENT: Final = "simulated"
_REELS: Final = 8
_SCENE: Final = "beige"


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How many cars, how often they drive (one manoeuvre in `every_s`), for how long, and chance.

    `loss` is the share of messages that get lost on the way, in memory only.
    """

    cars: int = 1000
    every_s: float = 600.0
    for_s: float = 600.0
    seed: int = 1
    loss: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a fleet did, and what its server counted: receipts, repeats, models loaded."""

    outcome: Outcome
    server: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Watch:
    """Who follows a run: `stop` ends it, `tell` hears how many manoeuvres were driven."""

    stop: Callable[[], bool] = lambda: False
    tell: Callable[[int], None] = lambda _manoeuvres: None


@dataclass
class Prober:
    """Tries each model once: the cars of one process have one processor and one runtime."""

    real: Clock
    verdicts: dict[str, Verdict] = field(default_factory=dict)

    def __call__(self, home: Home, sha256: str) -> Verdict:
        """Return the verdict on the model `sha256`, which lies in `home`."""
        if sha256 not in self.verdicts:
            self.verdicts[sha256] = try_model(home.model(sha256), home.manifest(sha256), self.real)
        return self.verdicts[sha256]


def drive(
    plan: Plan, cars: Sequence[Car], clock: Clock, real: Clock, watch: Watch
) -> tuple[float, float]:
    """Let `cars` drive as planned; return the virtual and the real seconds that it took."""
    return run.drive(
        cars,
        reels.render(scenes.load(_SCENE), count=_REELS, seed=plan.seed),
        clock=clock,
        real=real,
        seed=plan.seed,
        every_s=plan.every_s,
        for_s=plan.for_s,
        stop=watch.stop,
        tell=watch.tell,
    )


def fork(rng: random.Random) -> random.Random:
    """Return a generator of its own, drawn from `rng`."""
    return random.Random(rng.randbytes(16))  # noqa: S311 - loss and jitter, guards nothing
