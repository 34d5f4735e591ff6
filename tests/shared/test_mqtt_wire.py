"""What a connection says on the wire, seen by a peer that speaks MQTT byte by byte."""

import socket
import struct
from collections.abc import Iterator

import pytest

from shared.errors import RetryLaterError
from shared.mqtt import Address, Connection, Will
from shared.mqtt_events import Connected, Disconnected, Event, Received

pytestmark = pytest.mark.e2e

WAIT_S = 5.0
QUIET_S = 0.2
ACCEPTED = b"\x20\x02\x00\x00"
NOT_AUTHORISED = b"\x20\x02\x00\x05"
TOPIC = "fleet/v1/device/car-1/receipt"


class Peer:
    """The broker's end of one connection."""

    def __init__(self, stream: socket.socket) -> None:
        self.stream = stream
        self.stream.settimeout(WAIT_S)

    def packet(self) -> tuple[int, bytes]:
        """Return the next packet's first byte and its body (MQTT 3.1.1, 2.2)."""
        first = self._exactly(1)[0]
        length = shift = 0
        while True:
            byte = self._exactly(1)[0]
            length |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return first, self._exactly(length)

    def is_quiet(self) -> bool:
        """Tell whether the client says nothing for a while."""
        self.stream.settimeout(QUIET_S)
        try:
            self.stream.recv(1, socket.MSG_PEEK)
        except TimeoutError:
            return True
        finally:
            self.stream.settimeout(WAIT_S)
        return False

    def publish(self, mid: int, payload: bytes) -> None:
        """Send a message of QoS 1 (MQTT 3.1.1, 3.3)."""
        body = struct.pack("!H", len(TOPIC)) + TOPIC.encode() + struct.pack("!H", mid) + payload
        self.stream.sendall(bytes([0x32, len(body)]) + body)

    def _exactly(self, length: int) -> bytes:
        found = b""
        while len(found) < length:
            more = self.stream.recv(length - len(found))
            if not more:
                raise ConnectionError("the client hung up")
            found += more
        return found


class Listener:
    """A port that a connection under test is pointed at."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.settimeout(WAIT_S)
        self._peers: list[socket.socket] = []
        self.port: int = self._socket.getsockname()[1]

    def meet(self, answer: bytes = ACCEPTED) -> tuple[Peer, bytes]:
        """Accept a connection, answer its CONNECT and return the peer and the CONNECT's body."""
        stream, _ = self._socket.accept()
        self._peers.append(stream)
        peer = Peer(stream)
        first, body = peer.packet()
        assert first == 0x10
        stream.sendall(answer)
        return peer, body

    def close(self) -> None:
        for stream in [*self._peers, self._socket]:
            stream.close()


@pytest.fixture
def listener() -> Iterator[Listener]:
    made = Listener()
    yield made
    made.close()


@pytest.fixture
def connection(listener: Listener) -> Iterator[Connection]:
    counted = iter(range(1, 100))

    def will() -> Will:
        return Will(topic="fleet/v1/device/car-1/presence", payload=b"gone %d" % next(counted))

    address = Address(host="127.0.0.1", port=listener.port, user="car-1", password="secret")
    made = Connection(address, will=will)
    made.start()
    yield made
    made.stop()


def expect(connection: Connection, kind: type[Event]) -> Event:
    event = connection.next_event(WAIT_S)
    assert isinstance(event, kind)
    return event


def test_a_message_is_acknowledged_when_its_owner_says_so_and_not_before(
    listener: Listener, connection: Connection
) -> None:
    peer, _ = listener.meet()
    expect(connection, Connected)
    peer.publish(7, b"receipt")
    message = expect(connection, Received)
    assert isinstance(message, Received)
    assert (message.topic, message.payload, message.qos) == (TOPIC, b"receipt", 1)
    assert peer.is_quiet()
    connection.acknowledge(message)
    assert peer.packet() == (0x40, struct.pack("!H", 7))


def test_a_client_is_its_user_with_a_clean_session_and_a_will(
    listener: Listener, connection: Connection
) -> None:
    _, connect = listener.meet()
    expect(connection, Connected)
    assert connect[:7] == b"\x00\x04MQTT\x04"
    clean_session, has_will, will_is_retained = 0x02, 0x04, 0x20
    assert connect[7] & clean_session
    assert connect[7] & has_will
    assert connect[7] & will_is_retained
    assert connect[10:17] == b"\x00\x05car-1"
    assert b"gone" in connect


def test_small_packets_do_not_wait_for_the_answer_to_the_last_one(
    listener: Listener, connection: Connection
) -> None:
    listener.meet()
    expect(connection, Connected)
    stream = connection._client.socket()
    assert isinstance(stream, socket.socket)
    assert stream.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_a_lost_connection_comes_back_with_a_will_asked_for_anew(
    listener: Listener, connection: Connection
) -> None:
    peer, first = listener.meet()
    expect(connection, Connected)
    peer.stream.close()
    expect(connection, Disconnected)
    with pytest.raises(RetryLaterError):
        connection.publish(TOPIC, b"")
    _, second = listener.meet()
    expect(connection, Connected)
    words = [connect[connect.index(b"gone") :][:6] for connect in (first, second)]
    assert words[0] != words[1]


def test_a_refusal_is_told_with_its_reason_and_tried_again(
    listener: Listener, connection: Connection
) -> None:
    listener.meet(NOT_AUTHORISED)
    refused = expect(connection, Disconnected)
    assert isinstance(refused, Disconnected)
    assert "authori" in refused.reason.lower()
    listener.meet()
    expect(connection, Connected)


def test_last_words_are_said_before_a_clean_end(listener: Listener, connection: Connection) -> None:
    peer, _ = listener.meet()
    expect(connection, Connected)
    connection.stop(last_words=Will(topic=TOPIC, payload=b"offline", qos=0, retained=False))
    first, body = peer.packet()
    assert first == 0x30
    assert body.endswith(b"offline")
    assert peer.packet() == (0xE0, b"")


@pytest.mark.parametrize(
    "packet",
    [
        b"\x30\x04\x00\x02\xff\xfe",  # a topic that is no UTF-8
        b"\x30\x00",  # a message without a topic
        b"\x32\x03\x00\x01t",  # a message of QoS 1 without its number
        b"\x40\x01\x00",  # an acknowledgement cut short
    ],
)
def test_no_rubbish_of_a_broker_ends_the_network_thread(
    listener: Listener, connection: Connection, packet: bytes
) -> None:
    peer, _ = listener.meet()
    expect(connection, Connected)
    peer.stream.sendall(packet)
    peer.publish(7, b"alive")
    told = connection.next_event(WAIT_S)
    if isinstance(told, Disconnected):
        peer, _ = listener.meet()
        expect(connection, Connected)
        peer.publish(7, b"alive")
        told = connection.next_event(WAIT_S)
    assert isinstance(told, Received)
    assert told.payload == b"alive"


def test_a_message_of_a_lost_connection_is_not_acknowledged_on_the_next(
    listener: Listener, connection: Connection
) -> None:
    peer, _ = listener.meet()
    expect(connection, Connected)
    peer.publish(7, b"old")
    message = expect(connection, Received)
    assert isinstance(message, Received)
    peer.stream.close()
    expect(connection, Disconnected)
    peer, _ = listener.meet()
    expect(connection, Connected)
    connection.acknowledge(message)
    assert peer.is_quiet()
