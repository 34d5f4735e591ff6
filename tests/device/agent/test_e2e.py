"""The agent over a real broker, with a server that the test plays: sync, update, presence, stop."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from device.agent import main
from device.agent.enrolment import Enrolment
from device.home import Home
from device.journal import Journal
from device.live import LiveSocket, Nudge
from fleet_server.broker import users
from shared import codec
from shared.clock import SystemClock
from shared.errors import RetryLaterError, UsageError
from shared.ids import sha256_hex
from shared.messages import Batch, Chunk, Command, Desired, Presence, Receipt, Status, UpdateEvent
from shared.mqtt_events import Received
from shared.releases import split
from shared.signing import SigningKey, open_envelope, seal, write_secret
from shared.topics import (
    BATCH,
    COMMAND,
    DESIRED,
    PRESENCE,
    RECEIPT,
    RELEASE_METADATA,
    RELEASE_TARGET,
    STATUS,
    UPDATE,
)
from tests.device.agent.world import DEVICE, Fleet, SettableClock, enrolled_home
from tests.device.fakes import DATA, TINY
from tests.device.records import JPEG, manoeuvre_end, sample
from tests.fleet_server.broker.conftest import Client, RunningBroker
from tests.fleet_server.broker.conftest import broker as broker_fixture

pytestmark = pytest.mark.e2e

broker = broker_fixture
PAIRS = 150
WAIT_S = 20.0


class Server:
    """A fleet server, as far as one car needs it."""

    def __init__(self, client: Client, fleet: Fleet, car_key: SigningKey) -> None:
        self.client = client
        self.fleet = fleet
        self.car_key = car_key.public
        self.stored: dict[tuple[str, str, int], int] = {}
        self.batches: set[str] = set()
        self.presence: Presence | None = None
        self.status: Status | None = None
        self.steps: list[UpdateEvent] = []
        for row in (BATCH, PRESENCE, STATUS, UPDATE):
            client.connection.subscribe(row.filter())

    def serve_until(self, holds: Callable[[], bool]) -> None:
        clock = SystemClock()
        deadline_us = clock.monotonic_us() + round(WAIT_S * 1_000_000)
        while not holds():
            assert clock.monotonic_us() < deadline_us, "the agent took too long"
            message = self.client.next_message(0.1)
            if message is not None:
                self.take(message)

    def take(self, message: Received) -> None:
        if BATCH.parts(message.topic):
            self.take_batch(message)
        elif PRESENCE.parts(message.topic):
            self.presence = codec.decode(Presence, message.payload, limit_bytes=1024)
        elif STATUS.parts(message.topic):
            self.status = codec.decode(Status, message.payload, limit_bytes=8192)
        else:
            self.steps.append(codec.decode(UpdateEvent, message.payload, limit_bytes=8192))

    def take_batch(self, message: Received) -> None:
        batch = open_envelope(
            BATCH, message.payload, topic=message.topic, message_type=Batch, key=self.car_key
        )
        digest = sha256_hex(message.payload)
        known = digest in self.batches
        self.batches.add(digest)
        keys = [("sample", s.boot, s.sequence) for s in batch.samples]
        keys += [("picture", p.boot, p.sequence) for p in batch.pictures]
        keys += [("manoeuvre", m.boot, m.manoeuvre) for m in batch.manoeuvres]
        for key in keys:
            self.stored[key] = 1
        outcome = {"device": DEVICE, "batch": digest, "outcome": "duplicate" if known else "stored"}
        receipt = msgspec.convert(outcome, Receipt)
        topic = RECEIPT.topic(id=DEVICE)
        payload = seal(receipt, topic=topic, key=self.fleet.key)
        self.client.connection.publish(topic, payload)

    def wish(self, target: str | None, revision: int) -> None:
        wish = Desired(device=DEVICE, epoch=1, revision=revision, deployment="beige", target=target)
        topic = DESIRED.topic(id=DEVICE)
        payload = seal(wish, topic=topic, key=self.fleet.key)
        self.client.connection.publish(topic, payload, retained=True)

    def publish_release(self, model: bytes) -> None:
        publish = self.client.connection.publish
        for number, piece in enumerate(split(model)):
            topic = RELEASE_TARGET.topic(sha256=sha256_hex(model), n=number)
            publish(topic, codec.encode(Chunk(data=piece)), retained=True)
        metadata = codec.encode(self.fleet.metadata())
        publish(RELEASE_METADATA.topic(), metadata, retained=True)


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    """Return a fleet of today: the agent under test lives by the machine's own clock."""
    return Fleet(root=tmp_path / "fleet", clock=SettableClock(now_us=SystemClock().utc_us()))


@pytest.fixture
def home(tmp_path: Path, fleet: Fleet, broker: RunningBroker) -> Home:
    made = enrolled_home(tmp_path / "car", fleet)
    enrolment = msgspec.json.decode(made.enrolment.read_bytes(), type=Enrolment)
    here = msgspec.structs.replace(enrolment, broker_port=broker.port)
    write_secret(made.enrolment, msgspec.json.encode(here))
    digest = sha256_hex(made.mqtt_secret.read_bytes())
    users.add_user(broker.state_dir, DEVICE, role="device", secret_sha256=digest)
    return made


@pytest.fixture
def server(home: Home, fleet: Fleet, broker: RunningBroker) -> Server:
    return Server(broker.server(), fleet, SigningKey.load(home.signing_key))


class Running:
    """The agent's loop in a thread."""

    def __init__(self, home: Home) -> None:
        self._stop = threading.Event()
        self._thread = threading.Thread(
            target=main.run, args=(home,), kwargs={"stop": self._stop.is_set}
        )
        self._thread.start()

    def end(self) -> None:
        self._stop.set()
        self._thread.join(WAIT_S)
        assert not self._thread.is_alive()


@pytest.fixture
def agent(home: Home) -> Iterator[Running]:
    running = Running(home)
    yield running
    running.end()


def log_pairs(home: Home) -> None:
    journal = Journal.open(home.journal)
    journal.append(
        samples=[(sample(n), JPEG * 200) for n in range(PAIRS)], manoeuvres=[manoeuvre_end()]
    )
    journal.close()


def test_a_car_syncs_updates_obeys_and_says_good_bye(
    home: Home, fleet: Fleet, server: Server, agent: Running
) -> None:
    drive = LiveSocket(home.drive_socket, home.agent_socket)
    nudges: list[str] = []

    def heard(what: str) -> bool:
        while (message := drive.receive()) is not None:
            if isinstance(message, Nudge):
                nudges.append(message.what)
        return what in nudges

    server.serve_until(lambda: server.presence is not None and server.presence.online)
    log_pairs(home)
    server.serve_until(lambda: len(server.stored) == 2 * PAIRS + 1)
    journal = Journal.open(home.journal)
    server.serve_until(lambda: journal.counts().pairs_sent == PAIRS)

    model = (DATA / "tiny.tflite").read_bytes()
    target = fleet.release(model, made=TINY)
    server.wish(target, revision=1)
    server.publish_release(model)
    server.serve_until(lambda: journal.active_model() == TINY.sha256)
    server.serve_until(lambda: bool(server.steps) and server.steps[-1].state == "idle")
    server.serve_until(lambda: heard("model"))
    assert home.model(TINY.sha256).read_bytes() == model
    assert "latency_median_us" in {key for step in server.steps for key in step.evidence}

    stop = Command(
        device=DEVICE, actor="alice", boot="00000001-00000001", connection=0, number=1, verb="stop"
    )
    topic = COMMAND.topic(id=DEVICE, actor="alice")
    server.client.connection.publish(topic, seal(stop, topic=topic, key=fleet.key))
    server.serve_until(lambda: heard("stop"))

    agent.end()
    server.serve_until(lambda: server.presence is not None and not server.presence.online)
    drive.close()
    journal.close()


def test_sync_once_sends_everything_and_ends(home: Home, server: Server) -> None:
    log_pairs(home)
    done: list[main.SyncResult] = []

    def sync() -> None:
        done.append(main.sync_once(home, timeout_s=WAIT_S, stop=lambda: False))

    thread = threading.Thread(target=sync)
    thread.start()
    server.serve_until(lambda: bool(done))
    thread.join()
    assert done == [
        main.SyncResult(pairs_sent=PAIRS, pairs_rejected=0, pairs_waiting=0, is_complete=True)
    ]
    assert len(server.stored) == 2 * PAIRS + 1


def test_sync_once_without_a_server_ends_and_loses_nothing(home: Home) -> None:
    log_pairs(home)
    result = main.sync_once(home, timeout_s=1.0, stop=lambda: False)
    assert result == main.SyncResult(
        pairs_sent=0, pairs_rejected=0, pairs_waiting=PAIRS, is_complete=False
    )
    write_secret(home.mqtt_secret, b"f" * 64)
    with pytest.raises(RetryLaterError, match="no connection to the broker within 1 s: refused"):
        main.sync_once(home, timeout_s=1.0, stop=lambda: False)


def test_a_second_agent_in_the_same_home_says_so(home: Home, agent: Running) -> None:
    clock = SystemClock()
    while not home.agent_socket.exists():
        clock.sleep_until_us(clock.monotonic_us() + 10_000)
    with pytest.raises(UsageError, match="an agent runs for"):
        main.sync_once(home, timeout_s=1.0, stop=lambda: False)
    agent.end()


def test_an_agent_without_an_enrolment_says_what_to_do(tmp_path: Path) -> None:
    for root in (tmp_path / "missing", tmp_path):
        with pytest.raises(UsageError, match=r"enrol"):
            main.run(Home(root), stop=lambda: True)
