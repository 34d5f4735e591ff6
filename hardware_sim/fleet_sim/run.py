"""Runs a simulated fleet and counts what became of every pair.

Laws:
- one heap of moments is all there is of time: the next one due is done next, and between two
  moments the clock's `sleep_until_us` is the only wait;
- the same seed gives the same fleet in memory, whatever the machine;
- at the end every car wakes once more, without driving, until it has nothing left to say; what is
  then neither stored nor waiting is lost, what is stored under two keys is doubled.
"""

import heapq
import itertools
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from hardware_sim.fleet_sim.car import TICK_US, Car
from hardware_sim.fleet_sim.reels import Reel
from shared.clock import Clock

LAST_TRIPS: Final = 5
"""How often a car may wake once more to send what is left."""


@dataclass(frozen=True, kw_only=True)
class Stored:
    """What a server has of one car: its pairs, and those that it has more than once."""

    pairs: int
    doubled: int = 0


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a fleet did; times in seconds, everything else counted.

    `rate` is virtual seconds in a real one, from the first manoeuvre to the last one's sync.
    """

    cars: int
    virtual_s: float
    real_s: float
    rate: float
    manoeuvres: int
    pairs: int
    stored: int
    waiting: int
    rejected: int
    lost: int
    doubled: int
    messages_lost: int
    trips: int


def drive(
    cars: Sequence[Car],
    reels: Sequence[Reel],
    *,
    clock: Clock,
    real: Clock,
    seed: int,
    every_s: float,
    for_s: float,
    stop: Callable[[], bool] = lambda: False,
    tell: Callable[[int], None] = lambda _manoeuvres: None,
) -> tuple[float, float]:
    """Let every car drive one manoeuvre in `every_s` seconds, for `for_s` seconds, and sync.

    Return the virtual and the real seconds that it took.
    """
    rng = random.Random(seed)  # noqa: S311 - spreads manoeuvres, guards nothing
    start_us, real_us = clock.monotonic_us(), real.monotonic_us()
    day = _Day(clock, stop)
    every_us, end_us = round(every_s * 1e6), start_us + round(for_s * 1e6)
    for car in cars:
        first_us = start_us + rng.randrange(every_us)
        for at_us in range(first_us, end_us, every_us):
            day.plan(at_us, car, rng.choice(reels))
    day.run(lambda: tell(sum(car.manoeuvres for car in cars)))
    return (clock.monotonic_us() - start_us) / 1e6, (real.monotonic_us() - real_us) / 1e6


def trip(
    cars: Sequence[Car],
    reels: Sequence[Reel],
    *,
    clock: Clock,
    rng: random.Random,
    over_s: float,
    stop: Callable[[], bool] = lambda: False,
) -> None:
    """Let each of `cars` make one trip, at moments spread over `over_s` seconds."""
    day = _Day(clock, stop)
    for car in cars:
        at_us = clock.monotonic_us() + rng.randrange(max(1, round(over_s * 1e6)))
        day.plan(at_us, car, rng.choice(reels))
    day.run(lambda: None)


def collect(cars: Sequence[Car], *, clock: Clock, stop: Callable[[], bool] = lambda: False) -> None:
    """Let every car that has something left to say wake for it, a few times at most."""
    day = _Day(clock, stop)
    for _ in range(LAST_TRIPS):
        left = [car for car in cars if car.counts is not None and car.counts.queue_depth]
        if not left or stop():
            return
        for number, car in enumerate(left):
            day.plan(clock.monotonic_us() + number * TICK_US, car, None)
        day.run(lambda: None)


def account(
    cars: Sequence[Car], stored: Mapping[str, Stored], *, virtual_s: float, real_s: float
) -> Outcome:
    """Return what became of every pair; all cars are asleep."""
    counts = {car.who.enrolment.device: car.counts for car in cars if car.counts is not None}
    missing = {
        name: each.pairs_logged - stored[name].pairs - each.queue_depth - each.pairs_rejected
        for name, each in counts.items()
    }
    return Outcome(
        cars=len(cars),
        virtual_s=virtual_s,
        real_s=real_s,
        rate=virtual_s / max(real_s, 1e-9),
        manoeuvres=sum(car.manoeuvres for car in cars),
        pairs=sum(each.pairs_logged for each in counts.values()),
        stored=sum(stored[name].pairs for name in counts),
        waiting=sum(each.queue_depth for each in counts.values()),
        rejected=sum(each.pairs_rejected for each in counts.values()),
        lost=sum(max(0, each) for each in missing.values()),
        doubled=sum(stored[name].doubled for name in counts),
        messages_lost=sum(car.link.lost for car in cars),
        trips=sum(car.passes for car in cars),
    )


class _Day:
    """What is planned, by the moment when it is due."""

    def __init__(self, clock: Clock, stop: Callable[[], bool]) -> None:
        self._clock, self._stop = clock, stop
        self._due: list[tuple[int, int, Car, Reel | None, bool]] = []
        self._order = itertools.count()

    def plan(self, at_us: int, car: Car, reel: Reel | None) -> None:
        """Wake `car` at `at_us`, or later where it is still awake then."""
        self._push(at_us, car, reel, wakes=True)

    def run(self, done: Callable[[], None]) -> None:
        """Do all that is planned; `done` hears of every car that went to sleep."""
        while self._due and not self._stop():
            at_us, _, car, reel, wakes = heapq.heappop(self._due)
            self._clock.sleep_until_us(at_us)
            if wakes and car.is_awake:
                self._push(at_us + TICK_US, car, reel, wakes=True)
                continue
            if wakes:
                car.wake(reel)
            if car.step():
                self._push(self._clock.monotonic_us() + TICK_US, car, None, wakes=False)
            else:
                done()
        for car in {id(each[2]): each[2] for each in self._due}.values():
            car.leave()
        self._due.clear()

    def _push(self, at_us: int, car: Car, reel: Reel | None, *, wakes: bool) -> None:
        heapq.heappush(self._due, (at_us, next(self._order), car, reel, wakes))
