"""The bridge, seen by a broker that speaks MQTT byte by byte."""

import struct
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pytest

from fleet_server.cars import commanding
from fleet_server.releases.online import OnlineRepository
from fleet_server.running.bridge import SHARED_BATCHES, Bridge, Duty, Receiving
from fleet_server.running.consoles import Consoles
from fleet_server.running.herald import REPORTS, Herald
from shared import codec, topics
from shared.errors import UsageError
from shared.messages import CommandResult, Message, Presence
from shared.mqtt import Address, Connection
from shared.mqtt_events import Received
from tests.fleet_server.fleet import BOOT, Fleet, drive
from tests.shared.test_mqtt_wire import Listener, Peer

pytestmark = pytest.mark.e2e

SUBSCRIBE, PUBACK, PUBLISH = 0x82, 0x40, 0x32


@dataclass
class Broker:
    """A broker of one client, and the fleet behind that client."""

    peer: Peer
    fleet: Fleet

    def subscriptions(self, count: int) -> set[str]:
        """Return the filters of the next packets, all of which ask for one."""
        found = set()
        for _ in range(count):
            first, body = self.peer.packet()
            assert first == SUBSCRIBE
            (length,) = struct.unpack_from("!H", body, 2)
            found.add(body[4 : 4 + length].decode())
        return found

    def send(self, topic: str, payload: bytes, mid: int) -> None:
        """Send a message of QoS 1."""
        body = struct.pack("!H", len(topic)) + topic.encode() + struct.pack("!H", mid) + payload
        left, length = len(body), b""
        while left > 127:
            length, left = length + bytes([left & 127 | 128]), left >> 7
        self.peer.stream.sendall(bytes([PUBLISH]) + length + bytes([left]) + body)

    def say(self, row: topics.Topic, message: Message, mid: int) -> None:
        self.send(row.topic(id="car-1"), codec.encode(message), mid)

    def is_acknowledged(self, mid: int) -> bool:
        return self.peer.packet() == (PUBACK, struct.pack("!H", mid))

    def break_database(self) -> None:
        """Let every statement about cars fail, as a full disk would."""
        with self.fleet.database.write() as connection:
            connection.exec_driver_sql("ALTER TABLE devices RENAME TO away")

    def mend_database(self) -> None:
        with self.fleet.database.write() as connection:
            connection.exec_driver_sql("ALTER TABLE away RENAME TO devices")


@contextmanager
def serving(fleet: Fleet, duty: Duty, subscriptions: int) -> Iterator[Broker]:
    listener = Listener()
    address = Address(host="127.0.0.1", port=listener.port, user="server", password="s")
    bridge = Bridge(Connection(address), duty, fleet.clock)
    stop = threading.Event()
    thread = threading.Thread(target=bridge.run, args=(stop,))
    thread.start()
    peer, _ = listener.meet()
    made = Broker(peer, fleet)
    try:
        assert len(made.subscriptions(subscriptions)) == subscriptions
        yield made
    finally:
        stop.set()
        thread.join()
        listener.close()


def herald_of(fleet: Fleet) -> Herald:
    return Herald(
        database=fleet.database,
        repository=OnlineRepository.open(fleet.state, fleet.clock),
        consoles=Consoles(fleet.state, fleet.database, fleet.server_key, fleet.clock),
        key=fleet.server_key,
        clock=fleet.clock,
    )


@pytest.fixture
def broker(fleet: Fleet) -> Iterator[Broker]:
    """Give the broker of the control process's connection."""
    with serving(fleet, herald_of(fleet), 5) as made:
        yield made


@pytest.fixture
def batches(fleet: Fleet) -> Iterator[Broker]:
    """Give the broker of the connection that takes batches."""
    with serving(fleet, Receiving(fleet.ingest), 1) as made:
        yield made


PRESENCE = Presence(device="car-1", boot=BOOT, connection=1, online=True)


def test_what_could_not_be_stored_is_acknowledged_and_asked_for_again(broker: Broker) -> None:
    broker.break_database()
    for mid in range(1, 25):  # more than a broker's window
        broker.say(topics.PRESENCE, PRESENCE, mid)
        assert broker.is_acknowledged(mid)
    broker.mend_database()
    broker.fleet.clock.now_us += 6_000_000
    assert broker.subscriptions(2) == {topics.PRESENCE.filter(), topics.STATUS.filter()}
    broker.say(topics.PRESENCE, PRESENCE, 30)
    assert broker.is_acknowledged(30)
    car = broker.fleet.queries.device("car-1")
    assert car is not None
    assert car.online


def test_a_batch_that_could_not_be_stored_gets_no_receipt(batches: Broker) -> None:
    broker = batches
    broker.break_database()
    body = broker.fleet.sealed(drive(0))
    broker.send(topics.BATCH.topic(id="car-1"), body, 1)
    assert broker.is_acknowledged(1)
    broker.mend_database()
    assert broker.peer.is_quiet()
    broker.send(topics.BATCH.topic(id="car-1"), body, 2)
    first, receipt = broker.peer.packet()
    assert first == PUBLISH
    assert topics.RECEIPT.topic(id="car-1").encode() in receipt
    assert broker.is_acknowledged(2)


@pytest.mark.parametrize("topic", ["fleet/v1/device/CAR/batch", "other", "releases/meta"])
@pytest.mark.parametrize("duty", ["broker", "batches"])
def test_what_nobody_asked_for_ends_nothing(
    duty: str, topic: str, request: pytest.FixtureRequest
) -> None:
    broker: Broker = request.getfixturevalue(duty)
    broker.send(topic, b"x", 1)
    assert broker.is_acknowledged(1)
    broker.say(topics.PRESENCE, PRESENCE, 2)
    assert broker.is_acknowledged(2)


def test_batches_that_wait_together_are_answered_one_by_one(batches: Broker) -> None:
    for manoeuvre in range(3):
        body = batches.fleet.sealed(drive(manoeuvre))
        batches.send(topics.BATCH.topic(id="car-1"), body, manoeuvre + 1)
    kinds = Counter(batches.peer.packet()[0] for _ in range(6))
    assert kinds == {PUBLISH: 3, PUBACK: 3}


@pytest.mark.parametrize("answer", ["done", "failed"])
def test_an_order_goes_out_once_and_its_answer_is_noted(broker: Broker, answer: str) -> None:
    broker.say(topics.PRESENCE, PRESENCE, 1)
    assert broker.is_acknowledged(1)
    fleet = broker.fleet
    with fleet.database.write() as connection:
        number = commanding.order(
            connection,
            device="car-1",
            actor="anna",
            verb="sync",
            arguments={},
            reason="to see it arrive",
            utc_us=fleet.clock.utc_us(),
        )
    fleet.clock.now_us += 400_000
    first, body = broker.peer.packet()
    assert (first, topics.COMMAND.topic(id="car-1", actor="anna").encode() in body) == (
        PUBLISH,
        True,
    )
    fleet.clock.now_us += 400_000
    assert broker.peer.is_quiet()
    result = CommandResult(device="car-1", actor="anna", number=number, outcome=answer)  # type: ignore[arg-type]  # one of two
    broker.send(topics.RESULT.topic(id="car-1", actor="anna"), codec.encode(result), 2)
    assert broker.is_acknowledged(2)
    with fleet.database.read() as connection:
        view = commanding.find(connection, number)
    assert view is not None
    assert view.state == answer


def test_the_answer_of_another_car_changes_nothing(broker: Broker) -> None:
    result = CommandResult(device="car-2", actor="anna", number=1, outcome="done")
    broker.send(topics.RESULT.topic(id="car-1", actor="anna"), codec.encode(result), 1)
    assert broker.is_acknowledged(1)


def refuse(broker: Broker) -> None:
    """Answer the first subscription as a broker that does not allow it (MQTT 3.1.1, 3.9.3)."""
    broker.peer.stream.sendall(bytes([0x90, 3, 0, 1, 0x80]))


def test_reports_beyond_what_a_car_may_make_are_not_looked_at_and_others_are(fleet: Fleet) -> None:
    fleet.add_car("car-2")
    herald = herald_of(fleet)

    def say(device: str, body: bytes) -> None:
        topic = topics.PRESENCE.topic(id=device)
        herald.take([Received(topic=topic, payload=body, qos=1, retained=False, mid=1)])

    def is_online(device: str) -> bool:
        car = fleet.queries.device(device)
        return car is not None and car.online

    def present(device: str) -> bytes:
        return codec.encode(Presence(device=device, boot=BOOT, connection=1, online=True))

    for _ in range(REPORTS.rows):
        say("car-1", b"flood")
    for device in ("car-1", "car-2"):
        say(device, present(device))
    assert (is_online("car-1"), is_online("car-2")) == (False, True)
    fleet.clock.now_us += 1_000_000
    say("car-1", present("car-1"))
    assert is_online("car-1")


def test_a_broker_that_shares_nothing_gives_all_batches_to_the_first_ingest(fleet: Fleet) -> None:
    with serving(fleet, Receiving(fleet.ingest, number=1), 1) as broker:
        refuse(broker)
        assert broker.subscriptions(1) == {topics.BATCH.filter()}


def test_a_second_ingest_says_that_the_broker_shares_nothing(fleet: Fleet) -> None:
    with pytest.raises(UsageError, match="run one with it"):
        Receiving(fleet.ingest, number=2).refused(SHARED_BATCHES)
    assert [each.topic_filter for each in Receiving(fleet.ingest, number=2).subscriptions()] == [
        f"$share/ingest/{topics.BATCH.filter()}"
    ]
