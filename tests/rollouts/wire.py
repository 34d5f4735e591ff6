"""A proxy between an MQTT client and its broker that counts what passes, and may cut it off.

Laws:
- every byte passes unchanged, in order; what is counted has been handed on;
- a PUBLISH is counted under its topic, with its payload's bytes; everything counts as bytes.

MQTT 3.1.1, 2.2: a fixed header (type and flags, remaining length in up to four bytes), then the
rest; of a PUBLISH the topic comes first.
"""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from tests.chaos.line import Direction, Line

_CONNECT, _PUBLISH = 1, 3
_BEFORE_CLIENT_ID = 10
"""Bytes of a CONNECT of MQTT 3.1.1 before its client id: name, level, flags, keep-alive."""


@dataclass
class Count:
    """What passed in one direction; `payload_bytes` and `messages` by topic.

    `connects` counts how often each client id asked for a connection.
    """

    bytes: int = 0
    messages: Counter[str] = field(default_factory=Counter)
    payload_bytes: Counter[str] = field(default_factory=Counter)
    connects: Counter[str] = field(default_factory=Counter)

    def on(self, part: str) -> list[str]:
        """Return the topics with `part` in them."""
        return [topic for topic in self.messages if part in topic]


class Proxy:
    """Listens on `port` and hands everything on to the broker's, until `close`.

    `up` counts what clients said, `down` what the broker said and was handed on, `lost_bytes` what
    it said and a cut swallowed. `cut` is asked with the bytes that
    a connection has brought down so far, before more are handed on; True cuts it.
    """

    def __init__(self, broker_port: int, *, cut: Callable[[int], bool] | None = None) -> None:
        """Listen from now on."""
        self.up, self.down = Count(), Count()
        self.cuts = self.lost_bytes = 0
        self._cut = cut
        # Small reads, so that a cut may fall anywhere.
        self._line = Line(broker_port, tap=self._tap, calm_bytes=2048)
        self.port = self._line.port

    def close(self) -> None:
        """Take no more connections, and end those that are open."""
        self._line.close()

    def _tap(self, direction: Direction) -> "_Counting":
        if direction == "up":
            return _Counting(self.up)
        return _Counting(self.down, self._cuts)

    def _cuts(self, passed: int, size_bytes: int) -> bool:
        if self._cut is None or not self._cut(passed):
            return False
        self.cuts += 1
        self.lost_bytes += size_bytes
        return True


class _Counting:
    """A tap that counts one direction of a connection, and cuts it where `cuts` says so."""

    def __init__(
        self, count: Count, cuts: Callable[[int, int], bool] = lambda _passed, _size: False
    ) -> None:
        self._packets, self._cuts, self._passed = Packets(count), cuts, 0

    def pass_on(self, data: bytes) -> bytes | None:
        self._passed += len(data)
        return None if self._cuts(self._passed, len(data)) else data

    def passed(self, data: bytes) -> None:
        self._packets.feed(data)


class Packets:
    """Finds the packets in a stream of bytes and counts them."""

    def __init__(self, count: Count) -> None:
        """Count into `count`."""
        self._count = count
        self._held = bytearray()

    def feed(self, data: bytes) -> None:
        """Take more of the stream."""
        self._count.bytes += len(data)
        self._held += data
        while (size := _size(self._held)) is not None and len(self._held) >= sum(size):
            header, rest = size
            if self._held[0] >> 4 == _PUBLISH:
                self._publish(self._held[0], bytes(self._held[header : header + rest]))
            if self._held[0] >> 4 == _CONNECT:
                self._connect(bytes(self._held[header : header + rest]))
            del self._held[: header + rest]

    def _connect(self, body: bytes) -> None:
        at = _BEFORE_CLIENT_ID
        length = int.from_bytes(body[at : at + 2], "big")
        self._count.connects[body[at + 2 : at + 2 + length].decode()] += 1

    def _publish(self, flags: int, body: bytes) -> None:
        length = int.from_bytes(body[:2], "big")
        topic = body[2 : 2 + length].decode()
        number = 2 if flags & 0b0110 else 0
        self._count.messages[topic] += 1
        self._count.payload_bytes[topic] += len(body) - 2 - length - number


def _size(held: bytearray) -> tuple[int, int] | None:
    """Return the bytes of the first packet's header and of its rest, None before both are here."""
    rest = 0
    for at in range(1, min(5, len(held))):
        rest |= (held[at] & 0x7F) << 7 * (at - 1)
        if not held[at] & 0x80:
            return at + 1, rest
    return None
