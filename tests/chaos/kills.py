"""Drive and agent killed at random, again and again (SIGKILL): the experiment.

The promise: no committed pair is lost, none is doubled, and the journal is sound after each kill.

A simulated car parks without a pause while its agent sends; broker and server live on. In each
cycle one of the two is killed, or both as a power cut would, at a moment drawn from the seed: soon
after a start, or once both have been seen at work, so that kills fall into starts, manoeuvres and
commits on a slow machine too. The journal is read before each kill and after it, by a process of
its own (this one), and again once everything has been sent.

Laws:
- what was read as committed before a kill is looked for after it, and on the server at the end;
- a process that ends by itself ends the experiment: it is a fault, not a result.
"""

import random
from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec

from hardware_sim.lab.fleet import Car, Fleet, Floor
from shared.clock import Clock
from shared.samples import Sample, content_hash
from tests.chaos.ledger import Key, Ledger, Manoeuvre, Snapshot, Stored, Verdict, read

_SPEED: Final = 8.0
_LONGEST_S: Final = 1.6
"""The longest wait for a kill, from the start or from the work: a process starts in about 0.8 s."""

_AT_WORK: Final = 0.5

_LOOK_S: Final = 0.05
_SETTLE_S: Final = 180.0
_DEPLOYMENT: Final = "yard"
NO_TRAINING: Final = {"PARKFLEET_SERVER_FIRST_TRAINING_PAIRS": "1000000"}
"""The server's settings: the experiment is about pairs, and a training would take their time."""

Victim = Literal["drive", "agent", "both"]
VICTIMS: Final[tuple[Victim, ...]] = ("drive", "agent", "both")


class Kill(msgspec.Struct, frozen=True, kw_only=True):
    """One cycle: who was killed, after how long, and how the journal stood just before.

    `was_moving` tells that the kill fell into a manoeuvre; `waiting` pairs were not sent yet.
    `was_at_work` tells that since the last start pairs had been both logged and sent.
    """

    victim: Victim
    was_at_work: bool
    after_s: float
    second: float
    committed: int
    waiting: int
    was_moving: bool


class Killed(msgspec.Struct, frozen=True, kw_only=True):
    """What the whole experiment found.

    `unwritten` pairs were in a killed drive's memory, as the journal counts them.
    """

    kills: list[Kill]
    seconds: float
    quarantined: int
    unwritten: int
    verdict: Verdict
    missing: int
    altered: int
    holes: int
    miscounted: int
    unsound: list[str]


def prepare(fleet: Fleet) -> Car:
    """Return an enrolled car of a fleet, whose broker and server run from here on."""
    fleet.start_broker()
    fleet.start_server()
    fleet.server.post("deployments", {"name": _DEPLOYMENT, "reason": "chaos"})
    return fleet.add_car("car-1", _DEPLOYMENT)


class Killing:
    """The experiment, on a started fleet with one car."""

    def __init__(self, fleet: Fleet, car: Car, *, seed: int, clock: Clock) -> None:
        """Take the parts; nobody drives yet."""
        self._fleet, self._car, self._clock = fleet, car, clock
        self._rng = random.Random(seed)
        self._ledger = Ledger()
        self._deck: list[Victim] = []
        self._starts = 0
        self._started = self._look()
        self._begun_us = clock.monotonic_us()

    def run(self, cycles: int, tell: Callable[[int], None] = lambda _done: None) -> Killed:
        """Kill `cycles` times, let everything arrive, and judge.

        Raises:
            ProcessDiedError: a process ended that nobody had killed.
            WaitTimeoutError: not everything was sent in time.
        """
        self._car.tell(Floor(scene="beige", manoeuvres=1_000_000, by="park_by_sensor"))
        self._start_drive()
        self._fleet.start_agent(self._car)
        kills = []
        for done in range(cycles):
            kills.append(self._cycle())
            tell(done + 1)
        self._settle()
        now = self._look()
        return Killed(
            kills=kills,
            seconds=self._second(),
            quarantined=len(list(self._fleet.server.all("quarantine"))),
            unwritten=now.counters.get("dropped_unwritten", 0),
            verdict=self._ledger.judge(self._stored(), self._ended()),
            missing=self._ledger.missing,
            altered=self._ledger.altered,
            holes=self._ledger.holes,
            miscounted=self._ledger.miscounted,
            unsound=self._ledger.unsound,
        )

    def _cycle(self) -> Kill:
        victim = self._next_victim()
        if self._rng.random() < _AT_WORK:
            self._await_work()
        after_s = self._rng.uniform(0.0, _LONGEST_S)
        self._wait(after_s)
        before = self._look()
        second = self._second()
        for each in ("drive", "agent"):
            if victim in (each, "both"):
                self._fleet.processes.kill(f"{self._car.name}-{each}")
        was_at_work = _is_ahead(before, self._started)
        self._started = self._look()
        if victim != "agent":
            self._start_drive()
        if victim != "drive":
            self._fleet.start_agent(self._car)
        return Kill(
            victim=victim,
            was_at_work=was_at_work,
            after_s=round(after_s, 3),
            second=round(second, 2),
            committed=len(before.hashes),
            waiting=before.waiting,
            was_moving=before.is_moving and victim != "agent",
        )

    def _next_victim(self) -> Victim:
        """Return each victim once in three cycles, in any order."""
        if not self._deck:
            self._deck = self._rng.sample(VICTIMS, len(VICTIMS))
        return self._deck.pop()

    def _start_drive(self) -> None:
        # Another seed each time, so that no boot repeats the noise of one before.
        self._starts += 1
        self._fleet.start_drive(self._car, speed=_SPEED, seed=self._starts)

    def _look(self) -> Snapshot:
        now = read(self._car.home / "journal.sqlite")
        self._ledger.see(now)
        return now

    def _wait(self, seconds: float) -> None:
        end_us = self._clock.monotonic_us() + int(seconds * 1e6)
        while (now_us := self._clock.monotonic_us()) < end_us:
            self._fleet.processes.check()
            self._clock.sleep_until_us(min(end_us, now_us + int(_LOOK_S * 1e6)))

    def _await_work(self) -> None:
        self._fleet.processes.wait_for(
            "pairs logged and sent",
            lambda: _is_ahead(self._look(), self._started),
            timeout_s=_SETTLE_S,
            each_s=0.1,
        )

    def _settle(self) -> None:
        """Let the car work once more, end what it is at, and everything arrive."""
        self._await_work()
        self._fleet.processes.stop(f"{self._car.name}-drive")

        def is_sent() -> bool:
            return read(self._car.home / "journal.sqlite").rows_left == 0

        self._fleet.processes.wait_for("an empty queue", is_sent, timeout_s=_SETTLE_S, each_s=0.5)

    def _stored(self) -> list[Stored]:
        return [_to_stored(item) for item in self._fleet.server.all("samples")]

    def _ended(self) -> list[Manoeuvre]:
        return [(each["boot"], each["manoeuvre"]) for each in self._fleet.server.all("manoeuvres")]

    def _second(self) -> float:
        return (self._clock.monotonic_us() - self._begun_us) / 1e6


def _is_ahead(now: Snapshot, then: Snapshot) -> bool:
    sent = now.counters.get("pairs_sent", 0) > then.counters.get("pairs_sent", 0)
    return sent and len(now.hashes) > len(then.hashes)


def _to_stored(item: dict[str, Any]) -> Stored:
    return Stored(
        key=Key(item["boot"], item["sequence"]),
        content_hash=content_hash(msgspec.convert(item["record"], Sample)),
        has_picture=item["has_picture"],
    )
