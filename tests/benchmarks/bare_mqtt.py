"""Thousands of MQTT clients in one thread, as cheap as they can be: to load a broker, not to serve.

Laws:
- MQTT 3.1.1 as OASIS wrote it, of which this speaks what a car needs: connect with a last will,
  publish and be published to with QoS 0 and 1, subscribe, unsubscribe;
- packets are made and read without IO, so that they are tested without a broker;
- whatever is no such packet ends the run: a benchmark over a broken connection measures nothing.

Beside `shared.mqtt`, which a thread and a queue a client make safe, and dear: ten thousand of those
would measure themselves.
"""

import resource
import selectors
import socket
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import click

from shared.clock import SystemClock

_CONNECT, _CONNACK, _PUBLISH, _PUBACK = 1, 2, 3, 4
_SUBSCRIBE, _SUBACK, _UNSUBSCRIBE, _UNSUBACK = 8, 9, 10, 11
_SPARE_FILES = 200


@dataclass(frozen=True, kw_only=True)
class Packet:
    """One control packet: its type, the flags of its first byte, and what follows."""

    kind: int
    flags: int = 0
    body: bytes = b""


@dataclass(frozen=True, kw_only=True)
class Message:
    """A PUBLISH; `packet_id` is 0 with QoS 0."""

    topic: str
    payload: bytes
    packet_id: int


def text(value: str | bytes) -> bytes:
    """Return a string or binary field: its length in two bytes, then itself (1.5.3)."""
    raw = value.encode() if isinstance(value, str) else value
    return len(raw).to_bytes(2, "big") + raw


def packed(packet: Packet) -> bytes:
    """Return the bytes of a packet: first byte, remaining length (2.2.3), body."""
    length, left = bytearray(), len(packet.body)
    while True:
        left, digit = divmod(left, 128)
        length.append(digit | (0x80 if left else 0))
        if not left:
            return bytes([packet.kind << 4 | packet.flags]) + bytes(length) + packet.body


def taken(held: bytearray) -> Iterator[Packet]:
    """Yield the whole packets at the beginning of `held`, and remove them from it."""
    while len(held) > 1:
        length, at = 0, 1
        while True:
            if at >= len(held):
                return
            length |= (held[at] & 0x7F) << 7 * (at - 1)
            at += 1
            if not held[at - 1] & 0x80:
                break
        if len(held) < at + length:
            return
        first, body = held[0], bytes(held[at : at + length])
        del held[: at + length]
        yield Packet(kind=first >> 4, flags=first & 0x0F, body=body)


def connect(client_id: str, *, will: tuple[str, bytes] | None = None) -> bytes:
    """Return a CONNECT of a clean session; `will` is published with QoS 1, retained (3.1)."""
    flags = 0x02 | (0x04 | 0x08 | 0x20 if will else 0)
    body = text("MQTT") + bytes([4, flags]) + (0).to_bytes(2, "big") + text(client_id)
    if will:
        body += text(will[0]) + text(will[1])
    return packed(Packet(kind=_CONNECT, body=body))


def publish(topic: str, payload: bytes, *, packet_id: int = 0, retained: bool = False) -> bytes:
    """Return a PUBLISH with QoS 1, or 0 where `packet_id` is 0 (3.3)."""
    flags = (0x02 if packet_id else 0) | (0x01 if retained else 0)
    number = packet_id.to_bytes(2, "big") if packet_id else b""
    return packed(Packet(kind=_PUBLISH, flags=flags, body=text(topic) + number + payload))


def message(packet: Packet) -> Message:
    """Return what a PUBLISH says."""
    end = 2 + int.from_bytes(packet.body[:2], "big")
    number = 2 if packet.flags & 0x06 else 0
    return Message(
        topic=packet.body[2:end].decode(),
        payload=packet.body[end + number :],
        packet_id=int.from_bytes(packet.body[end : end + number], "big"),
    )


@dataclass
class Client:
    """One client; `hears` is told each message, which is acknowledged after that."""

    name: str
    will: tuple[str, bytes] | None = None
    hears: Callable[["Client", Message], None] = lambda _client, _message: None
    is_connected: bool = False
    unanswered: int = 0
    """Publishes, subscriptions and the like that the broker has not acknowledged."""
    out: bytearray = field(default_factory=bytearray)
    waiting: list["Client"] = field(default_factory=list)
    """Where a client notes itself when it has something to send."""
    _in: bytearray = field(default_factory=bytearray)
    _number: int = 0

    def publish(self, topic: str, payload: bytes, *, retained: bool = False) -> None:
        """Say something, with QoS 1."""
        self.say(publish(topic, payload, packet_id=self._next(), retained=retained))

    def subscribe(self, topic_filter: str) -> None:
        """Ask for what comes under a filter, with QoS 1."""
        body = self._next().to_bytes(2, "big") + text(topic_filter) + b"\x01"
        self.say(packed(Packet(kind=_SUBSCRIBE, flags=2, body=body)))

    def unsubscribe(self, topic_filter: str) -> None:
        """Ask for no more of it."""
        body = self._next().to_bytes(2, "big") + text(topic_filter)
        self.say(packed(Packet(kind=_UNSUBSCRIBE, flags=2, body=body)))

    def say(self, data: bytes) -> None:
        """Send `data` with the next turn."""
        if not self.out:
            self.waiting.append(self)
        self.out += data

    def feed(self, data: bytes) -> None:
        """Take what came from the broker.

        Raises:
            ConnectionError: the broker refused, or said what no broker says.
        """
        self._in += data
        for packet in taken(self._in):
            if packet.kind == _PUBLISH:
                heard = message(packet)
                self.hears(self, heard)
                if heard.packet_id:
                    number = heard.packet_id.to_bytes(2, "big")
                    self.say(packed(Packet(kind=_PUBACK, body=number)))
            elif packet.kind == _CONNACK and packet.body[1:2] == b"\x00":
                self.is_connected = True
            elif packet.kind in {_PUBACK, _SUBACK, _UNSUBACK}:
                if packet.kind == _SUBACK and packet.body[2] > 1:
                    raise ConnectionError(f"{self.name}: a subscription is refused")
                self.unanswered -= 1
            else:
                raise ConnectionError(f"{self.name}: the broker said {packet}")

    def _next(self) -> int:
        self._number = self._number % 0xFFFF + 1
        self.unanswered += 1
        return self._number


class Swarm:
    """All clients of one process, in one loop."""

    def __init__(self, port: int, clients: Sequence[Client]) -> None:
        """Connect `clients` to a broker of this machine, all of them before this returns."""
        self.clients = clients
        self._port = port
        self._selector = selectors.DefaultSelector()
        self._sockets: dict[int, socket.socket] = {}
        self._waiting: list[Client] = []
        self._clock = SystemClock()
        for begin in range(0, len(clients), 200):
            some = clients[begin : begin + 200]
            for each in some:
                self._open(each)
            self.run(lambda some=some: all(each.is_connected for each in some))  # type: ignore[misc]

    def run(self, is_done: Callable[[], bool], *, within_s: float = 120.0) -> float:
        """Move bytes until `is_done`, asked after each turn; return the seconds that took.

        Raises:
            ConnectionError: a connection broke, or it took longer than `within_s`.
        """
        begun_us = self._clock.monotonic_us()
        while True:
            self._send()
            seconds = (self._clock.monotonic_us() - begun_us) / 1e6
            if is_done():
                return seconds
            if seconds > within_s:
                raise ConnectionError(f"not done after {within_s:g} s")
            for key, _ in self._selector.select(0.05):
                self._receive(key.data)

    def close(self) -> None:
        """Leave without a word: last wills are said."""
        for each in self._sockets.values():
            each.close()
        self._selector.close()

    def _open(self, client: Client) -> None:
        made = socket.create_connection(("127.0.0.1", self._port))
        made.setblocking(False)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._sockets[id(client)] = made
        self._selector.register(made, selectors.EVENT_READ, client)
        client.waiting = self._waiting
        client.say(connect(client.name, will=client.will))

    def _send(self) -> None:
        late = []
        for client in self._waiting:
            try:
                sent = self._sockets[id(client)].send(client.out)
            except BlockingIOError:
                sent = 0
            del client.out[:sent]
            if client.out:
                late.append(client)
        self._waiting[:] = late

    def _receive(self, client: Client) -> None:
        data = self._sockets[id(client)].recv(1 << 20)
        if not data:
            raise ConnectionError(f"{client.name}: the broker closed the connection")
        client.feed(data)


def room_for(wanted: int) -> int:
    """Return how many of `wanted` connections this machine's limit of open files leaves room for.

    The limit is raised as far as it may be; what is started afterwards inherits it.
    """
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    most = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard - _SPARE_FILES)
    if most < wanted:
        click.echo(f"only {most} of {wanted} connections: at most {hard} files are open", err=True)
    return most
