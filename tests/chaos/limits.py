"""The chapter of the broker that refuses: limits hit, rights gone, messages meddled with.

What mosquitto refuses it acknowledges all the same, and says nothing to its sender: that is why a
PUBACK is no receipt. Each limit holds for some seconds while cars drive; then mosquitto runs with
our configuration again, and the seconds are counted until the last row is receipted. At last every
line meddles with batches and receipts: some pass twice, some in another order, some again later.

Laws:
- a limit that mosquitto never spoke of, or that held nothing back, was not hit, and is counted.
"""

import random
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

import matplotlib as mpl
import msgspec
from matplotlib.figure import Figure

from hardware_sim.lab.report import Check, checks_table
from hardware_sim.progress import bar
from tests.chaos.brokers import Mosquitto, has_mosquitto
from tests.chaos.chapter import Chapter, Stage, Told, none
from tests.chaos.line import Direction
from tests.chaos.meddler import Meddler
from tests.chaos.verdict import Found
from tests.chaos.yard import Yard

LIMIT_S: Final = 120.0
_FAULT_S: Final = 25.0
_QUICK_FAULT_S: Final = 4.0
_CARS: Final = 5
_BACKLOG: Final = 30
_EACH_US: Final = 1_000_000
_LONGEST_S: Final = 300.0
_DENIED_BATCHES: Final = "no right to send batches"
_DENIED_RECEIPTS: Final = "no right to send receipts"

LIMITS: Final[Mapping[str, Mapping[str, str]]] = {
    "one message waits, one is under way": {
        "max_queued_messages": "1",
        "max_inflight_messages": "1",
    },
    "messages of 12 kB at the most": {"message_size_limit": "12000"},
    _DENIED_BATCHES: {},
    _DENIED_RECEIPTS: {},
    "four connections": {"max_connections": "4"},
}

_SIGNS: Final = (
    *("Outgoing messages are being dropped", "Dropped too large PUBLISH", "Denied PUBLISH"),
    "max_connections exceeded",
)
"""What mosquitto logs where it hits a limit."""


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """One limit: how often mosquitto spoke of it, rows that waited at its end, seconds to none.

    For meddled messages `signs` counts those that were meddled with.
    """

    limit: str
    signs: int
    waiting: int
    synced_s: float


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """All that was tried, and what became of the pairs; `meddled` counts what was done how."""

    fault_s: float
    tried: list[Tried]
    meddled: dict[str, int]
    found: Found


def run(stage: Stage) -> Told:
    """Hit every limit, and tell what was found."""
    fault_s = _QUICK_FAULT_S if stage.is_quick else _FAULT_S
    limits = list(LIMITS) if has_mosquitto() else []
    with (
        Yard(folder=stage.folder, clock=stage.clock, seed=stage.seed) as yard,
        bar(f"limits of a broker, {fault_s:.0f} s each", len(limits) + 1) as tell,
    ):
        trial = _Trial(yard, stage, fault_s)
        tried = []
        for done, limit in enumerate(limits):
            tried.append(trial.limited(limit))
            tell(done + 1)
        tried.append(trial.meddled())
        tell(len(limits) + 1)
        told = Report(fault_s=fault_s, tried=tried, meddled=dict(trial.did), found=yard.judge())
    plot(told, stage.out / "limits.png")
    made = checks(told)
    return Told(checks=made, body=msgspec.to_builtins(told), text=_text(told, made))


CHAPTER: Final = Chapter(name="limits", title="A broker that refuses and meddles", run=run)


class _Trial:
    """The experiments on a yard."""

    def __init__(self, yard: Yard, stage: Stage, fault_s: float) -> None:
        self._yard, self._clock, self._fault_s = yard, stage.clock, fault_s
        self._log = yard.fleet.processes.logs / "mosquitto.log"
        self._seed = stage.seed
        self._next_us = 0
        self.did = Counter[str]()
        yard.start_cars(_CARS)
        yard.turn_until(yard.are_connected, _LONGEST_S)

    def limited(self, limit: str) -> Tried:
        """Let mosquitto have that limit for a while."""
        broker = self._yard.broker
        if not isinstance(broker, Mosquitto):
            raise TypeError("only mosquitto's limits are known here")

        def set_to(limits: Mapping[str, str]) -> None:
            broker.kill()
            broker.limits = limits
            broker.start()

        before = self._log.stat().st_size
        limits = {**LIMITS[limit], **self._rights(limit), "log_type": "all"}
        waiting, synced_s = self._try(lambda: set_to(limits), lambda: set_to({}))
        with self._log.open("rb") as log:
            log.seek(before)
            said = log.read().decode("utf-8", "replace")
        signs = sum(said.count(sign) for sign in _SIGNS)
        return Tried(limit=limit, signs=signs, waiting=waiting, synced_s=synced_s)

    def meddled(self) -> Tried:
        """Let every line meddle with messages for a while."""
        lines = [self._yard.server_line, *self._yard.lines]
        rng = random.Random(self._seed)

        def tap(_direction: Direction) -> Meddler:
            return Meddler(random.Random(rng.random()), self.did, (b"/batch", b"/receipt"))

        def begin() -> None:
            for line in lines:
                line.tap = tap
                line.cut()

        def end() -> None:
            for line in lines:
                line.tap = None
                line.cut()

        waiting, synced_s = self._try(begin, end)
        signs = sum(self.did.values()) - self.did["messages"]
        return Tried(limit="meddled messages", signs=signs, waiting=waiting, synced_s=synced_s)

    def _try(self, begin: Callable[[], None], end: Callable[[], None]) -> tuple[int, float]:
        """Return the rows that waited at the end of the fault, and the seconds until none did."""
        yard = self._yard
        begin()
        for car in yard.cars:
            car.log(_BACKLOG)
        yard.turn_for(self._fault_s, self._drive)
        waiting = sum(car.waiting for car in yard.cars)
        end()
        return waiting, round(yard.turn_until(yard.are_synced, _LONGEST_S), 1)

    def _drive(self) -> None:
        if (now_us := self._clock.monotonic_us()) >= self._next_us:
            self._next_us = now_us + _EACH_US
            for car in self._yard.cars:
                car.log()

    def _rights(self, limit: str) -> Mapping[str, str]:
        """Return the rights without those that `limit` takes away."""
        gone = {_DENIED_BATCHES: "/batch", _DENIED_RECEIPTS: "/receipt"}.get(limit)
        if gone is None:
            return {}
        folder = self._yard.fleet.folder / "mosquitto"
        lines = (folder / "acl").read_text("utf-8").splitlines()
        rights = folder / "experiment.acl"
        kept = [line for line in lines if not (" write " in line and line.endswith(gone))]
        rights.write_text("\n".join([*kept, ""]), "utf-8")
        return {"acl_file": str(rights)}


def checks(told: Report) -> list[Check]:
    """Return what decides; the last one tells whether enough was at stake."""
    idle = sum(each.signs == 0 for each in told.tried)
    return [
        *(
            Check(
                name=f"limits: {each.limit}, all synced after its end",
                value=each.synced_s,
                unit="s",
                limit=LIMIT_S,
                better="lower",
            )
            for each in told.tried
        ),
        *none("limits", {**told.found.wrong, "messages refused": told.found.refused}),
        *none("limits", {"limits that were never hit": idle}),
    ]


def plot(told: Report, path: Path) -> None:
    """Draw the seconds to the last receipt after each limit."""
    mpl.rcParams["svg.hashsalt"] = "parkfleet"
    figure = Figure(figsize=(9, 3), layout="constrained")
    axis = figure.subplots()
    axis.barh([e.limit for e in told.tried], [e.synced_s for e in told.tried], color="#0a7d8c")
    axis.axvline(LIMIT_S, color="#b3387b", linewidth=1)
    axis.set_xlabel("seconds from the limit's end to the last receipt; the line is the limit")
    axis.invert_yaxis()
    figure.savefig(path, dpi=110)


def _text(told: Report, made: list[Check]) -> str:
    over = "mosquitto" if len(told.tried) > 1 else "the embedded broker; mosquitto is not installed"
    said = (
        f"Five cars over {over}; each limit held for {told.fault_s:.0f} s, with {_BACKLOG} "
        f"manoeuvres waiting and one more a second. {told.found.pairs} pairs were committed. "
        + _meddled(told.meddled)
    )
    head = (
        "| limit | times hit | waiting at its end | then synced after (s) |\n|---|---:|---:|---:|"
    )
    rows = [f"| {e.limit} | {e.signs} | {e.waiting} | {e.synced_s:.1f} |" for e in told.tried]
    picture = "![Seconds to the last receipt after each limit](limits.png)"
    return "\n\n".join([said, "\n".join([head, *rows]), checks_table(made), picture])


def _meddled(did: Mapping[str, int]) -> str:
    each = ", ".join(f"{count} {what}" for what, count in did.items() if what != "messages")
    return f"Of {did['messages']} batches and receipts that passed meddling lines: {each}."
