"""What a connection promises before there is one. On the wire: `test_mqtt_wire`."""

from dataclasses import replace
from pathlib import Path

import pytest

from shared.errors import RetryLaterError, UsageError
from shared.mqtt import Address, Connection
from shared.mqtt_events import Connected, Disconnected, Event, Received

ADDRESS = Address(host="127.0.0.1", port=1, user="car-1", password="the secret")


def test_an_address_shows_no_secret() -> None:
    assert repr(ADDRESS) == str(ADDRESS) == "Address(car-1@127.0.0.1:1)"


def test_without_a_connection_nothing_is_queued() -> None:
    connection = Connection(ADDRESS)
    with pytest.raises(RetryLaterError, match=r"not connected to 127\.0\.0\.1:1"):
        connection.publish("fleet/v1/device/car-1/presence", b"")


def test_events_come_in_order_and_tell_whether_we_are_connected() -> None:
    connection = Connection(ADDRESS)
    message = Received(topic="t", payload=b"p", qos=0, retained=False, mid=0)
    events: list[Event] = [Connected(), message, Disconnected(reason="gone")]
    for event in events:
        connection._events.put(event)
    told = [(connection.next_event(0), connection.connected) for _ in events]
    assert told == [(events[0], True), (events[1], True), (events[2], False)]


@pytest.mark.parametrize(
    ("body", "said"),
    [(None, "cannot read .*ca.pem: No such file"), ("no certificate", "ca.pem: no certificate")],
)
def test_an_authority_that_is_none_is_named_before_anything_is_connected(
    tmp_path: Path, body: str | None, said: str
) -> None:
    file = tmp_path / "ca.pem"
    if body is not None:
        file.write_text(body)
    with pytest.raises(UsageError, match=said):
        Connection(replace(ADDRESS, ca_file=str(file)))
