"""A captured broker: it may publish as anybody and has kept every byte, and holds no key.

The car is the real agent over each real broker. What the server once said comes from the test with
the server's key; what the captured broker says, the test says with the server's rights at the
broker, and either made up or byte for byte from what was heard before.
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
import pytest

from device.agent import main
from device.agent.enrolment import Enrolment
from device.home import Home
from device.journal import Journal
from device.live import LiveSocket, Nudge
from shared import codec
from shared.clock import SystemClock
from shared.ids import sha256_hex
from shared.messages import (
    Batch,
    Command,
    CommandResult,
    Desired,
    Message,
    OperatorKey,
    Operators,
    Presence,
    Receipt,
    Status,
)
from shared.signing import SigningKey, open_envelope, seal, write_secret
from shared.topics import (
    BATCH,
    COMMAND,
    DESIRED,
    OPERATORS,
    PRESENCE,
    RECEIPT,
    RESULT,
    STATUS,
    Topic,
)
from tests.contracts.brokers import KINDS, SHORT_S, Broker, Client, running, secret_of, wait_for
from tests.device.agent.world import DEVICE, Fleet, SettableClock, enrolled_home
from tests.device.records import BOOT, JPEG, sample

pytestmark = pytest.mark.e2e

PAIRS = 5
FORGER = SigningKey(b"f" * 32)
OTHER_CAR = "car-2"


@dataclass
class World:
    """One car, its journal, and whoever speaks with the server's rights at its broker."""

    home: Home
    fleet: Fleet
    broker: Broker
    voice: Client
    journal: Journal
    drive: LiveSocket
    nudges: list[str] = field(default_factory=list)
    logged: int = 0

    def log(self) -> None:
        """Let drive log pairs, which the agent then sends."""
        numbers = range(self.logged, self.logged + PAIRS)
        self.journal.append(samples=[(sample(n), JPEG) for n in numbers], manoeuvres=[])
        self.logged += PAIRS

    def batches(self) -> list[bytes]:
        return [
            each.payload for each in list(self.voice.heard) if BATCH.parts(each.topic) is not None
        ]

    def next_batch(self, known: int) -> bytes:
        """Return a batch that came after the first `known` ones."""
        self.wait(lambda: len(self.batches()) > known, "a batch")
        return self.batches()[-1]

    def said(self, row: Topic) -> list[Message]:
        """Return what the car said on a topic of its own."""
        self.voice.payloads()
        return [
            codec.decode_on(row, each.payload)
            for each in list(self.voice.heard)
            if row.parts(each.topic) is not None
        ]

    def refused(self) -> int:
        """Return how many messages the car says that it refused."""
        last = self.said(STATUS)[-1]
        assert isinstance(last, Status)
        texts = [each for each in last.faults if each.startswith("messages refused")]
        return int(texts[0].rpartition(" ")[2]) if texts else 0

    def results(self) -> list[CommandResult]:
        return [each for each in self.said(RESULT) if isinstance(each, CommandResult)]

    def presence(self) -> Presence | None:
        found = [each for each in self.said(PRESENCE) if isinstance(each, Presence)]
        return found[-1] if found else None

    def heard_by_drive(self) -> list[str]:
        while (message := self.drive.receive()) is not None:
            if isinstance(message, Nudge):
                self.nudges.append(message.what)
        return self.nudges

    def publish(self, row: Topic, body: bytes, device: str = DEVICE, *, keep: bool = False) -> None:
        """Say `body` with the server's rights."""
        topic = row.topic(id=device, actor="anna")
        self.voice.connection.publish(topic, body, retained=keep)

    def sealed(
        self, row: Topic, message: Message, key: SigningKey | None = None, device: str = DEVICE
    ) -> bytes:
        """Return `message` signed for `device`'s topic, by the server unless by `key`."""
        topic = row.topic(id=device, actor="anna")
        return seal(message, topic=topic, key=key or self.fleet.key)

    def wait(self, condition: Callable[[], bool], what: str) -> None:
        def holds() -> bool:
            self.voice.payloads()
            return condition()

        wait_for(holds, what, 20.0)


@pytest.fixture(params=KINDS)
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    with running(request.param, people={DEVICE: "device"}) as broker:
        clock = SettableClock(now_us=SystemClock().utc_us())
        fleet = Fleet(root=tmp_path / "fleet", clock=clock)
        home = enrolled_home(tmp_path / "car", fleet)
        enrolment = msgspec.json.decode(home.enrolment.read_bytes(), type=Enrolment)
        here = msgspec.structs.replace(enrolment, broker_port=broker.port)
        write_secret(home.enrolment, msgspec.json.encode(here))
        write_secret(home.mqtt_secret, secret_of(DEVICE).encode())
        voice = broker.meet_server()
        for row in (BATCH, PRESENCE, STATUS, RESULT):
            voice.connection.subscribe(row.filter())
        journal = Journal.open(home.journal)
        drive = LiveSocket(home.drive_socket, home.agent_socket)
        made = World(home, fleet, broker, voice, journal, drive)
        with agent_of(home):
            made.wait(lambda: bool(made.said(STATUS)), "the car's status")
            yield made
        drive.close()
        journal.close()


class agent_of:  # noqa: N801 - read as a phrase
    """The real agent in a thread, for as long as the block lasts."""

    def __init__(self, home: Home) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=main.run, args=(home,), kwargs={"stop": self._stop.is_set}
        )

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join(20.0)


def receipt(body: bytes, device: str = DEVICE) -> Receipt:
    return Receipt(device=device, batch=sha256_hex(body), outcome="stored", new_samples=PAIRS)


def test_a_forged_or_replayed_receipt_releases_nothing(world: World) -> None:
    world.log()
    first = world.next_batch(0)
    genuine = world.sealed(RECEIPT, receipt(first))
    for forged in (
        world.sealed(RECEIPT, receipt(first), FORGER),
        world.sealed(RECEIPT, receipt(first, OTHER_CAR), device=OTHER_CAR),
        codec.encode(receipt(first)),
        genuine[:-1] + bytes([genuine[-1] ^ 1]),
    ):
        world.publish(RECEIPT, forged)
    world.wait(lambda: world.refused() == 4, "four refusals")
    assert world.journal.counts().queue_depth == PAIRS
    world.publish(RECEIPT, genuine)
    world.wait(lambda: world.journal.counts().queue_depth == 0, "the genuine receipt to count")

    known = len(world.batches())
    world.log()
    second = world.next_batch(known)
    assert sha256_hex(second) != sha256_hex(first)
    for _ in range(3):
        world.publish(RECEIPT, genuine)
    silence()
    assert world.journal.counts().queue_depth == PAIRS
    topic = BATCH.topic(id=DEVICE)
    key = SigningKey.load(world.home.signing_key).public
    opened = open_envelope(BATCH, second, topic=topic, message_type=Batch, key=key)
    assert {each.sequence for each in opened.samples} == set(range(PAIRS, 2 * PAIRS))


def test_a_forged_or_replayed_wish_changes_nothing(world: World) -> None:
    def wish(revision: int, deployment: str, device: str = DEVICE) -> Desired:
        return Desired(device=device, epoch=1, revision=revision, deployment=deployment)

    def in_force() -> tuple[int, str]:
        held = world.journal.desired()
        return (held.revision, held.deployment) if held else (0, "")

    old = world.sealed(DESIRED, wish(1, "old"))
    world.publish(DESIRED, old, keep=True)
    world.wait(lambda: in_force() == (1, "old"), "the first wish")
    world.publish(DESIRED, world.sealed(DESIRED, wish(2, "new")), keep=True)
    world.wait(lambda: in_force() == (2, "new"), "the second wish")
    for forged in (
        world.sealed(DESIRED, wish(3, "forged"), FORGER),
        world.sealed(DESIRED, wish(3, "forged", OTHER_CAR), device=OTHER_CAR),
        world.sealed(DESIRED, wish(3, "forged", OTHER_CAR)),
        codec.encode(wish(3, "forged")),
    ):
        world.publish(DESIRED, forged, keep=True)
    world.wait(lambda: world.refused() == 4, "four refusals")
    world.publish(DESIRED, old, keep=True)
    silence()
    assert in_force() == (2, "new")


def test_an_old_wish_that_the_broker_kept_does_not_count_on_the_next_connection(
    world: World,
) -> None:
    old = world.sealed(DESIRED, Desired(device=DEVICE, epoch=1, revision=1, deployment="old"))
    world.publish(
        DESIRED,
        world.sealed(DESIRED, Desired(device=DEVICE, epoch=1, revision=2, deployment="new")),
        keep=True,
    )
    world.wait(lambda: world.journal.desired() is not None, "the wish")
    world.publish(DESIRED, old, keep=True)
    # What connects anew is sent what is retained: the old wish.
    spare = world.broker.meet(DEVICE)
    spare.connection.stop()
    world.wait(lambda: connections(world) > 1, "the car to come back")
    silence()
    held = world.journal.desired()
    assert held is not None
    assert held.deployment == "new"


def connections(world: World) -> int:
    return len({each.connection for each in world.said(PRESENCE) if isinstance(each, Presence)})


def test_a_forged_or_replayed_command_is_not_obeyed(world: World) -> None:
    here = world.presence()
    assert here is not None

    def order(number: int, device: str = DEVICE, boot: str = "") -> Command:
        return Command(
            device=device,
            actor="anna",
            boot=boot or here.boot,
            connection=here.connection,
            number=number,
            verb="sync",
        )

    genuine = world.sealed(COMMAND, order(7))
    world.publish(COMMAND, genuine)
    world.wait(lambda: [each.outcome for each in world.results()] == ["done"], "the answer")
    world.publish(COMMAND, genuine)
    world.publish(COMMAND, world.sealed(COMMAND, order(8, boot=BOOT)))
    world.wait(lambda: len(world.results()) == 3, "two refusals")
    assert [each.outcome for each in world.results()[1:]] == ["refused"] * 2
    for forged in (
        world.sealed(COMMAND, order(9), FORGER),
        world.sealed(COMMAND, order(9, OTHER_CAR), device=OTHER_CAR),
        world.sealed(COMMAND, order(9, OTHER_CAR)),
        codec.encode(order(9)),
    ):
        world.publish(COMMAND, forged)
    world.wait(lambda: world.refused() == 4, "four refusals")
    silence()
    assert len(world.results()) == 3
    assert world.heard_by_drive() == []


def test_a_forged_or_replayed_list_of_operators_makes_nobody_one(world: World) -> None:
    here = world.presence()
    assert here is not None
    anna = SigningKey(b"a" * 32)

    def said(revision: int, *keys: SigningKey, by: SigningKey | None = None) -> bytes:
        named = tuple(
            OperatorKey(name="anna", public_key=each.public.raw, until_utc_us=2**52)
            for each in keys
        )
        return world.sealed(OPERATORS, Operators(revision=revision, utc_us=1, keys=named), by)

    def order(number: int, key: SigningKey) -> bytes:
        command = Command(
            device=DEVICE,
            actor="anna",
            boot=here.boot,
            connection=here.connection,
            number=number,
            verb="sync",
        )
        return world.sealed(COMMAND, command, key)

    first = said(1, anna)
    world.publish(OPERATORS, first, keep=True)
    world.publish(COMMAND, order(1, anna))
    world.wait(lambda: [each.outcome for each in world.results()] == ["done"], "the answer")
    world.publish(OPERATORS, said(9, FORGER, by=FORGER), keep=True)
    world.publish(COMMAND, order(2, FORGER))
    world.wait(lambda: world.refused() == 2, "two refusals")
    world.publish(OPERATORS, said(2), keep=True)
    world.publish(OPERATORS, first, keep=True)
    world.publish(COMMAND, order(3, anna))
    world.wait(lambda: world.refused() == 3, "the revoked operator's refusal")
    silence()
    assert len(world.results()) == 1


def test_a_command_recorded_on_one_connection_is_worth_nothing_on_the_next(world: World) -> None:
    here = world.presence()
    assert here is not None
    unseen = world.sealed(
        COMMAND,
        Command(
            device=DEVICE,
            actor="anna",
            boot=here.boot,
            connection=here.connection,
            number=1,
            verb="sync",
        ),
    )
    world.broker.meet(DEVICE).connection.stop()  # takes the car's place, which then comes back
    world.wait(lambda: connections(world) > 1, "the car to come back")
    silence()
    world.publish(COMMAND, unseen)
    world.wait(lambda: bool(world.results()), "an answer")
    assert [each.outcome for each in world.results()] == ["refused"]


def silence() -> None:
    """Give the car time to do what it must not do."""
    threading.Event().wait(2 * SHORT_S)
