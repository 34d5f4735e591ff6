"""The cheap clients speak MQTT 3.1.1: what is packed is taken apart again, however it is cut."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.benchmarks.bare_mqtt import (
    Client,
    Message,
    Packet,
    connect,
    message,
    packed,
    publish,
    taken,
)
from tests.rollouts.wire import Count, Packets

PACKETS = st.builds(
    Packet,
    kind=st.integers(1, 15),
    flags=st.integers(0, 15),
    body=st.binary(max_size=40) | st.sampled_from([127, 128, 16_383, 16_384]).map(bytes),
)


@settings(deadline=None)
@given(st.lists(PACKETS, max_size=5), st.integers(1, 9_000))
def test_packets_survive_any_cut(packets: list[Packet], step: int) -> None:
    data = b"".join(packed(each) for each in packets)
    held, found = bytearray(), []
    for at in range(0, len(data), step):
        held += data[at : at + step]
        found += list(taken(held))
    assert found == packets
    assert held == b""


@settings(deadline=None)
@given(st.text(max_size=40), st.binary(max_size=40), st.integers(0, 0xFFFF), st.booleans())
def test_a_publish_says_what_was_said(
    topic: str,
    payload: bytes,
    packet_id: int,
    retained: bool,
) -> None:
    data = bytearray(publish(topic, payload, packet_id=packet_id, retained=retained))
    (packet,) = taken(data)
    assert message(packet) == Message(topic=topic, payload=payload, packet_id=packet_id)
    assert bool(packet.flags & 1) == retained


def test_another_reader_of_mqtt_counts_the_same() -> None:
    count = Count()
    Packets(count).feed(connect("car-1", will=("gone", b"x")) + publish("t", b"1234", packet_id=7))
    assert count.connects == {"car-1": 1}
    assert count.payload_bytes == {"t": 4}


def test_a_message_is_acknowledged_after_it_was_heard() -> None:
    heard: list[bytes] = []
    client = Client("c", hears=lambda _client, said: heard.append(said.payload))
    client.feed(publish("t", b"news", packet_id=300))
    assert heard == [b"news"]
    assert bytes(client.out) == b"\x40\x02\x01\x2c"


def test_what_the_broker_has_not_answered_is_counted() -> None:
    client = Client("c")
    client.subscribe("a/#")
    client.publish("a", b"")
    assert client.unanswered == 2
    client.feed(b"\x90\x03\x00\x01\x01" + b"\x40\x02\x00\x02")
    assert client.unanswered == 0


@pytest.mark.parametrize("said", [b"\x20\x02\x00\x05", b"\xf0\x00", b"\x90\x03\x00\x01\x80"])
def test_a_refusal_or_rubbish_ends_the_run(said: bytes) -> None:
    with pytest.raises(ConnectionError):
        Client("c").feed(said)
