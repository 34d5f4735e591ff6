"""A car's home, its fleet's release repository and a settable clock, for the tests of the agent."""

import random
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from device.agent.effects import Effect, Publish
from device.agent.enrolment import Enrolment
from device.agent.presence import Presences
from device.agent.session import Agent
from device.agent.status import NO_BOOT
from device.home import Home
from device.journal import Journal
from fleet_server.releases.online import OnlineRepository
from fleet_server.releases.setup import initialise
from shared import codec
from shared.ids import sha256_hex
from shared.manifest import Manifest
from shared.messages import Desired, Message, ReleaseMetadata, UploadLevel
from shared.mqtt_events import Received
from shared.releases import split, target_path
from shared.signing import SigningKey, seal, write_secret
from shared.task import WALL_DISTANCE
from shared.topics import DESIRED, RELEASE_METADATA, RELEASE_TARGET, Topic
from tests.device.releases import manifest
from trainer.worker.sign import add_release, load_signer

DEVICE = "car-1"
MODEL = bytes(range(256)) * 70  # three pieces
SECOND = 1_000_000
DAY = 86_400 * SECOND
START_UTC_US = 1_790_000_000 * SECOND


@dataclass
class SettableClock:
    """A clock that stands where it was put."""

    now_us: int = START_UTC_US
    synced: bool = False

    def monotonic_us(self) -> int:
        return self.now_us

    def utc_us(self) -> int:
        return self.now_us

    def is_synced(self) -> bool:
        return self.synced

    def sleep_until_us(self, monotonic_us: int) -> None:
        self.now_us = max(self.now_us, monotonic_us)


@dataclass
class Fleet:
    """The server's side: its key and its release repository."""

    root: Path
    clock: SettableClock
    key: SigningKey = field(default_factory=lambda: SigningKey(b"s" * 32))

    def __post_init__(self) -> None:
        if not self.root.exists():
            initialise(
                owner_dir=self.root / "owner",
                server_state=self.root / "server",
                trainer_dir=self.root / "trainer",
                trainer_name="trainer-1",
                task=WALL_DISTANCE.name,
                clock=self.clock,
            )
        self.repository = OnlineRepository.open(self.root / "server", self.clock)

    def release(
        self, model: bytes = MODEL, *, release_seq: int = 1, made: Manifest | None = None
    ) -> str:
        """Release `model`; return the target's path."""
        files = self.repository.metadata_files()
        current = max(
            (name for name in files if name.endswith(".trainer-1.json")),
            key=lambda name: int(name.split(".")[0]),
        )
        made = made or manifest(model, release_seq=release_seq)
        signer = load_signer(self.root / "trainer" / "keys" / "release.key")
        role = add_release(files[current], signer, made, model, utc_us=self.clock.utc_us())
        self.repository.accept(role="trainer-1", role_metadata=role, model=model)
        return target_path(made.task.name, made.deployment, made.sha256)

    def metadata(self) -> ReleaseMetadata:
        return ReleaseMetadata(files=self.repository.metadata_files())


def enrolled_home(root: Path, fleet: Fleet) -> Home:
    """Return a home folder as enrolment leaves it behind."""
    home = Home(root)
    home.create()
    home.signing_key.parent.mkdir()
    home.tuf_root.parent.mkdir()
    write_secret(home.signing_key, b"c" * 32)
    write_secret(home.mqtt_secret, b"0" * 64)
    write_secret(home.tuf_root, fleet.repository.root())
    enrolment = Enrolment(
        device=DEVICE,
        deployment="beige",
        task=WALL_DISTANCE,
        server_url="http://127.0.0.1:8080",
        server_public_key=fleet.key.public.raw.hex(),
        broker_host="127.0.0.1",
        broker_port=1883,
    )
    write_secret(home.enrolment, msgspec.json.encode(enrolment))
    return home


@dataclass
class Car:
    """An agent's rules over a real journal, without sockets."""

    home: Home
    fleet: Fleet
    clock: SettableClock
    owner_level: UploadLevel = "pictures"

    def __post_init__(self) -> None:
        self.journal = Journal.open(self.home.journal)
        self.start()

    def start(self) -> list[Effect]:
        """Start the agent, as after a kill: from nothing but the files."""
        enrolment = msgspec.json.decode(self.home.enrolment.read_bytes(), type=Enrolment)
        drive = self.journal.drive_state()
        self.presences = Presences(
            self.home.connections, device=DEVICE, boot=drive.boot if drive else NO_BOOT
        )
        self.agent = Agent(
            home=self.home,
            journal=self.journal,
            enrolment=enrolment,
            key=SigningKey.load(self.home.signing_key),
            presences=self.presences,
            owner_level=self.owner_level,
            clock=self.clock,
            rng=random.Random(1),
        )
        return self.agent.start()

    def hear(
        self, row: Topic, message: Message, *, retained: bool = False, **parts: str | int
    ) -> list[Effect]:
        """Return what the agent does about a message of the server."""
        return self.agent.handle(received(row, message, self.fleet, retained=retained, **parts))

    def wish(self, target: str | None, *, revision: int = 1, **changes: object) -> list[Effect]:
        wish = Desired(device=DEVICE, epoch=1, revision=revision, deployment="beige", target=target)
        return self.hear(DESIRED, msgspec.structs.replace(wish, **changes), id=DEVICE)

    def pieces(self, model: bytes = MODEL) -> list[Received]:
        return [
            Received(
                topic=RELEASE_TARGET.topic(sha256=sha256_hex(model), n=number),
                payload=piece,
                qos=1,
                retained=True,
                mid=number + 1,
            )
            for number, piece in enumerate(split(model))
        ]

    def metadata(self) -> list[Effect]:
        return self.hear(RELEASE_METADATA, self.fleet.metadata())


def received(
    row: Topic, message: Message, fleet: Fleet, *, retained: bool = False, **parts: str | int
) -> Received:
    """Return `message` as it arrives, signed by the server where the topic asks for it."""
    topic = row.topic(**parts)
    payload = seal(message, topic=topic, key=fleet.key) if row.signed else codec.encode(message)
    return Received(topic=topic, payload=payload, qos=row.qos, retained=retained, mid=1)


def published(effects: list[Effect], row: Topic) -> list[Publish]:
    """Return what was published on the topic of `row`."""
    return [e for e in effects if isinstance(e, Publish) and row.parts(e.topic) is not None]
