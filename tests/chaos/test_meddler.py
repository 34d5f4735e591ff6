"""A meddler holds nothing back for good, alters nothing, and leaves what is no message alone."""

import random
from collections import Counter

from tests.chaos.meddler import Meddler, packet_bytes

PING = bytes([0xC0, 0])


def message(number: int, topic: bytes = b"a/batch") -> bytes:
    """Return a PUBLISH of QoS 1 with that packet number."""
    body = len(topic).to_bytes(2, "big") + topic + number.to_bytes(2, "big") + b"x" * 200
    size = len(body)
    return bytes([0x32, size & 0x7F | 0x80, size >> 7]) + body


def packets(stream: bytes) -> list[bytes]:
    """Return the packets of a stream, the mark of a repeat taken off."""
    found = []
    while stream:
        size = packet_bytes(stream)
        found.append(bytes([stream[0] & ~0x08]) + stream[1:size])
        stream = stream[size:]
    return found


def test_every_message_passes_at_least_once_and_some_twice_later_or_in_another_order() -> None:
    did = Counter[str]()
    meddler = Meddler(random.Random(5), did, [b"/batch"])
    said = [message(number) for number in range(300)]
    stream = b"".join(said) + PING
    # However the stream is cut.
    passed = b"".join(meddler.pass_on(stream[at : at + 97]) for at in range(0, len(stream), 97))
    *heard, last = packets(passed)
    assert last == PING
    assert set(heard) == set(said)
    assert len(heard) == len(said) + did["doubled"] + did["late again"]
    assert min(did["doubled"], did["late again"], did["reordered"]) > 30
    assert [each for each in heard if heard.count(each) == 1] != sorted(set(heard), key=said.index)


def test_other_topics_and_packets_are_left_alone() -> None:
    meddler = Meddler(random.Random(5), Counter(), [b"/batch"])
    stream = b"".join([message(number, b"a/status") for number in range(50)] + [PING])
    assert meddler.pass_on(stream) == stream
