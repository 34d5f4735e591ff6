"""The chapter of the killed broker: SIGKILL at random, and half of the time it forgets everything.

The promise: the protocol loses nothing on a broker that loses everything.

Cars drive without a pause over a broker that is killed at a moment drawn from the seed, soon after
it listens or once all cars are connected again, and is started again soon after. Half of the time
what it kept on its disk is removed first. mosquitto and the embedded broker, each with a server and
cars of its own, run side by side.

Laws:
- what the journals committed is compared with the database at the end, once all is receipted;
- a process that ends by itself ends the experiment: it is a fault, not a result.
"""

import random
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import matplotlib as mpl
import msgspec
from matplotlib.figure import Figure

from hardware_sim.lab.report import Check, checks_table
from hardware_sim.progress import bar
from tests.chaos.brokers import has_mosquitto
from tests.chaos.chapter import Chapter, Stage, Told, enough, none
from tests.chaos.verdict import Found
from tests.chaos.yard import Yard

CYCLES: Final = 200
QUICK_CYCLES: Final = 12
LIMIT_S: Final = 180.0
"""After many failures in a row a car waits up to 64 s for a receipt, up to 60 s before it sends
anew and up to 30 s before it connects (`device.sync`, `shared.mqtt`): 154 s at the worst.
"""

_CARS: Final = 4
_AT_START: Final = 0.25
_LONGEST_S: Final = 0.25
_AWAY_S: Final = 0.3
_WAIT_S: Final = 60.0
_SETTLE_S: Final = 300.0


class Kill(msgspec.Struct, frozen=True, kw_only=True):
    """One cycle: when, whether all cars were connected, whether all that was kept was removed.

    `waiting` rows were not receipted, `under_way` messages had been sent and not receipted.
    """

    second: float
    was_connected: bool
    is_wiped: bool
    waiting: int
    under_way: int


class Killed(msgspec.Struct, frozen=True, kw_only=True):
    """What was found over one broker."""

    broker: str
    kills: list[Kill]
    synced_s: float
    seconds: float
    found: Found


class _Lane:
    """One broker with its server and cars, a turn at a time."""

    def __init__(self, yard: Yard, stage: Stage, cycles: int) -> None:
        self._yard, self._clock, self._cycles = yard, stage.clock, cycles
        self._rng = random.Random(f"{stage.seed} {yard.broker.name}")
        self.kills: list[Kill] = []
        self.told: Killed | None = None

    def life(self) -> Iterator[float]:
        yard, begun_us = self._yard, self._clock.monotonic_us()
        self._begun_us = begun_us
        yard.start_cars(_CARS)
        for _ in range(self._cycles):
            yield from self._cycle()
        synced_s = 0.0
        for synced_s in yard.turns(yard.are_synced, _SETTLE_S):
            yield synced_s
        self.told = Killed(
            broker=yard.broker.name,
            kills=self.kills,
            synced_s=round(synced_s, 1),
            seconds=round(self._second(), 1),
            found=yard.judge(),
        )

    def _cycle(self) -> Iterator[float]:
        yard = self._yard
        if self._rng.random() >= _AT_START:
            yield from yard.turns(yard.are_connected, _WAIT_S)
        for car in yard.cars:
            car.log(self._rng.randint(2, 16))
        yield from yard.turns(lambda: False, self._rng.uniform(0.0, _LONGEST_S))
        self.kills.append(
            Kill(
                second=round(self._second(), 2),
                was_connected=yard.are_connected(),
                is_wiped=self._rng.random() < 0.5,
                waiting=sum(car.waiting for car in yard.cars),
                under_way=sum(car.under_way for car in yard.cars),
            )
        )
        yard.broker.kill()
        if self.kills[-1].is_wiped:
            yard.broker.wipe()
        yield from yard.turns(lambda: False, self._rng.uniform(0.0, _AWAY_S))
        yard.broker.start()

    def _second(self) -> float:
        return (self._clock.monotonic_us() - self._begun_us) / 1e6


def run(stage: Stage) -> Told:
    """Kill brokers, and tell what was found."""
    cycles = stage.cycles or (QUICK_CYCLES if stage.is_quick else CYCLES)
    kinds = [False, True] if has_mosquitto() else [True]
    with ExitStack() as stack:
        lanes = [
            _Lane(
                stack.enter_context(
                    Yard(
                        folder=stage.folder / ("embedded" if is_embedded else "mosquitto"),
                        clock=stage.clock,
                        seed=stage.seed,
                        embedded=is_embedded,
                    )
                ),
                stage,
                -(-cycles // len(kinds)),
            )
            for is_embedded in kinds
        ]
        with bar(f"kill -9 of brokers, {cycles} cycles", cycles) as tell:
            _side_by_side(lanes, tell)
        found = [lane.told for lane in lanes if lane.told is not None]
    plot(found, stage.out / "broker-kills.png")
    made = checks(found)
    body = {"lanes": msgspec.to_builtins(found)}
    return Told(checks=made, body=body, text=_text(found, made))


CHAPTER: Final = Chapter(name="broker-kills", title="The broker killed at random", run=run)


def _side_by_side(lanes: Sequence[_Lane], tell: Callable[[int], None]) -> None:
    lives = [lane.life() for lane in lanes]
    while lives:
        lives = [life for life in lives if next(life, None) is not None]
        tell(sum(len(lane.kills) for lane in lanes))


def checks(found: Sequence[Killed]) -> list[Check]:
    """Return what decides; the last two tell whether enough was at stake."""
    kills = [kill for each in found for kill in each.kills]
    total = Found()
    for each in found:
        total = total.plus(each.found)
    return [
        *none("broker kills", {**total.wrong, "messages refused": total.refused}),
        *(
            Check(
                name=f"broker kills: all synced after the last one, over {each.broker}",
                value=each.synced_s,
                unit="s",
                limit=LIMIT_S,
                better="lower",
            )
            for each in found
        ),
        enough(
            "broker kills",
            "kills while messages were under way",
            sum(kill.under_way > 0 for kill in kills),
            len(kills) // 4,
        ),
        enough(
            "broker kills",
            "kills after which the broker knew nothing any more",
            sum(kill.is_wiped for kill in kills),
            len(kills) // 4,
        ),
    ]


def plot(found: Sequence[Killed], path: Path) -> None:
    """Draw the rows that waited at each kill."""
    mpl.rcParams["svg.hashsalt"] = "parkfleet"
    figure = Figure(figsize=(9, 4), layout="constrained")
    axis = figure.subplots()
    for each, colour in zip(found, ("#0a7d8c", "#c77d1e"), strict=False):
        for is_wiped, mark in ((True, "x"), (False, ".")):
            of = [kill for kill in each.kills if kill.is_wiped == is_wiped]
            label = f"{each.broker}, {'all forgotten' if is_wiped else 'its files kept'}"
            across, up = [kill.second for kill in of], [kill.waiting for kill in of]
            axis.plot(across, up, mark, color=colour, markersize=5, label=label)
    axis.set_xlabel("seconds")
    axis.set_ylabel("rows that waited when the broker was killed")
    axis.legend(fontsize=7)
    figure.savefig(path, dpi=110)


def _text(found: Sequence[Killed], made: list[Check]) -> str:
    each = "; ".join(
        f"{told.broker}: {len(told.kills)} kills in {told.seconds:.0f} s, "
        f"{sum(kill.is_wiped for kill in told.kills)} with all it kept removed, "
        f"{sum(kill.under_way > 0 for kill in told.kills)} while messages were under way, "
        f"{told.found.pairs} pairs committed, all receipted {told.synced_s:.1f} s after the last"
        for told in found
    )
    picture = "![Rows that waited at each kill of a broker](broker-kills.png)"
    return "\n\n".join([f"{each}.", checks_table(made), picture])
