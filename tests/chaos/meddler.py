"""A tap that meddles with MQTT's messages: some pass twice, some later than others, some again.

Laws:
- no message is altered and none is kept for good: what is held back passes after the next ones, or
  before the next packet that is no message;
- what passes again, long after, is the same packet: its sender hears a second acknowledgement of a
  number that may be in use again, as it may from a broker that repeats what it says;
- packets are found as MQTT 3.1.1, 2.2 has them: type and flags, remaining length, the rest.
"""

import random
from collections import Counter, deque
from collections.abc import Sequence
from typing import Final

_PUBLISH: Final = 3
_DUPLICATE: Final = 0x08
_TOPIC_BYTES: Final = 100
_SHARE: Final = 0.2
_MOST_HELD: Final = 3
_REMEMBERED: Final = 50


class Meddler:
    """Meddles with one direction of one connection; what it did is counted in `did`."""

    def __init__(self, rng: random.Random, did: Counter[str], parts: Sequence[bytes]) -> None:
        """Meddle with messages in whose topic one of `parts` stands."""
        self._rng, self._did, self._parts = rng, did, parts
        self._unread = b""
        self._held: list[bytes] = []
        self._past: deque[bytes] = deque(maxlen=_REMEMBERED)

    def pass_on(self, data: bytes) -> bytes:
        """Return whole packets, meddled with."""
        self._unread += data
        out: list[bytes] = []
        while (size := packet_bytes(self._unread)) and size <= len(self._unread):
            packet, self._unread = self._unread[:size], self._unread[size:]
            out += self._meddled(packet)
        return b"".join(out)

    def passed(self, data: bytes) -> None:
        """Hear nothing."""

    def _meddled(self, packet: bytes) -> list[bytes]:
        is_message = packet[0] >> 4 == _PUBLISH
        if not is_message or not any(part in packet[:_TOPIC_BYTES] for part in self._parts):
            return [*self._released(), packet]
        self._did["messages"] += 1
        self._past.append(packet)
        fate = self._rng.random()
        if fate < _SHARE and len(self._held) < _MOST_HELD:
            self._did["reordered"] += 1
            self._held.append(packet)
            return []
        found = [packet, *self._released()]
        if fate > 1.0 - _SHARE:
            self._did["doubled"] += 1
            found.append(bytes([packet[0] | _DUPLICATE]) + packet[1:])
        elif fate > 1.0 - 2 * _SHARE:
            self._did["late again"] += 1
            found.append(self._rng.choice(self._past))
        return found

    def _released(self) -> list[bytes]:
        held, self._held = self._held[::-1], []
        return held


def packet_bytes(data: bytes) -> int:
    """Return the size of the packet that `data` begins with, 0 before that can be told."""
    rest = 0
    for at in range(1, min(5, len(data))):
        rest |= (data[at] & 0x7F) << 7 * (at - 1)
        if not data[at] & 0x80:
            return at + 1 + rest
    return 0
