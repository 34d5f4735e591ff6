"""What a connection promises before there is one. On the wire: `test_mqtt_wire`."""

import pytest

from shared.errors import RetryLaterError
from shared.mqtt import Address, Connected, Connection, Disconnected, Event, Received

ADDRESS = Address(host="127.0.0.1", port=1, user="car-1", password="the secret")


def test_an_address_shows_no_secret() -> None:
    assert repr(ADDRESS) == str(ADDRESS) == "Address(car-1@127.0.0.1:1)"


def test_without_a_connection_nothing_is_queued() -> None:
    connection = Connection(ADDRESS)
    with pytest.raises(RetryLaterError, match=r"not connected to 127\.0\.0\.1:1"):
        connection.publish("fleet/v1/device/car-1/presence", b"")


def test_without_an_event_there_is_none() -> None:
    connection = Connection(ADDRESS)
    assert connection.next_event(0) is None
    assert connection.next_event(0.001) is None


def test_events_come_in_order_and_tell_whether_we_are_connected() -> None:
    connection = Connection(ADDRESS)
    message = Received(topic="t", payload=b"p", qos=0, retained=False, mid=0)
    events: list[Event] = [Connected(), message, Disconnected(reason="gone")]
    for event in events:
        connection._put(event)
    told = [(connection.next_event(0), connection.connected) for _ in events]
    assert told == [(events[0], True), (events[1], True), (events[2], False)]


def _message(size_bytes: int) -> Received:
    return Received(topic="t", payload=bytes(size_bytes), qos=1, retained=False, mid=1)


def test_messages_that_do_not_fit_the_queue_are_counted() -> None:
    connection = Connection(ADDRESS)
    for _ in range(10_003):
        connection._put(_message(1))
    assert connection.dropped == 3


def test_a_flood_of_long_messages_holds_no_more_memory_than_the_limit() -> None:
    connection = Connection(ADDRESS)
    megabyte = 1024 * 1024
    for _ in range(70):
        connection._put(_message(megabyte))
    assert connection.dropped == 6
    while connection.next_event(0) is not None:
        pass
    connection._put(_message(megabyte))
    assert connection.dropped == 6


def test_a_connection_is_told_however_many_messages_wait() -> None:
    connection = Connection(ADDRESS)
    for _ in range(10_003):
        connection._put(_message(1))
    connection._put(Disconnected(reason="gone"))
    connection._put(Connected())
    told = [connection.next_event(0) for _ in range(10_002)]
    assert told[-2:] == [Disconnected(reason="gone"), Connected()]
    assert connection.connected
