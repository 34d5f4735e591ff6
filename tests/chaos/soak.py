"""The chapter of the soak: minutes of traffic, with each process's memory and files watched.

A car parks without a pause while its agent sends; drive, agent, server and broker are processes of
their own. Their resident memory and open files are read every second.

Laws:
- the slope is the median of those between any two points (Theil 1950, Sen 1968), once the processes
  have warmed up: a step, as where one more connection is opened, is no leak, and a leak is no step;
  its bound is what minutes can tell from noise, and a shorter soak tells none;
- the server may keep little of its database in memory here, so that what it keeps is not taken for
  a leak;
- the traffic is that of a car which drives eight times as fast as a real one and never rests.
"""

from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from statistics import median
from typing import Final

import matplotlib as mpl
import msgspec
from matplotlib.figure import Figure

from hardware_sim.lab.fleet import Car, Fleet, Floor
from hardware_sim.lab.report import Check, checks_table
from hardware_sim.progress import bar
from tests.chaos import verdict
from tests.chaos.chapter import Chapter, Stage, Told, enough, none
from tests.chaos.kills import NO_TRAINING, prepare
from tests.chaos.ledger import read
from tests.chaos.verdict import Found
from tests.chaos.watching import handles, memory_mib

MINUTES: Final = 8.0
TELLING_MINUTES: Final = 5.0
QUICK_MINUTES: Final = 0.5
SLOPE_MIB_A_MINUTE: Final = 2.0
HANDLES: Final = 4
_WARM: Final = 0.6
"""The share of the time that is warm-up."""

_SETTINGS: Final = {**NO_TRAINING, "PARKFLEET_SERVER_DATABASE_CACHE_MIB": "4"}
_SPEED: Final = 8.0
_EACH_S: Final = 1.0
_LONGEST_S: Final = 300.0


class Course(msgspec.Struct, frozen=True, kw_only=True):
    """One process: seconds, MiB and open files."""

    name: str
    seconds: list[float]
    memory_mib: list[float]
    handles: list[int]
    warm_s: float

    @property
    def slope_mib_a_minute(self) -> float:
        """How fast its memory grew since the warm-up."""
        points = zip(self.seconds, self.memory_mib, strict=True)
        warm = [point for point in points if point[0] >= self.warm_s]
        slopes = [(m - n) / (t - s) for (s, n), (t, m) in combinations(warm, 2) if t > s]
        return 60.0 * median(slopes)

    @property
    def more_handles(self) -> int:
        """How many more files were open at the end than at the warm-up's end, at the highest."""
        warm = [n for n, second in enumerate(self.seconds) if second >= self.warm_s]
        tenth = max(1, len(warm) // 10)
        first = max(self.handles[n] for n in warm[:tenth])
        return max(self.handles[n] for n in warm[-tenth:]) - first


class Soaked(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen."""

    minutes: float
    manoeuvres: int
    courses: list[Course]
    found: Found


def run(stage: Stage) -> Told:
    """Let traffic flow, and tell what was found."""
    minutes = QUICK_MINUTES if stage.is_quick else MINUTES
    if stage.cycles is not None:
        minutes = float(stage.cycles)
    with Fleet(stage.folder, stage.clock, settings=_SETTINGS, log_level="warning") as fleet:
        car = prepare(fleet)
        with bar(f"{minutes:g} minutes of traffic", int(minutes * 60)) as tell:
            soaked = _Soak(fleet, car, stage).watch(minutes, tell)
    plot(soaked, stage.out / "soak.png")
    made = checks(soaked)
    return Told(checks=made, body=msgspec.to_builtins(soaked), text=_text(soaked, made))


CHAPTER: Final = Chapter(name="soak", title="Memory and files over minutes of traffic", run=run)


class _Soak:
    """The traffic, and who watches it."""

    def __init__(self, fleet: Fleet, car: Car, stage: Stage) -> None:
        self._fleet, self._car, self._clock, self._seed = fleet, car, stage.clock, stage.seed
        self._points: dict[str, list[tuple[float, float, int]]] = {}
        self._database = fleet.server_state / "server.sqlite"

    def watch(self, minutes: float, tell: Callable[[int], None]) -> Soaked:
        """Watch so many minutes of traffic, then let everything arrive."""
        fleet, car = self._fleet, self._car
        car.tell(Floor(scene="beige", manoeuvres=1_000_000, by="park_by_sensor"))
        fleet.start_drive(car, speed=_SPEED, seed=self._seed)
        fleet.start_agent(car)
        path = car.home / "journal.sqlite"
        fleet.processes.wait_for(
            "pairs sent",
            lambda: read(path).counters.get("pairs_sent", 0) > 0,
            timeout_s=_LONGEST_S,
        )
        looks = round(minutes * 60 / _EACH_S)
        begun_us = self._clock.monotonic_us()
        for look in range(looks):
            self._look((self._clock.monotonic_us() - begun_us) / 1e6)
            fleet.processes.check()
            self._clock.sleep_until_us(self._clock.monotonic_us() + round(_EACH_S * 1e6))
            tell(round((look + 1) * _EACH_S))
        manoeuvres = int(car.progress()["done"])
        fleet.processes.stop(f"{car.name}-drive")
        fleet.processes.wait_for(
            "an empty queue", lambda: read(path).rows_left == 0, timeout_s=_LONGEST_S
        )
        return Soaked(
            minutes=minutes,
            manoeuvres=manoeuvres,
            courses=self._courses(),
            found=verdict.judge({car.name: path}, self._database),
        )

    def _look(self, second: float) -> None:
        for name, child in self._fleet.processes.children.items():
            pid = child.popen.pid
            point = (round(second, 1), round(memory_mib(pid), 2), handles(pid))
            self._points.setdefault(name, []).append(point)

    def _courses(self) -> list[Course]:
        found = []
        for name, points in self._points.items():
            seconds, memory, files = zip(*points, strict=True)
            found.append(
                Course(
                    name=name.removeprefix(f"{self._car.name}-"),
                    seconds=list(seconds),
                    memory_mib=list(memory),
                    handles=list(files),
                    warm_s=_WARM * seconds[-1],
                )
            )
        return found


def checks(soaked: Soaked) -> list[Check]:
    """Return what decides; the last one tells whether enough was at stake."""
    return [
        *(
            Check(
                name=f"soak: memory slope of {each.name}",
                value=round(each.slope_mib_a_minute, 3),
                unit="MiB a minute",
                limit=SLOPE_MIB_A_MINUTE,
                better="lower",
            )
            for each in soaked.courses
            if soaked.minutes >= TELLING_MINUTES
        ),
        *(
            Check(
                name=f"soak: files that {each.name} has open beyond those after the warm-up",
                value=each.more_handles,
                unit="",
                limit=HANDLES,
                better="lower",
            )
            for each in soaked.courses
        ),
        *none("soak", soaked.found.wrong),
        enough("soak", "manoeuvres a minute", soaked.manoeuvres / soaked.minutes, 5),
    ]


def plot(soaked: Soaked, path: Path) -> None:
    """Draw memory and open files of each process over the seconds."""
    mpl.rcParams["svg.hashsalt"] = "parkfleet"
    figure = Figure(figsize=(9, 5), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True)
    for each in soaked.courses:
        above.plot(each.seconds, each.memory_mib, label=each.name, linewidth=1)
        below.plot(each.seconds, each.handles, label=each.name, linewidth=1)
    for axis in (above, below):
        axis.axvspan(0.0, soaked.courses[0].warm_s, color="#eeeeee")
        axis.set_ylim(0, None)
    above.set_ylabel("resident memory, MiB", fontsize=8)
    above.legend(fontsize=7, ncols=4)
    below.set_ylabel("open files", fontsize=8)
    below.set_xlabel("seconds; grey: warm-up", fontsize=8)
    figure.savefig(path, dpi=110)


def _text(soaked: Soaked, made: list[Check]) -> str:
    head = "| process | MiB at the end | slope, MiB a minute | open files |\n|---|---:|---:|---:|"
    rows = [_row(each) for each in soaked.courses]
    said = (
        f"{soaked.minutes:g} minutes, {soaked.manoeuvres} manoeuvres, {soaked.found.pairs} pairs "
        f"and {soaked.found.pictures} pictures."
    )
    picture = "![Memory and open files of each process](soak.png)"
    return "\n\n".join([said, "\n".join([head, *rows]), checks_table(made), picture])


def _row(course: Course) -> str:
    at_end = course.memory_mib[-1]
    slope = course.slope_mib_a_minute
    return f"| {course.name} | {at_end:.1f} | {slope:+.2f} | {course.handles[-1]} |"
