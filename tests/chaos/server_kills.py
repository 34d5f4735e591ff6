"""The fleet server killed at random while it takes in batches (SIGKILL): the experiment.

The promise: what a signed receipt said is stored stays stored, once, and the server's counters say
so too, wherever in its work it is killed.

A *lane* is a server with a database and a broker of its own, and cars that send without a pause;
its server is either one process that does everything, or two ingest processes that share the
batches, of which one is killed and one lives on. In each cycle the victim is killed at a moment
drawn from the seed: so many receipts after its first one and a little later, or some time after its
start, so that kills fall into starts, too. Then it is started again, and meanwhile the database is
looked at as the kill left it. Lanes run side by side: most of a cycle is a server's start.

Laws:
- the database is compared with all that cars sent and receipts promised, after every kill;
- a process that ends by itself ends the experiment: it is a fault, not a result;
- at the end the cars park, everything of theirs is receipted, and the database is looked at again.
"""

import random
import threading
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Final, Literal

import msgspec

from fleet_server.broker import users
from hardware_sim.lab.fleet import free_port
from hardware_sim.lab.processes import Processes, WaitTimeoutError
from shared.clock import Clock
from shared.credentials import make_verifier
from shared.errors import ParkfleetError
from shared.ids import sha256_hex
from shared.mqtt import Address, Connection
from shared.signing import SigningKey
from shared.task import WALL_DISTANCE
from tests.benchmarks.processes import MOSQUITTO, mosquitto
from tests.chaos import stock
from tests.chaos.cars import Car
from tests.chaos.promises import Faults, Promises
from tests.chaos.striking import strike
from tests.fleet_server.fleet import Fleet

_HOST: Final = "127.0.0.1"
_CARS: Final = ("car-1", "car-2", "car-3")
_AT_START: Final = 0.2
_LONGEST_START_S: Final = 2.5
_MOST_RECEIPTS: Final = 40
_LONGEST_AFTER_S: Final = 0.05
"""Where a kill falls: this share at any time from the start on, the others after so many receipts
of a server at work, and so long after the last of them."""

_ANSWER_US: Final = 60_000_000
_LONGEST_TURN_US: Final = 1_000_000
_PATIENCE_US: Final = 50_000
_TURN_US: Final = 2_000
_LOAD_US: Final = 100_000
_ECHO_US: Final = 50_000
"""How long cars drive before a kill within a start, and how long receipts may be on their way."""

_SETTINGS: Final = "quota_bytes = 1000000000\nquota_rows = 1000000000\n"

Setup = Literal["alone", "pair"]
_VICTIMS: Final = {"alone": ("server",), "pair": ("ingest-a", "ingest-b")}


class Kill(msgspec.Struct, frozen=True, kw_only=True):
    """One cycle: who was killed, when, and what that fell into.

    `under_way` messages had been sent and not receipted; `was_writing` tells that a transaction of
    the victim's was open. `unheard` messages turned out to be stored whose receipt never came.
    """

    victim: str
    second: float
    after_s: float
    answers: int
    under_way: int
    was_writing: bool
    unheard: int


class Killed(msgspec.Struct, frozen=True, kw_only=True):
    """What one lane found; `stored` and `duplicates` count receipts, `rejected` has the reasons."""

    setup: Setup
    kills: list[Kill]
    seconds: float
    pairs: int
    messages: int
    stored: int
    duplicates: int
    rejected: list[str]
    faults: Faults


class _EndedError(ParkfleetError):
    """Another lane has failed, or the experiment was interrupted."""


class Lane:
    """One server with its cars, on `processes` of its own."""

    def __init__(
        self, processes: Processes, *, setup: Setup, seed: int, clock: Clock, stop: threading.Event
    ) -> None:
        """Make a fleet beside the logs of `processes`; nothing runs yet.

        Where `stop` is set the lane ends with an error.
        """
        self._processes, self._setup, self._clock, self._stop = processes, setup, clock, stop
        self._seed = seed
        self._rng = random.Random(seed)
        self._state = processes.logs.parent / "server"
        self._database = self._state / "server.sqlite"
        self._promises = Promises()
        self._cars: list[Car] = []
        self._port = free_port()
        self._http_port = free_port()
        self._log_from: dict[str, int] = {}
        self._started_us: dict[str, int] = {}
        self._last_batch = 0
        self._heard = self._quiet_us = 0
        self._patience_us = _PATIENCE_US
        self._keys = self._make_fleet()

    def _make_fleet(self) -> dict[str, SigningKey]:
        """Make the database with its cars; not in lanes side by side: Alembic is one a process."""
        self._state.mkdir(parents=True)
        (self._state / "server.toml").write_text(_SETTINGS)
        fleet = Fleet(self._state)
        try:
            return {name: fleet.add_car(name) for name in _CARS}
        finally:
            fleet.close()

    def run(self, cycles: int, tell: Callable[[], None] = lambda: None) -> Killed:
        """Kill `cycles` times, let everything arrive, and judge.

        Raises:
            ProcessDiedError: a process ended that nobody had killed.
            WaitTimeoutError: the server did not answer in time.
        """
        with ExitStack() as stack:
            self._prepare(stack)
            begun_us = self._clock.monotonic_us()
            for victim in _VICTIMS[self._setup]:
                self._start(victim)
            kills = []
            for _ in range(cycles):
                kills.append(self._cycle(begun_us))
                tell()
            self._settle()
        return self._told(kills, (self._clock.monotonic_us() - begun_us) / 1e6)

    def _prepare(self, stack: ExitStack) -> None:
        """Give the server releases to tell of, and start broker and cars."""
        owner, trainer = self._state.with_name("owner"), self._state.with_name("trainer")
        self._processes.run(
            [
                *("releases", "init", "--owner", str(owner), "--server-state", str(self._state)),
                *("--trainer", str(trainer), "--trainer-name", "trainer-1"),
                *("--task", WALL_DISTANCE.name),
            ]
        )
        server_key = SigningKey.load_or_create(self._state / "keys" / "server.key").public
        self._start_broker(stack)
        for number, (name, key) in enumerate(self._keys.items()):
            address = Address(host=_HOST, port=self._port, user=name, password=_secret(name))
            car = Car(
                name,
                key=key,
                server_key=server_key,
                connection=Connection(address),
                promises=self._promises,
                clock=self._clock,
                seed=self._seed * len(_CARS) + number,
            )
            stack.callback(car.stop)
            self._cars.append(car)

    def _start_broker(self, stack: ExitStack) -> None:
        if has_mosquitto():
            self._port = stack.enter_context(mosquitto(self._processes.logs))
            return
        for name in _CARS:
            digest = sha256_hex(_secret(name).encode())
            users.add_user(
                *(self._state, name),
                role="device",
                secret_sha256=digest,
                verifier=make_verifier(_secret(name), b"salt" * 3),
            )
        where = ("--state", str(self._state), "--host", _HOST, "--port", str(self._port))
        self._processes.start("broker", ["broker", "run", *where])

    def _start(self, victim: str) -> None:
        log = self._processes.logs / f"{victim}.log"
        self._log_from[victim] = log.stat().st_size if log.exists() else 0
        self._started_us[victim] = self._clock.monotonic_us()
        role = "all" if self._setup == "alone" else "ingest"
        where = ("--state", str(self._state), "--port", str(self._http_port))
        to = ("--broker-host", _HOST, "--broker-port", str(self._port))
        self._processes.start(victim, ["server", "--role", role, *where, *to])

    def _cycle(self, begun_us: int) -> Kill:
        victim = self._rng.choice(_VICTIMS[self._setup])
        answers = self._await_moment(victim)
        now_us = self._clock.monotonic_us()
        under_way = sum(car.under_way for car in self._cars)
        pid = self._processes.children[victim].popen.pid
        was_writing = strike(pid, self._database, partial(self._processes.kill, victim))
        after_s = (now_us - self._started_us[victim]) / 1e6
        self._start(victim)
        self._rest()
        self._turn_until(self._clock.monotonic_us() + _ECHO_US)
        return Kill(
            victim=victim,
            second=round((now_us - begun_us) / 1e6, 2),
            after_s=round(after_s, 3),
            answers=answers,
            under_way=under_way,
            was_writing=was_writing,
            unheard=self._look(),
        )

    def _await_moment(self, victim: str) -> int:
        """Return at the moment to kill, with the receipts that came since the victim was ready."""
        if self._rng.random() < _AT_START:
            after_us = int(self._rng.uniform(0.0, _LONGEST_START_S) * 1e6)
            self._turn_until(self._started_us[victim] + after_us - _LOAD_US)
            before = self._drive()
            self._turn_until(self._started_us[victim] + after_us)
            return self._receipts() - before
        self._await(lambda: self._is_ready(victim), f"{victim} to reach the broker")
        self._expect_answers()
        before, wanted = self._drive(), self._rng.randint(1, _MOST_RECEIPTS)
        self._await(lambda: self._receipts() - before >= wanted, f"receipts of {victim}")
        later_us = int(self._rng.uniform(0.0, _LONGEST_AFTER_S) * 1e6)
        self._turn_until(self._clock.monotonic_us() + later_us)
        return self._receipts() - before

    def _drive(self) -> int:
        """Have the cars drive; return how many receipts they had so far."""
        for car in self._cars:
            car.drive()
        return self._receipts()

    def _rest(self) -> None:
        """Have the cars send what they have and no more, lest one that lives on gets too much."""
        for car in self._cars:
            car.rest()

    def _receipts(self) -> int:
        return sum(car.receipts for car in self._cars)

    def _is_ready(self, victim: str) -> bool:
        with (self._processes.logs / f"{victim}.log").open("rb") as log:
            log.seek(self._log_from[victim])
            return b"broker_connected" in log.read()

    def _await(self, is_so: Callable[[], bool], what: str) -> None:
        """Let the cars work until something is so.

        Time in which this process stood still, as the whole machine may, counts as one turn.
        """
        waited_us = 0
        while not is_so():
            if waited_us > _ANSWER_US:
                raise WaitTimeoutError(f"{what}: nothing within {_ANSWER_US / 1e6:.0f} s")
            begun_us = self._clock.monotonic_us()
            self._turn()
            waited_us += min(self._clock.monotonic_us() - begun_us, _LONGEST_TURN_US)

    def _turn_until(self, end_us: int) -> None:
        while self._clock.monotonic_us() < end_us:
            self._turn()

    def _turn(self) -> None:
        if self._stop.is_set():
            raise _EndedError("another lane of the experiment has ended it")
        self._processes.check()
        for car in self._cars:
            car.turn()
        self._try_again_where_nobody_answers()
        self._clock.sleep_until_us(self._clock.monotonic_us() + _TURN_US)

    def _try_again_where_nobody_answers(self) -> None:
        """Send anew what was sent to nobody, as after a lost connection, with growing patience."""
        now_us = self._clock.monotonic_us()
        if self._receipts() > self._heard:
            self._expect_answers()
        elif now_us > self._quiet_us + self._patience_us:
            self._quiet_us, self._patience_us = now_us, 2 * self._patience_us
            for car in self._cars:
                car.try_again()

    def _expect_answers(self) -> None:
        self._heard, self._quiet_us = self._receipts(), self._clock.monotonic_us()
        self._patience_us = _PATIENCE_US

    def _look(self) -> int:
        """Compare the database with what was promised; return how much in it is news to the cars.

        That is, how many messages were stored since the last look whose receipt has not come.
        """
        now = stock.read(self._database)
        self._promises.see(now)
        new = {digest for number, digest in now.batches.items() if number > self._last_batch}
        self._last_batch = max(now.batches, default=0)
        return len(new - self._promises.heard)

    def _settle(self) -> None:
        """Let everything arrive, end the server as one does, and look at what is left."""
        self._rest()
        self._await(lambda: all(car.is_done for car in self._cars), "the last receipts")
        for victim in _VICTIMS[self._setup]:
            self._processes.stop(victim)
        self._look()

    def _told(self, kills: list[Kill], seconds: float) -> Killed:
        promises = self._promises
        return Killed(
            setup=self._setup,
            kills=kills,
            seconds=round(seconds, 1),
            pairs=sum(key.kind == "sample" for key in promises.promised),
            messages=len(promises.messages),
            stored=promises.stored,
            duplicates=promises.duplicates,
            rejected=promises.rejected,
            faults=promises.worst,
        )


def has_mosquitto() -> bool:
    """Tell whether mosquitto is here; the embedded broker shares no batches."""
    return Path(MOSQUITTO).exists()


def _secret(name: str) -> str:
    return sha256_hex(name.encode())
