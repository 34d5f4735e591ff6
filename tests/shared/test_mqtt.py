"""What a connection promises before there is one. On the wire: `test_mqtt_wire`."""

import pytest

from shared.errors import RetryLaterError
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
