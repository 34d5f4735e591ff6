"""The chapter of the herd: a broker goes away under five hundred cars, and comes back.

Each car is a real agent over its own journal and its own connection. While the broker is away each
logs manoeuvres; it is away for long enough that all cars know, and wait between their tries. Then
it listens again, and the seconds are counted until the last row of the last car is receipted.

Laws:
- the broker is killed (SIGKILL), not asked to end;
- the time begins when the broker listens again, and what it needs to begin with is not the cars'.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Final

import matplotlib as mpl
import msgspec
from matplotlib.figure import Figure

from hardware_sim.lab.report import Check, checks_table
from hardware_sim.progress import bar
from tests.chaos.chapter import Chapter, Stage, Told, none
from tests.chaos.flock import Count, Flocks
from tests.chaos.verdict import Found
from tests.chaos.watching import memory_mib
from tests.chaos.yard import Yard

CARS: Final = 500
QUICK_CARS: Final = 50
LIMIT_S: Final = 120.0
_AWAY_S: Final = 20.0
_QUICK_AWAY_S: Final = 5.0
_MANOEUVRES: Final = 3
_LONGEST_S: Final = 600.0
_LOOK_US: Final = 200_000

Tell = Callable[[int], None]


class Herd(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured; `course` are seconds since the broker's return, connected and synced cars.

    Memory in MiB, at its highest.
    """

    cars: int
    processes: int
    broker: str
    away_s: float
    waiting: int
    connected_s: float
    synced_s: float
    course: list[tuple[float, int, int]]
    broker_mib: float
    server_mib: float
    found: Found


def run(stage: Stage) -> Told:
    """Take the broker away from a herd of cars, and tell what was found."""
    cars = stage.cycles or (QUICK_CARS if stage.is_quick else CARS)
    away_s = _QUICK_AWAY_S if stage.is_quick else _AWAY_S
    with Yard(folder=stage.folder, clock=stage.clock, seed=stage.seed) as yard:
        yard.enrol(cars)
        with (
            Flocks(yard.homes, port=yard.broker.port, seed=stage.seed) as flocks,
            bar(f"{cars} cars reconnect", cars) as tell,
        ):
            herd = _Return(yard, flocks, stage).measure(cars, away_s, tell)
    plot(herd, stage.out / "herd.png")
    made = checks(herd)
    return Told(checks=made, body=msgspec.to_builtins(herd), text=_text(herd, made))


CHAPTER: Final = Chapter(name="herd", title="A herd of cars reconnects at once", run=run)


class _Return:
    """The experiment on a yard whose cars run."""

    def __init__(self, yard: Yard, flocks: Flocks, stage: Stage) -> None:
        self._yard, self._flocks, self._clock = yard, flocks, stage.clock
        self._course: list[tuple[float, int, int]] = []
        self._begun_us = self._clock.monotonic_us()

    def measure(self, cars: int, away_s: float, tell: Tell) -> Herd:
        yard, flocks = self._yard, self._flocks
        self._await(lambda now: now.connected == now.cars == cars)
        flocks.log(1)
        self._await(lambda now: now.waiting > 0)
        self._await(lambda now: now.synced == cars)
        yard.broker.kill()
        flocks.log(_MANOEUVRES)
        self._rest(away_s)
        waiting = flocks.count().waiting
        yard.broker.start()
        self._course, self._begun_us = [], self._clock.monotonic_us()
        connected_s = self._await(lambda now: now.connected == cars, tell)
        synced_s = self._await(lambda now: now.synced == cars, tell)
        return Herd(
            cars=cars,
            processes=flocks.processes,
            broker=yard.broker.name,
            away_s=away_s,
            waiting=waiting,
            connected_s=round(connected_s, 1),
            synced_s=round(synced_s, 1),
            course=self._course,
            broker_mib=round(memory_mib(yard.broker.pid, peak=True), 1),
            server_mib=round(memory_mib(yard.server_pid, peak=True), 1),
            found=yard.judge(),
        )

    def _await(self, is_so: Callable[[Count], bool], tell: Tell = lambda _synced: None) -> float:
        """Wait until something is so, at most `_LONGEST_S`; return the seconds since the return."""
        while (second := self._second()) < _LONGEST_S:
            now = self._flocks.count()
            self._course.append((round(second, 1), now.connected, now.synced))
            tell(now.synced)
            if is_so(now):
                break
            self._rest(_LOOK_US / 1e6)
        return second

    def _rest(self, seconds: float) -> None:
        self._yard.fleet.processes.check()
        self._clock.sleep_until_us(self._clock.monotonic_us() + round(seconds * 1e6))

    def _second(self) -> float:
        return (self._clock.monotonic_us() - self._begun_us) / 1e6


def checks(herd: Herd) -> list[Check]:
    """Return what decides; the last one tells whether enough was at stake."""
    return [
        Check(
            name=f"herd: {herd.cars} cars all synced after the broker's return",
            value=herd.synced_s,
            unit="s",
            limit=LIMIT_S,
            better="lower",
        ),
        *none("herd", {**herd.found.wrong, "messages refused": herd.found.refused}),
        Check(
            name="herd: rows that waited when the broker came back, a car",
            value=herd.waiting // max(1, herd.cars),
            unit="",
            limit=_MANOEUVRES,
            better="higher",
        ),
    ]


def plot(herd: Herd, path: Path) -> None:
    """Draw how many cars were connected, and had nothing left to send, over the seconds."""
    mpl.rcParams["svg.hashsalt"] = "parkfleet"
    figure = Figure(figsize=(9, 4), layout="constrained")
    axis = figure.subplots()
    seconds = [each[0] for each in herd.course]
    axis.plot(seconds, [each[1] for each in herd.course], color="#0a7d8c", label="connected")
    axis.plot(seconds, [each[2] for each in herd.course], color="#b3387b", label="synced")
    axis.set_xlabel("seconds since the broker listens again")
    axis.set_ylabel("cars")
    axis.set_ylim(0, None)
    axis.legend()
    figure.savefig(path, dpi=110)


def _text(herd: Herd, made: list[Check]) -> str:
    said = (
        f"{herd.cars} agents in {herd.processes} processes over {herd.broker}, which was killed "
        f"and stayed away for {herd.away_s:.0f} s; {herd.waiting} rows waited then. All cars were "
        f"connected again after {herd.connected_s:.1f} s, and the last row was receipted after "
        f"{herd.synced_s:.1f} s. The broker took {herd.broker_mib:.0f} MiB at the most, the server "
        f"{herd.server_mib:.0f} MiB."
    )
    picture = "![Cars connected and synced after the broker's return](herd.png)"
    return "\n\n".join([said, checks_table(made), picture])
