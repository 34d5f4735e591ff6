"""The embedded broker over real sockets, with real clients."""

import socket
import struct
import time
from pathlib import Path

import pytest

from fleet_server.broker import users
from fleet_server.broker.run import bind
from shared import topics
from shared.errors import UsageError
from shared.mqtt import Will
from shared.mqtt_events import Disconnected
from tests.fleet_server.broker.conftest import WAIT_S, RunningBroker

pytestmark = pytest.mark.e2e

SHORT_S = 0.3
ACCEPTED = b"\x20\x02\x00\x00"
REFUSED = b"\x20\x02\x00\x05"
PIECE = bytes(range(256)) * 256
DIGEST = "ab" * 32


def will_of(name: str, words: bytes = b"gone") -> Will:
    return Will(topic=topics.PRESENCE.topic(id=name), payload=words)


def raw_connect(client_id: str, user: str, secret: str, *, keepalive_s: int = 60) -> bytes:
    def text(value: str) -> bytes:
        return struct.pack("!H", len(value)) + value.encode()

    body = (
        text("MQTT")
        + bytes([4, 0xC2, 0, keepalive_s])
        + text(client_id)
        + text(user)
        + text(secret)
    )
    return bytes([0x10, len(body)]) + body


def answer_to(port: int, data: bytes) -> bytes:
    """Return what the broker says to `data` before it hangs up or falls silent."""
    with socket.create_connection(("127.0.0.1", port), timeout=WAIT_S) as peer:
        peer.sendall(data)
        return peer.recv(64)


def test_a_batch_reaches_the_server_and_its_receipt_the_car(broker: RunningBroker) -> None:
    server = broker.server()
    car = broker.car("car-1")
    server.connection.subscribe(topics.BATCH.filter())
    car.connection.subscribe(topics.RECEIPT.filter(id="car-1"))
    batch = PIECE + PIECE
    time.sleep(SHORT_S)

    car.connection.publish(topics.BATCH.topic(id="car-1"), batch)
    arrived = server.next_message()
    server.connection.publish(topics.RECEIPT.topic(id="car-1"), b"stored")
    receipt = car.next_message()

    assert arrived is not None
    assert arrived.payload == batch
    assert receipt is not None
    assert receipt.payload == b"stored"


@pytest.mark.parametrize(
    "topic",
    [
        topics.PRESENCE.topic(id="car-2"),
        topics.RECEIPT.topic(id="car-2"),
        topics.DESIRED.topic(id="car-1"),
        topics.RELEASE_METADATA.topic(),
        "fleet/v1/other",
    ],
)
def test_what_a_car_may_not_say_reaches_nobody(broker: RunningBroker, topic: str) -> None:
    server = broker.server()
    victim = broker.car("car-2")
    server.connection.subscribe(topics.PRESENCE.filter())
    for row in (topics.RECEIPT, topics.DESIRED):
        victim.connection.subscribe(row.filter(id="car-2"))
    victim.connection.subscribe(topics.RELEASE_METADATA.topic())
    car = broker.car("car-1")
    car.connection.subscribe(topics.DESIRED.filter(id="car-1"))
    time.sleep(SHORT_S)

    car.connection.publish(topic, b"forged", retained=True)

    assert victim.next_message(SHORT_S) is None
    assert server.next_message(SHORT_S) is None
    assert car.next_message(0) is None


def test_a_refused_publish_leaves_the_connection_working(broker: RunningBroker) -> None:
    server = broker.server()
    server.connection.subscribe(topics.PRESENCE.filter())
    car = broker.car("car-1")

    for _ in range(30):
        car.connection.publish(topics.PRESENCE.topic(id="car-2"), b"forged", retained=True)
    car.connection.publish(topics.PRESENCE.topic(id="car-1"), b"here", retained=True)

    arrived = server.next_message()
    assert arrived is not None
    assert arrived.payload == b"here"


def test_a_car_cannot_listen_to_another(broker: RunningBroker) -> None:
    server = broker.server()
    car = broker.car("car-1")
    car.connection.subscribe(topics.DESIRED.filter(id="car-2"))
    car.connection.subscribe(topics.DESIRED.filter())
    car.connection.subscribe("#")
    time.sleep(SHORT_S)

    server.connection.publish(topics.DESIRED.topic(id="car-2"), b"private", retained=True)

    assert car.next_message(SHORT_S) is None


def test_a_newcomer_is_not_sent_what_others_subscribed_to(broker: RunningBroker) -> None:
    server = broker.server()
    broker.car("car-1").connection.subscribe(topics.DESIRED.filter(id="car-1"))
    server.connection.publish(topics.DESIRED.topic(id="car-1"), b"private", retained=True)
    time.sleep(SHORT_S)

    newcomer = broker.car("car-2")

    assert newcomer.is_welcome
    assert newcomer.next_message(SHORT_S) is None


def test_a_wrong_secret_is_refused(broker: RunningBroker) -> None:
    broker.car("car-1")

    refused = broker.meet("car-1", "wrong")

    assert isinstance(refused.outcome, Disconnected)
    assert "Not authorized" in refused.outcome.reason


def test_a_foreign_client_id_is_refused(broker: RunningBroker) -> None:
    assert not broker.car("car-1", client_id="car-2").is_welcome
    assert not broker.server(client_id="car-1").is_welcome
    assert broker.server(part="ingest-1").is_welcome


def test_who_is_refused_takes_nothing_from_the_one_it_pretends_to_be(
    broker: RunningBroker,
) -> None:
    server = broker.server()
    victim = broker.car("car-1", will=will_of("car-1"))
    victim.connection.subscribe(topics.DESIRED.filter(id="car-1"))
    server.connection.subscribe(topics.PRESENCE.filter())
    time.sleep(SHORT_S)

    for user in ("car-1", "car-2"):
        assert answer_to(broker.port, raw_connect("car-1", user, "wrong")) == REFUSED
    server.connection.publish(topics.DESIRED.topic(id="car-1"), b"still yours")

    arrived = victim.next_message()
    assert arrived is not None
    assert arrived.payload == b"still yours"
    assert server.next_message(SHORT_S) is None


def test_a_last_will_on_a_foreign_topic_is_refused(broker: RunningBroker) -> None:
    assert not broker.car("car-1", will=will_of("car-2")).is_welcome
    assert broker.car("car-3", will=will_of("car-3")).is_welcome


def test_a_last_will_is_said_when_the_car_vanishes(broker: RunningBroker) -> None:
    server = broker.server()
    server.connection.subscribe(topics.PRESENCE.filter())
    car = broker.car("car-1", will=will_of("car-1"))

    vanish(car.connection)

    arrived = server.next_message()
    assert arrived is not None
    assert arrived.payload == b"gone"
    late = broker.server(part="late")
    late.connection.subscribe(topics.PRESENCE.filter())
    kept = late.next_message()
    assert kept is not None
    assert kept.retained


def test_a_second_connection_ends_the_first_and_keeps_working(broker: RunningBroker) -> None:
    server = broker.server()
    first = broker.car("car-1")
    with socket.create_connection(("127.0.0.1", broker.port), timeout=WAIT_S) as second:
        second.sendall(raw_connect("car-1", "car-1", users_secret("car-1")))

        assert second.recv(4) == ACCEPTED
        assert first.waits_for_the_end()
    assert server.is_welcome


def test_a_removed_user_is_cut_off_and_refused_from_then_on(broker: RunningBroker) -> None:
    car = broker.car("car-1")
    stays = broker.car("car-2")

    users.remove_user(broker.state_dir, "car-1")

    assert car.waits_for_the_end()
    assert not broker.meet("car-1", users_secret("car-1")).is_welcome
    assert stays.next_message(SHORT_S) is None
    assert stays.connection.connected or stays.is_welcome


def test_a_user_is_welcome_the_moment_it_is_entered(broker: RunningBroker) -> None:
    assert not broker.meet("car-1", users_secret("car-1")).is_welcome

    assert broker.car("car-1").is_welcome


def test_retained_pieces_of_a_model_arrive_and_can_be_deleted(broker: RunningBroker) -> None:
    server = broker.server()
    pieces = {topics.RELEASE_TARGET.topic(sha256=DIGEST, n=n): PIECE for n in range(8)}
    for topic, piece in pieces.items():
        server.connection.publish(topic, piece, retained=True)
    time.sleep(SHORT_S)
    car = broker.car("car-1")

    car.connection.subscribe(topics.RELEASE_TARGET.filter(sha256=DIGEST))
    arrived = [car.next_message() for _ in pieces]

    assert {m.topic: m.payload for m in arrived if m} == pieces
    assert all(m.retained for m in arrived if m)

    for topic in pieces:
        server.connection.publish(topic, b"", retained=True)
    time.sleep(SHORT_S)
    late = broker.car("car-2")
    late.connection.subscribe(topics.RELEASE_TARGET.filter(sha256=DIGEST))
    assert late.next_message(SHORT_S) is None


def test_the_largest_message_passes_and_a_larger_one_does_not(broker: RunningBroker) -> None:
    server = broker.server()
    car = broker.car("car-1")
    car.connection.subscribe(topics.RELEASE_METADATA.topic())
    time.sleep(SHORT_S)
    largest = bytes(topics.RELEASE_METADATA.limit_bytes)

    server.connection.publish(topics.RELEASE_METADATA.topic(), largest)
    arrived = car.next_message()
    server.connection.publish(topics.RELEASE_METADATA.topic(), largest + b"!")

    assert arrived is not None
    assert len(arrived.payload) == len(largest)
    assert car.next_message(SHORT_S) is None


@pytest.mark.parametrize(
    "bytes_sent",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\x10\xff\xff\xff\x7f",
        b"\x10\xff\xff\xff\xff\xff",
        b"\x10\x00",
        b"\x10\x02\x00\x00",
        b"\x30\x05\x00\x01a!!",
        b"\xf0\x00",
        raw_connect("x", "x", "x")[:-2] + b"\xff\xff",
        b"\x10\x10\x00\x04MQTT\x04\xff\x00\x00\x00\x00\x00\x00\x00\x00",
    ],
)
def test_bytes_that_are_no_connect_end_their_connection_only(
    broker: RunningBroker, bytes_sent: bytes
) -> None:
    with socket.create_connection(("127.0.0.1", broker.port), timeout=WAIT_S) as peer:
        peer.sendall(bytes_sent)
        peer.shutdown(socket.SHUT_WR)
        assert peer.recv(64) in {b"", b"\x20\x02\x00\x01", b"\x20\x02\x00\x04", REFUSED}

    assert broker.car("car-1").is_welcome


def test_a_packet_that_claims_more_than_the_limit_ends_the_connection_at_once(
    broker: RunningBroker,
) -> None:
    broker.car("car-1")
    with socket.create_connection(("127.0.0.1", broker.port), timeout=WAIT_S) as peer:
        peer.sendall(raw_connect("car-1", "car-1", users_secret("car-1")))
        assert peer.recv(4) == ACCEPTED
        topic = topics.BATCH.topic(id="car-1").encode()
        peer.sendall(b"\x30\xff\xff\xff\x7f" + struct.pack("!H", len(topic)) + topic)

        assert peer.recv(4) == b""


def test_a_stranger_may_not_say_much_before_saying_who_it_is(broker: RunningBroker) -> None:
    with socket.create_connection(("127.0.0.1", broker.port), timeout=WAIT_S) as peer:
        name_of_64_kib = b"\x00\x04MQTT\x04\xc2\x00\x3c\xff\xff" + bytes(9000)
        peer.sendall(b"\x10\x8d\x80\x04" + name_of_64_kib)

        bad_name_or_secret = b"\x20\x02\x00\x04"
        assert peer.recv(4) in (b"", bad_name_or_secret)
        assert peer.recv(4) == b""


def test_a_car_that_falls_silent_is_gone_after_one_and_a_half_keep_alives(
    broker: RunningBroker,
) -> None:
    broker.car("car-1")
    with socket.create_connection(("127.0.0.1", broker.port), timeout=WAIT_S) as peer:
        hello = raw_connect("car-1", "car-1", users_secret("car-1"), keepalive_s=1)
        peer.sendall(hello)
        assert peer.recv(4) == ACCEPTED
        started = time.monotonic()

        assert peer.recv(4) == b""
        assert time.monotonic() - started > 1.0


def test_a_reader_that_takes_nothing_holds_up_nobody_else(broker: RunningBroker) -> None:
    server = broker.server()
    healthy = broker.car("car-1")
    healthy.connection.subscribe(topics.RELEASE_METADATA.topic())
    broker.car("car-2")
    large = bytes(topics.RELEASE_METADATA.limit_bytes)
    with socket.create_connection(("127.0.0.1", broker.port), timeout=WAIT_S) as stuck:
        stuck.sendall(raw_connect("car-2", "car-2", users_secret("car-2")))
        assert stuck.recv(4) == ACCEPTED
        name = topics.RELEASE_METADATA.topic().encode()
        body = b"\x00\x01" + struct.pack("!H", len(name)) + name + b"\x00"
        stuck.sendall(b"\x82" + bytes([len(body)]) + body)
        time.sleep(SHORT_S)

        for _ in range(12):
            server.connection.publish(topics.RELEASE_METADATA.topic(), large)
            assert healthy.next_message() is not None


def test_a_port_in_use_is_one_line_for_the_person(broker: RunningBroker) -> None:
    with pytest.raises(UsageError, match="choose another --port"):
        bind("127.0.0.1", broker.port)


def test_an_address_of_another_machine_is_named() -> None:
    with pytest.raises(UsageError, match="cannot listen on"):
        bind("192.0.2.1", 0)


def test_the_state_folder_may_be_empty_when_the_broker_starts(
    broker: RunningBroker, tmp_path: Path
) -> None:
    assert not users.users_path(tmp_path).exists()
    assert broker.server().is_welcome


def users_secret(name: str) -> str:
    from shared.ids import sha256_hex

    return sha256_hex(name.encode())


def vanish(connection: object) -> None:
    """Close a client's socket without a word, and keep it from coming back."""
    client = connection._client  # type: ignore[attr-defined]
    client.on_pre_connect = None
    peer = client.socket()
    client.loop_stop()
    peer.shutdown(socket.SHUT_RDWR)
    peer.close()
