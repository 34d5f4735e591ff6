"""The bridge, seen by a broker that speaks MQTT byte by byte."""

import struct
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from fleet_server.bridge import Bridge
from fleet_server.releases.online import OnlineRepository
from shared import codec, topics
from shared.messages import Message, Presence
from shared.mqtt import Address, Connection
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


@pytest.fixture
def broker(fleet: Fleet) -> Iterator[Broker]:
    listener = Listener()
    address = Address(host="127.0.0.1", port=listener.port, user="server", password="s")
    bridge = Bridge(
        Connection(address),
        database=fleet.database,
        repository=OnlineRepository.open(fleet.state, fleet.clock),
        key=fleet.server_key,
        clock=fleet.clock,
        ingest=fleet.ingest,
    )
    stop = threading.Event()
    thread = threading.Thread(target=bridge.run, args=(stop,))
    thread.start()
    peer, _ = listener.meet()
    made = Broker(peer, fleet)
    assert len(made.subscriptions(5)) == 5
    yield made
    stop.set()
    thread.join()
    listener.close()


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


def test_a_batch_that_could_not_be_stored_gets_no_receipt(broker: Broker) -> None:
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
def test_what_nobody_asked_for_ends_nothing(broker: Broker, topic: str) -> None:
    broker.send(topic, b"x", 1)
    assert broker.is_acknowledged(1)
    broker.say(topics.PRESENCE, PRESENCE, 2)
    assert broker.is_acknowledged(2)
