"""The chapter of the bad network: cars sync over lines that lose, delay, throttle, reset, go dumb.

Broker and server are processes; the agents are real, over real connections and journals (`yard`).
A car's line has bad weather while the car drives on, then good weather, and the seconds are counted
until its last row is receipted. First each car has another weather on its own line, side by side;
then the one line between server and broker has each weather in turn.

Laws:
- a weather that did nothing was not tried, and is counted (`line.Told`);
- the time to sync begins when the weather ends.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Final, Literal

import matplotlib as mpl
import msgspec
from matplotlib.figure import Figure

from hardware_sim.lab.report import Check, checks_table
from hardware_sim.progress import bar
from tests.chaos.agents import Car
from tests.chaos.chapter import Chapter, Stage, Told, none
from tests.chaos.line import CALM, Line, Weather
from tests.chaos.line import Told as Done
from tests.chaos.verdict import Found
from tests.chaos.yard import Yard

LIMIT_S: Final = 120.0
_FAULT_S: Final = 40.0
_QUICK_FAULT_S: Final = 6.0
_QUICK_AT_SERVER: Final = ("30 % loss", "resets")
"""Others take longer than a look may."""

_LONGEST_S: Final = 300.0
_BACKLOG: Final = 40
"""Manoeuvres that wait as the weather turns bad: several messages of the largest size."""

_EACH_US: Final = 1_000_000
_LOOK_US: Final = 500_000

Side = Literal["car", "server"]

WEATHERS: Final = {
    "30 % loss": Weather(loss=0.3),
    "2 s delay": Weather(delay_s=2.0),
    "10 kB/s": Weather(bytes_per_s=10_000.0),
    "resets": Weather(reset_bytes=200_000),
    "half-open": Weather(dumb_s=5.0),
}


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """One weather on one side: what the line did, and what followed.

    `waiting` rows were not receipted when the weather ended; `synced_s` is from then to none.
    `course` are seconds from the beginning of the weather, and the rows that waited.
    """

    weather: str
    side: Side
    connections: int
    resets: int
    dumb: int
    lost: int
    given_up: int
    bytes: int
    waiting: int
    synced_s: float
    course: list[tuple[float, int]]

    @property
    def did_nothing(self) -> bool:
        """Whether the weather left no trace."""
        marks = {
            "30 % loss": self.lost,
            "resets": self.resets,
            "half-open": self.dumb,
        }
        return marks.get(self.weather, self.bytes) == 0


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All that was tried, and what became of the pairs."""

    broker: str
    fault_s: float
    tried: list[Tried]
    found: Found


def run(stage: Stage) -> Told:
    """Make weather on the lines, and tell what was found."""
    fault_s = _QUICK_FAULT_S if stage.is_quick else _FAULT_S
    at_server = _QUICK_AT_SERVER if stage.is_quick else tuple(WEATHERS)
    with (
        Yard(folder=stage.folder, clock=stage.clock, seed=stage.seed) as yard,
        bar(f"bad weather of {fault_s:.0f} s on lines", 1 + len(at_server)) as tell,
    ):
        storms = _Storms(yard, stage, fault_s)
        tried = storms.on_cars()
        tell(1)
        for done, weather in enumerate(at_server):
            tried.append(storms.on_server(weather))
            tell(2 + done)
        told = Report(broker=yard.broker.name, fault_s=fault_s, tried=tried, found=yard.judge())
    plot(told, stage.out / "network.png")
    made = checks(told)
    return Told(checks=made, body=msgspec.to_builtins(told), text=_text(told, made))


CHAPTER: Final = Chapter(name="network", title="A network in bad weather", run=run)


class _Storms:
    """The experiments on a yard with a car for each weather."""

    def __init__(self, yard: Yard, stage: Stage, fault_s: float) -> None:
        self._yard, self._clock, self._fault_s = yard, stage.clock, fault_s
        self._begun_us = self._next_us = self._look_us = 0
        yard.start_cars(len(WEATHERS))
        yard.turn_until(yard.are_connected, _LONGEST_S)

    def on_cars(self) -> list[Tried]:
        """Give each car's line another weather."""
        weathers = dict(zip(WEATHERS.values(), self._yard.lines, strict=True))
        courses = self._try(weathers, self._yard.cars)
        return [
            _tried(name, "car", line.told, course)
            for name, line, course in zip(WEATHERS, self._yard.lines, courses, strict=True)
        ]

    def on_server(self, name: str) -> Tried:
        """Give the server's line the weather of that name."""
        line = self._yard.server_line
        before = _counted(line.told)
        courses = self._try({WEATHERS[name]: line}, [])
        done = {each: now - before[each] for each, now in _counted(line.told).items()}
        return _tried(name, "server", Done(**done), courses[0])

    def _try(self, weathers: dict[Weather, Line], apart: Sequence[Car]) -> "list[_Course]":
        """Return the course of each car in `apart`, or of all of them together."""
        yard = self._yard
        courses = [_Course([car]) for car in apart] or [_Course(yard.cars)]
        self._begun_us = self._clock.monotonic_us()
        self._next_us = self._look_us = 0
        for car in yard.cars:
            car.log(_BACKLOG)
        for weather, line in weathers.items():
            line.weather = weather
        yard.turn_for(self._fault_s, lambda: self._drive(courses))
        for line in weathers.values():
            line.weather = CALM
        for course in courses:
            course.end(self._second())
        yard.turn_until(
            lambda: all(course.is_over for course in courses),
            _LONGEST_S,
            lambda: self._look(courses),
        )
        return courses

    def _drive(self, courses: "Sequence[_Course]") -> None:
        self._look(courses)
        if (now_us := self._clock.monotonic_us()) >= self._next_us:
            self._next_us = now_us + _EACH_US
            for car in self._yard.cars:
                car.log()

    def _look(self, courses: "Sequence[_Course]") -> None:
        if (now_us := self._clock.monotonic_us()) >= self._look_us:
            self._look_us = now_us + _LOOK_US
            for course in courses:
                course.look(self._second())

    def _second(self) -> float:
        return (self._clock.monotonic_us() - self._begun_us) / 1e6


class _Course:
    """How many rows waited when."""

    def __init__(self, cars: Sequence[Car]) -> None:
        self._cars = cars
        self.points: list[tuple[float, int]] = []
        self.ended_s = self.over_s = 0.0
        self.left = 0

    @property
    def is_over(self) -> bool:
        """Whether nothing waits any more since the weather ended."""
        return self.over_s > 0.0

    def look(self, second: float) -> None:
        """Take a point of the course."""
        waiting = self._waiting()
        self.points.append((round(second, 1), waiting))
        if self.ended_s and not self.is_over and waiting == 0:
            self.over_s = second

    def end(self, second: float) -> None:
        """Take note that the weather ends, and how much waits."""
        self.ended_s, self.left = second, self._waiting()

    def _waiting(self) -> int:
        return sum(car.waiting for car in self._cars)


def _counted(done: Done) -> dict[str, int]:
    return dict(vars(done))


def _tried(name: str, side: Side, done: Done, course: _Course) -> Tried:
    last_s = course.over_s if course.is_over else course.points[-1][0]
    return Tried(
        weather=name,
        side=side,
        connections=done.connections,
        resets=done.resets,
        dumb=done.dumb,
        lost=done.lost,
        given_up=done.given_up,
        bytes=done.bytes_up + done.bytes_down,
        waiting=course.left,
        synced_s=round(last_s - course.ended_s, 1),
        course=course.points,
    )


def checks(told: Report) -> list[Check]:
    """Return what decides; the last two tell whether enough was at stake."""
    return [
        *(
            Check(
                name=f"network: {each.weather} on the {each.side}'s side, all synced after its end",
                value=each.synced_s,
                unit="s",
                limit=LIMIT_S,
                better="lower",
            )
            for each in told.tried
        ),
        *none("network", {**told.found.wrong, "messages refused": told.found.refused}),
        *none("network", {"weathers that did nothing": sum(e.did_nothing for e in told.tried)}),
    ]


def plot(told: Report, path: Path) -> None:
    """Draw the rows that waited over the seconds, for each weather and side."""
    mpl.rcParams["svg.hashsalt"] = "parkfleet"
    figure = Figure(figsize=(10, 6), layout="constrained")
    axes = figure.subplots(2, 1, sharex=True)
    for axis, side in zip(axes, ("car", "server"), strict=True):
        axis.axvspan(0.0, told.fault_s, color="#dddddd", label="bad weather")
        for each in told.tried:
            if each.side == side:
                axis.plot(*zip(*each.course, strict=True), label=each.weather, linewidth=1.2)
        axis.set_title(f"on the {side}'s side", fontsize=9)
        axis.set_ylabel("rows that wait", fontsize=8)
        axis.set_yscale("symlog", linthresh=10)
    axes[0].legend(fontsize=7, ncols=3)
    axes[1].set_xlabel("seconds since the weather turned bad", fontsize=8)
    figure.savefig(path, dpi=110)


def _text(told: Report, made: list[Check]) -> str:
    said = (
        f"Five cars over {told.broker}; each weather lasted {told.fault_s:.0f} s, with "
        f"{_BACKLOG} manoeuvres waiting and one more a second. A stream loses no bytes: a lost "
        "segment comes again after TCP's time-out, and eight losses in a row end the connection. "
        f"{told.found.pairs} pairs and {told.found.pictures} pictures were committed."
    )
    head = (
        "| weather | side | connections | reset | gone dumb | segments lost | bytes | waiting at "
        "its end | then synced after (s) |\n|---|---|---:|---:|---:|---:|---:|---:|---:|"
    )
    rows = [
        f"| {e.weather} | {e.side} | {e.connections} | {e.resets + e.given_up} | {e.dumb} "
        f"| {e.lost} | {e.bytes:,} | {e.waiting} | {e.synced_s:.1f} |"
        for e in told.tried
    ]
    picture = "![Rows that waited, in and after each weather](network.png)"
    return "\n\n".join([said, "\n".join([head, *rows]), checks_table(made), picture])
