"""The chapter of poison and floods: one car sends what nobody can use, or far too much.

*Poison at the server*: a car with a key of its own sends damaged messages, some of them signed by
it, too large ones, another car's, its own rows with other contents; and after each a good one. What
counts is how long after the poison the receipt of the good message is there.
*Poison at the car*: whoever holds the broker sends a car damaged receipts, wishes, commands and
metadata; what counts is how long after each a manoeuvre that the car logs is receipted.
*Flood*: one car sends as fast as it can, once the same good message, once rubbish, while others
drive. The broker has one queue for the server and fills it with what comes, so others are delayed
while it lasts, and some of what they send is dropped there. What counts is that nothing is lost,
and how long after the flood their last row is receipted.

Laws:
- poison and the good message after it go over the same connection, so that one waits for the other.
"""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Final

import matplotlib as mpl
import msgspec
from matplotlib.figure import Figure

from device.agent.enrolment import BrokerPlace, broker_address
from device.sync_rows import batch_of
from fleet_server.broker import users
from hardware_sim.fleet_sim.car import Identity
from hardware_sim.lab.report import Check, checks_table
from hardware_sim.progress import bar
from shared import codec
from shared.clock import Clock
from shared.errors import RetryLaterError
from shared.ids import sha256_hex
from shared.messages import Batch, Receipt
from shared.mqtt import Address, Connection
from shared.mqtt_events import Connected, Received
from shared.signing import open_envelope, seal
from shared.topics import BATCH, COMMAND, DESIRED, OPERATORS, RECEIPT, RELEASE_METADATA
from tests.chaos.agents import HOST
from tests.chaos.cars import manoeuvres
from tests.chaos.chapter import Chapter, Stage, Told, enough, none
from tests.chaos.damage import damaged
from tests.chaos.doors import signed_as
from tests.chaos.silence import without_log
from tests.chaos.verdict import Found
from tests.chaos.yard import Yard

POISONS: Final = 400
QUICK_POISONS: Final = 60
NEXT_LIMIT_S: Final = 1.0
FLOOD_LIMIT_S: Final = 120.0
_FLOOD_S: Final = 20.0
_QUICK_FLOOD_S: Final = 4.0
_CARS: Final = 3
_AT_ONCE: Final = 50
_WAIT_S: Final = 300.0
_EACH_US: Final = 1_000_000

_QUOTA: Final = {
    "PARKFLEET_SERVER_QUOTA_BYTES": str(64 * 1024 * 1024),
    "PARKFLEET_SERVER_QUOTA_ROWS": "60000",
}
"""As a server has it that nobody has set anything on."""


class Flood(msgspec.Struct, frozen=True, kw_only=True):
    """One flood: what of, how many messages and bytes in how many seconds.

    `manoeuvres` of other cars were logged meanwhile, `receipted` of them came through before its
    end; after it their last row was receipted within `synced_s`.
    """

    kind: str
    messages: int
    megabytes: float
    seconds: float
    manoeuvres: int
    receipted: int
    longest_wait_s: float
    synced_s: float


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured: seconds from each poison to the next good message's receipt."""

    broker: str
    at_server_s: list[tuple[str, float]]
    at_car_s: list[tuple[str, float]]
    floods: list[Flood]
    found: Found


def run(stage: Stage) -> Told:
    """Poison and flood, and tell what was found."""
    count = stage.cycles or (QUICK_POISONS if stage.is_quick else POISONS)
    with (
        Yard(folder=stage.folder, clock=stage.clock, seed=stage.seed, settings=_QUOTA) as yard,
        bar(f"{count} poisons and two floods", count + count // 4 + 2) as tell,
        without_log(),
    ):
        trial = _Trial(yard, stage)
        try:
            at_server = [trial.poison_server(tell) for _ in range(count)]
            at_car = [trial.poison_car(tell) for _ in range(count // 4)]
            floods = trial.floods(_QUICK_FLOOD_S if stage.is_quick else _FLOOD_S, tell)
        finally:
            trial.close()
        told = Report(
            broker=yard.broker.name,
            at_server_s=at_server,
            at_car_s=at_car,
            floods=floods,
            found=yard.judge(),
        )
    plot(told, stage.out / "poison.png")
    made = checks(told)
    return Told(checks=made, body=msgspec.to_builtins(told), text=_text(told, made))


CHAPTER: Final = Chapter(name="poison", title="Poison and floods", run=run)


class Poisoner:
    """A car that speaks MQTT with its own keys, and says what it likes."""

    def __init__(self, who: Identity, port: int, rng: random.Random) -> None:
        """Connect as `who`."""
        self.name, self._key, self._rng = who.enrolment.device, who.key, rng
        self._server_key = who.enrolment.server_key
        self._road = manoeuvres(self.name, rng)
        self.topic = BATCH.topic(id=self.name)
        address = broker_address(who.home, who.enrolment, BrokerPlace(HOST, port))
        self.connection = Connection(address)
        self._receipted: set[str] = set()
        self.connection.start()

    def batch(self) -> Batch:
        """Return the rows of one more manoeuvre."""
        return batch_of(self.name, tuple(next(self._road)))

    def sealed(self, batch: Batch) -> bytes:
        """Return `batch` as this car sends it."""
        return seal(batch, topic=self.topic, key=self._key)

    def poison(self) -> tuple[str, bytes]:
        """Return a message that nobody can use, and its kind."""
        batch, rng = self.batch(), self._rng
        kinds: dict[str, Callable[[], bytes]] = {
            "damaged": lambda: damaged([self.sealed(batch)], rng),
            "signed damage": lambda: signed_as(
                self._key, self.topic, damaged([codec.encode(batch)], rng)
            ),
            "rubbish": lambda: rng.randbytes(rng.randint(1, 2000)),
            "empty": lambda: b"",
            "too large": lambda: rng.randbytes(BATCH.limit_bytes - 1),
            "another car's": lambda: self.sealed(msgspec.structs.replace(batch, device="car-x")),
            "other contents": lambda: self._contradicted(batch),
        }
        kind = rng.choice(list(kinds))
        return kind, kinds[kind]()

    def _contradicted(self, batch: Batch) -> bytes:
        self.connection.publish(self.topic, self.sealed(batch))
        changed = tuple(msgspec.structs.replace(e, camera="another") for e in batch.samples)
        return self.sealed(msgspec.structs.replace(batch, samples=changed))

    def hear(self) -> None:
        """Take what has come."""
        while (event := self.connection.next_event(0.0)) is not None:
            if isinstance(event, Connected):
                self.connection.subscribe(RECEIPT.filter(id=self.name))
            elif isinstance(event, Received):
                self.connection.acknowledge(event)
                receipt = open_envelope(
                    RECEIPT,
                    event.payload,
                    topic=event.topic,
                    message_type=Receipt,
                    key=self._server_key,
                )
                if receipt.outcome != "rejected":
                    self._receipted.add(receipt.batch)

    def is_receipted(self, body: bytes) -> bool:
        """Tell whether `body` was stored."""
        self.hear()
        return sha256_hex(body) in self._receipted


class _Trial:
    """The experiments on a yard."""

    def __init__(self, yard: Yard, stage: Stage) -> None:
        self._yard, self._clock = yard, stage.clock
        self._rng = random.Random(stage.seed)
        yard.start_cars(_CARS)
        self._poisoner = Poisoner(yard.stranger(), yard.broker.port, self._rng)
        own = users.ensure_server_user(yard.fleet.server_state)
        name = users.server_user(users.ingest_name(users.INGESTS))
        self._captor = Connection(
            Address(host=HOST, port=yard.broker.port, user=name, password=own.secret)
        )
        self._captor.start()
        self._done = 0
        yard.turn_until(self._is_ready, _WAIT_S)

    def _is_ready(self) -> bool:
        self._poisoner.hear()
        self._captor.next_event(0.0)
        both = self._poisoner.connection.connected and self._captor.connected
        return both and self._yard.are_connected()

    def close(self) -> None:
        """Disconnect."""
        self._poisoner.connection.stop()
        self._captor.stop()

    def poison_server(self, tell: Callable[[int], None]) -> tuple[str, float]:
        """Send poison and a good message after it; return the kind, and how long that one took."""
        poisoner = self._poisoner
        kind, poison = poisoner.poison()
        good = poisoner.sealed(poisoner.batch())
        begun_us = self._clock.monotonic_us()
        poisoner.connection.publish(poisoner.topic, poison)
        poisoner.connection.publish(poisoner.topic, good)
        while not poisoner.is_receipted(good) and self._seconds_since(begun_us) < _WAIT_S:
            self._clock.sleep_until_us(self._clock.monotonic_us() + 500)
        self._tell(tell)
        return kind, round(self._seconds_since(begun_us), 4)

    def poison_car(self, tell: Callable[[int], None]) -> tuple[str, float]:
        """Send a car poison, and have it log a manoeuvre; return how long that one took."""
        car = self._rng.choice(self._yard.cars)
        topics = {
            "receipt": RECEIPT.topic(id=car.name),
            "wish": DESIRED.topic(id=car.name),
            "command": COMMAND.topic(id=car.name, actor="alex"),
            "operators": OPERATORS.topic(),
            "metadata": RELEASE_METADATA.topic(),
        }
        kind = self._rng.choice(list(topics))
        good = self._poisoner.sealed(self._poisoner.batch())
        begun_us = self._clock.monotonic_us()
        self._captor.publish(topics[kind], damaged([good], self._rng))
        car.log()
        self._yard.turn_until(lambda: car.waiting == 0, _WAIT_S)
        self._tell(tell)
        return kind, round(self._seconds_since(begun_us), 4)

    def floods(self, seconds: float, tell: Callable[[int], None]) -> list[Flood]:
        """Flood with one good message, and with rubbish."""
        good = self._poisoner.sealed(self._poisoner.batch())
        made = []
        for kind, body in (("the same message", good), ("rubbish", self._rng.randbytes(1000))):
            made.append(self._flood(kind, body, seconds))
            self._tell(tell)
        return made

    def _flood(self, kind: str, body: bytes, seconds: float) -> Flood:
        waits = _Waits(self._yard, self._clock)
        sent = 0

        def pour() -> None:
            nonlocal sent
            self._poisoner.hear()
            waits.look()
            try:
                for _ in range(_AT_ONCE):
                    self._poisoner.connection.publish(self._poisoner.topic, body)
                    sent += 1
            except RetryLaterError:
                pass  # Faster than this the flood cannot leave.

        self._yard.turn_for(seconds, pour)
        waits.is_ending, receipted = True, waits.receipted
        synced_s = self._yard.turn_until(
            lambda: waits.look() and self._yard.are_synced(), _WAIT_S, self._poisoner.hear
        )
        return Flood(
            kind=kind,
            messages=sent,
            megabytes=round(sent * len(body) / 1e6, 1),
            seconds=seconds,
            manoeuvres=waits.manoeuvres,
            receipted=receipted,
            longest_wait_s=round(waits.longest_s, 2),
            synced_s=round(synced_s, 1),
        )

    def _seconds_since(self, begun_us: int) -> float:
        return (self._clock.monotonic_us() - begun_us) / 1e6

    def _tell(self, tell: Callable[[int], None]) -> None:
        self._done += 1
        tell(self._done)


class _Waits:
    """Has each car log a manoeuvre a second, where the one before is receipted, and measures."""

    def __init__(self, yard: Yard, clock: Clock) -> None:
        self._cars, self._clock = yard.cars, clock
        self._logged_us: dict[str, int] = {}
        self._next_us = dict.fromkeys((car.name for car in yard.cars), 0)
        self.is_ending = False
        self.manoeuvres = self.receipted = 0
        self.longest_s = 0.0

    def look(self) -> bool:
        """Take note of what is receipted, and log what is due; tell that it was done."""
        now_us = self._clock.monotonic_us()
        for car in self._cars:
            logged_us = self._logged_us.get(car.name)
            if logged_us is not None:
                self.longest_s = max(self.longest_s, (now_us - logged_us) / 1e6)
                if car.waiting == 0:
                    self.receipted += 1
                    del self._logged_us[car.name]
            elif now_us >= self._next_us[car.name] and not self.is_ending:
                car.log()
                self.manoeuvres += 1
                self._logged_us[car.name] = now_us
                self._next_us[car.name] = now_us + _EACH_US
        return True


def checks(told: Report) -> list[Check]:
    """Return what decides; the last one tells whether enough was at stake."""
    figures = {
        "next message served after poison at the server": _longest(told.at_server_s),
        "next manoeuvre receipted after poison at a car": _longest(told.at_car_s),
    }
    return [
        *(
            Check(name=f"poison: {name}", value=s, unit="s", limit=NEXT_LIMIT_S, better="lower")
            for name, s in figures.items()
        ),
        *(
            Check(
                name=f"flood of {each.kind}: all other cars synced after its end",
                value=each.synced_s,
                unit="s",
                limit=FLOOD_LIMIT_S,
                better="lower",
            )
            for each in told.floods
        ),
        *none("poison", told.found.wrong),
        enough(
            "poison",
            "poisons that the server put aside",
            told.found.refused,
            len(told.at_server_s) // 3,
        ),
    ]


def _longest(measured: list[tuple[str, float]]) -> float:
    return max((seconds for _, seconds in measured), default=0.0)


def plot(told: Report, path: Path) -> None:
    """Draw the seconds to the next receipt, by kind of poison."""
    mpl.rcParams["svg.hashsalt"] = "parkfleet"
    figure = Figure(figsize=(9, 4), layout="constrained")
    axis = figure.subplots()
    for measured, mark, colour, label in (
        (told.at_server_s, ".", "#0a7d8c", "at the server"),
        (told.at_car_s, "x", "#c77d1e", "at a car"),
    ):
        seconds, kinds = [each for _, each in measured], [kind for kind, _ in measured]
        axis.plot(seconds, kinds, mark, color=colour, markersize=4, label=label)
    axis.axvline(NEXT_LIMIT_S, color="#b3387b", linewidth=1, label="limit")
    axis.set_xscale("log")
    axis.set_xlabel("seconds from the poison to the next good message's receipt")
    axis.legend(fontsize=7)
    figure.savefig(path, dpi=110)


def _text(told: Report, made: list[Check]) -> str:
    floods = "; ".join(
        f"{each.kind}, {each.messages:,} times in {each.seconds:.0f} s ({each.megabytes:.0f} MB), "
        f"{each.receipted} of {each.manoeuvres} other manoeuvres came through meanwhile, the "
        f"longest waited {each.longest_wait_s:.1f} s, and all were receipted {each.synced_s:.1f} s "
        "after it"
        for each in told.floods
    )
    said = (
        f"{len(told.at_server_s)} poisons at the server over {told.broker}, of which it put "
        f"{told.found.refused} aside (what is not proven to be the car's own is not answered), and "
        f"{len(told.at_car_s)} at cars. Floods: {floods}."
    )
    picture = "![Seconds to the next receipt, by kind of poison](poison.png)"
    return "\n\n".join([said, checks_table(made), picture])
