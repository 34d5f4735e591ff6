"""Cars, a broker and the server in virtual time, without a socket: their real rules and files.

Laws:
- agents are the device's own over real journals, the server's ingest is its own over a real
  database; what is between them is a list of messages, which the experiment delivers as it likes;
- time stands until the experiment moves it; every machine's UTC is off by as much as it is told;
- what a broker is asked to keep is kept by nobody here: a car that connects is told its wish anew.
"""

import random
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import msgspec
from sqlalchemy import update

from device.agent.effects import Effect, Publish
from device.agent.enrolment import Enrolment
from device.agent.presence import Presences
from device.agent.session import Agent
from device.agent.status import NO_BOOT
from device.home import Home
from device.journal import Journal
from device.sync_rows import Row
from fleet_server.ingest.taking import Ingest
from fleet_server.storage.database import Database
from fleet_server.storage.tables import devices
from shared.errors import RetryLaterError
from shared.messages import Desired, UploadLevel
from shared.mqtt_events import Connected, Disconnected, Received
from shared.samples import Sample
from shared.signing import SigningKey, seal
from shared.task import WALL_DISTANCE
from shared.topics import BATCH, DESIRED
from tests.chaos.cars import manoeuvres
from tests.chaos.power_databases import append
from tests.chaos.verdict import Found, judge
from tests.fleet_server.fleet import DEPLOYMENT, START_US, Fleet

SECOND_US: Final = 1_000_000
_ROUNDS: Final = 2000


@dataclass
class Time:
    """What time it is, the same for all: microseconds since the machines were started."""

    now_us: int = 0


@dataclass
class SkewedClock:
    """One machine's clock: UTC is off by `off_us`, `synced` tells whether it claims to be right."""

    time: Time
    off_us: int = 0
    synced: bool = True

    def monotonic_us(self) -> int:
        """Return the time since the start, which no jump of UTC touches."""
        return self.time.now_us

    def utc_us(self) -> int:
        """Return what the machine takes for UTC; never before 1970."""
        return max(0, START_US + self.time.now_us + self.off_us)

    def is_synced(self) -> bool:
        """Tell whether the machine claims that its clock follows a time server."""
        return self.synced

    def sleep_until_us(self, monotonic_us: int) -> None:
        """Let time pass for all."""
        self.time.now_us = max(self.time.now_us, monotonic_us)


@dataclass
class Car:
    """One car; `up` is what it handed to the broker, `down` what the broker has for it."""

    name: str
    home: Home
    key: SigningKey
    server_key: SigningKey
    clock: SkewedClock
    seed: int
    down: list[Received] = field(default_factory=list)
    up: list[tuple[str, bytes]] = field(default_factory=list)
    revision: int = 0
    logged: int = 0

    def __post_init__(self) -> None:
        """Start the agent."""
        self._rng = random.Random(f"{self.seed} {self.name}")
        self._road = manoeuvres(self.name, self._rng)
        self.start()

    def start(self) -> None:
        """Start the agent from nothing but its files."""
        self.journal = Journal.open(self.home.journal)
        # Nothing here loses power; what flushing is worth is tried in the chapter of power.
        self.journal.db.execute("PRAGMA synchronous = OFF")
        enrolment = Enrolment(
            device=self.name,
            deployment=DEPLOYMENT,
            task=WALL_DISTANCE,
            server_url="http://127.0.0.1",
            server_public_key=self.server_key.public.raw.hex(),
            broker_host="127.0.0.1",
            broker_port=1,
        )
        self.agent = Agent(
            home=self.home,
            journal=self.journal,
            enrolment=enrolment,
            key=self.key,
            presences=Presences(self.home.connections, device=self.name, boot=NO_BOOT),
            owner_level="pictures",
            clock=self.clock,
            rng=self._rng,
        )
        self._do(self.agent.start())

    def kill(self) -> None:
        """End the agent without a word, and start it again; what was on its way to it is gone."""
        self.journal.close()
        self.down.clear()
        self.start()

    @property
    def waiting(self) -> int:
        """How many rows wait in the journal."""
        return int(self.journal.one(_WAITING))

    @property
    def sent(self) -> set[tuple[str, int]]:
        """The pairs that the journal holds for stored."""
        return set(self.journal.db.execute("SELECT boot, sequence FROM samples WHERE sent = 1"))

    @property
    def rejected(self) -> int:
        """How many rows were put aside."""
        return int(self.journal.one("SELECT count(*) FROM samples WHERE sent = 2"))

    def log(self, count: int) -> None:
        """Commit so many manoeuvres, under the time that the car believes in."""
        for _ in range(count):
            append(self.journal, [self._stamped(row) for row in next(self._road)])
        self.agent.uploading.hurry()

    def _stamped(self, row: Row) -> Row:
        if not isinstance(row, Sample):
            return row
        self.logged += 1
        return msgspec.structs.replace(
            row,
            monotonic_us=self.clock.monotonic_us() + self.logged,
            utc_us=self.clock.utc_us(),
            clock_synced=self.clock.is_synced(),
        )

    def connect(self) -> None:
        """Reach the broker, which tells the wish in force."""
        if not self.agent.is_connected:
            self._do(self.agent.handle(Connected()))

    def disconnect(self) -> None:
        """Lose the broker, and what was on its way from it."""
        self.down.clear()
        self._do(self.agent.handle(Disconnected(reason="chaos")))

    def hear(self, message: Received) -> None:
        """Take a message; where the journal cannot, it is lost, as in `device.agent.shell`."""
        try:
            self._do(self.agent.handle(message))
        except RetryLaterError:
            return

    def step(self) -> None:
        """Do what is due."""
        self._do(self.agent.tick())

    def wish(self, upload: UploadLevel) -> Received:
        """Return the server's next wish for this car, signed."""
        self.revision += 1
        wish = Desired(
            device=self.name,
            epoch=1,
            revision=self.revision,
            deployment=DEPLOYMENT,
            upload=upload,
        )
        topic = DESIRED.topic(id=self.name)
        return received(topic, seal(wish, topic=topic, key=self.server_key))

    def _do(self, effects: Sequence[Effect]) -> None:
        self.up += [
            (each.topic, each.payload)
            for each in effects
            if isinstance(each, Publish) and self.agent.is_connected and BATCH.parts(each.topic)
        ]


_WAITING = """
SELECT (SELECT count(*) FROM samples WHERE sent = 0)
+ (SELECT count(*) FROM pictures WHERE sent = 0) + (SELECT count(*) FROM manoeuvres WHERE sent = 0)
"""


def received(topic: str, payload: bytes) -> Received:
    """Return a message as it arrives."""
    return Received(topic=topic, payload=payload, qos=1, retained=False, mid=1)


class Template:
    """The files of a fleet of `names` that has done nothing yet, to begin with any number of times.

    A database takes its time to make.
    """

    def __init__(self, folder: Path, names: Sequence[str]) -> None:
        """Make them in `folder`."""
        self.folder = folder / "template"
        self.names = names
        (self.folder / "server").mkdir(parents=True)
        fleet = Fleet(self.folder / "server")
        self.server_key = fleet.server_key
        self.keys = {name: fleet.add_car(name) for name in names}
        with fleet.database.write() as connection:
            connection.execute(update(devices).values(state="confirmed"))
        fleet.close()
        for name in names:
            home = Home(self.folder / name)
            home.create()
            Journal.open(home.journal).close()


class SmallWorld:
    """Cars and a server, from the files of a `template`."""

    def __init__(self, template: Template, folder: Path, *, seed: int) -> None:
        """Copy the files to `folder`, and start everything; nobody is connected."""
        shutil.copytree(template.folder, folder)
        self.folder, self.template = folder, template
        self.time = Time()
        self.server_clock = SkewedClock(self.time)
        self.server_key = template.server_key
        self.database = Database.open(folder / "server" / "server.sqlite", self.server_clock)
        self.start_server()
        self.up: list[tuple[str, bytes]] = []
        self.cars = [
            Car(
                name=name,
                home=Home(folder / name),
                key=template.keys[name],
                server_key=template.server_key,
                clock=SkewedClock(self.time),
                seed=seed,
            )
            for name in template.names
        ]

    def close(self) -> None:
        """Close everything and remove the files."""
        for car in self.cars:
            car.journal.close()
        self.database.close()
        shutil.rmtree(self.folder)

    @property
    def are_connected(self) -> bool:
        """Whether every car has reached the broker."""
        return all(car.agent.is_connected for car in self.cars)

    @property
    def waits(self) -> bool:
        """Whether something waits in a journal or at the broker."""
        return bool(self.up) or any(car.down or car.waiting for car in self.cars)

    def start_server(self) -> None:
        """Start ingest with nothing but the database."""
        self.ingest = Ingest(self.database, self.server_key, self.server_clock)

    def step(self) -> None:
        """Let every car do what is due, and hand what it says to the broker."""
        for car in self.cars:
            car.step()
        self.collect()

    def collect(self) -> None:
        """Hand what cars said to the broker."""
        for car in self.cars:
            self.up += car.up
            car.up.clear()

    def forget(self) -> None:
        """Have the broker forget everything, and every car lose its connection."""
        self.up.clear()
        for car in self.cars:
            car.disconnect()

    def serve(self, messages: Sequence[tuple[str, bytes]], *, tells: bool = True) -> None:
        """Have the server take `messages` together; `tells`: the receipts leave it."""
        for reply in self.ingest.take_all(messages):
            if reply is None or not tells:
                continue
            for car in self.cars:
                if reply.receipt.device == car.name and car.agent.is_connected:
                    car.down.append(received(reply.topic, reply.body))

    def settle(self) -> bool:
        """Deliver everything, until nothing waits; tell whether that came about."""
        for car in self.cars:
            car.connect()
            car.hear(car.wish("pictures"))
        for _ in range(_ROUNDS):
            self.time.now_us += SECOND_US
            self.step()
            messages, self.up = self.up, []
            if messages:
                self.serve(messages)
            for car in self.cars:
                arrived, car.down = car.down, []
                for each in arrived:
                    car.hear(each)
            self.collect()
            if all(car.waiting == 0 for car in self.cars):
                return True
        return False

    def stored(self) -> set[tuple[str, str, int]]:
        """Return the keys of all pairs that the server has."""
        with self.database.read() as connection:
            rows = connection.exec_driver_sql("SELECT device, boot, sequence FROM samples")
            return {(device, boot, sequence) for device, boot, sequence in rows}

    def judge(self) -> Found:
        """Compare what the journals committed with what the server has."""
        journals = {car.name: car.home.journal for car in self.cars}
        return judge(journals, self.folder / "server" / "server.sqlite")
