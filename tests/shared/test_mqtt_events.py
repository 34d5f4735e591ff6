"""What a queue of events promises, whoever fills it."""

from shared.mqtt_events import Connected, Disconnected, EventQueue, Received


def test_without_an_event_there_is_none() -> None:
    events = EventQueue()
    assert events.get(0) is None
    assert events.get(0.001) is None


def _message(size_bytes: int) -> Received:
    return Received(topic="t", payload=bytes(size_bytes), qos=1, retained=False, mid=1)


def test_messages_that_do_not_fit_the_queue_are_counted() -> None:
    events = EventQueue()
    for _ in range(10_003):
        events.put(_message(1))
    assert events.dropped == 3


def test_a_flood_of_long_messages_holds_no_more_memory_than_the_limit() -> None:
    events = EventQueue()
    megabyte = 1024 * 1024
    for _ in range(70):
        events.put(_message(megabyte))
    assert events.dropped == 6
    while events.get(0) is not None:
        pass
    events.put(_message(megabyte))
    assert events.dropped == 6


def test_a_connection_is_told_however_many_messages_wait() -> None:
    events = EventQueue()
    for _ in range(10_003):
        events.put(_message(1))
    events.put(Disconnected(reason="gone"))
    events.put(Connected())
    told = [events.get(0) for _ in range(10_002)]
    assert told[-2:] == [Disconnected(reason="gone"), Connected()]
