"""The laws of rights, on every broker: ours, and Debian's mosquitto as we configure it.

What may be said and heard is read from the topic table for every pattern and every actor, and
compared with what arrives.
"""

import socket
import time
from collections.abc import Iterator

import pytest

from fleet_server.broker import users
from shared import topics
from shared.mqtt import Will
from shared.topics import Role, Topic
from tests.contracts.brokers import KINDS, SHORT_S, Broker, Client, Kind, running, wait_for

pytestmark = [pytest.mark.e2e, pytest.mark.long]

ACTORS: dict[str, Role] = {
    "car-1": "device",
    "car-2": "device",
    "server": "server",
    "server-control": "server",
    "anna": "operator",
    "bert": "operator",
    "vera": "viewer",
}
EVERYTHING = ("#", "fleet/v1/#", "$SYS/#", f"$share/g/{topics.BATCH.filter()}")


@pytest.fixture(params=KINDS)
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    """Give each broker, with two cars, two operators and a viewer."""
    kind: Kind = request.param
    people = {name: role for name, role in ACTORS.items() if role != "server"}
    with running(kind, people=people) as made:
        yield made


def everybody(broker: Broker) -> dict[str, Client]:
    """Connect all actors."""
    return {
        name: broker.meet_server(name.removeprefix("server").lstrip("-"))
        if role == "server"
        else broker.meet(name)
        for name, role in ACTORS.items()
    }


def topics_of(row: Topic) -> list[str]:
    """Return the row's topics of both cars and all people."""
    parts = [
        {"id": car, "actor": actor, "sha256": "ab" * 32, "n": 0}
        for car in ("car-1", "car-2")
        for actor in ("anna", "bert", "vera")
    ]
    return sorted({row.topic(**each) for each in parts})


def filters_of(row: Topic) -> list[str]:
    """Return the filters somebody could try on a row: each topic, and all at once."""
    return [*topics_of(row), row.filter(), row.filter(id="car-1"), row.filter(id="car-2")]


def may_hear(name: str, topic: str) -> bool:
    return topics.may_subscribe(ACTORS[name], name, topic)


def test_what_is_said_and_heard_is_what_the_table_allows_pattern_by_pattern(
    broker: Broker,
) -> None:
    clients = everybody(broker)
    for client in clients.values():
        for topic_filter in (*EVERYTHING, *(f for row in topics.TABLE for f in filters_of(row))):
            client.connection.subscribe(topic_filter)
    time.sleep(SHORT_S)
    said = {
        (name, topic): f"{name} on {topic}".encode()
        for name in ACTORS
        for row in topics.TABLE
        for topic in topics_of(row)
    }
    for (name, topic), words in said.items():
        clients[name].connection.publish(topic, words)
    expected = {
        hearer: {
            words
            for (sayer, topic), words in said.items()
            if topics.may_publish(ACTORS[sayer], sayer, topic) and may_hear(hearer, topic)
        }
        for hearer in ACTORS
    }
    assert all(expected.values())
    for name, client in clients.items():
        wait_for(lambda n=name, c=client: c.payloads() >= expected[n], f"all for {name}")  # type: ignore[misc]  # bound per turn
    time.sleep(SHORT_S)
    for name, client in clients.items():
        assert client.payloads() - expected[name] == set(), f"{name} heard too much"
        assert not client.was_cut_off


def will_on(topic: str) -> Will:
    return Will(topic=topic, payload=b"a last word", retained=False)


def test_a_car_cannot_speak_as_another(broker: Broker) -> None:
    server, forger = broker.meet_server(), broker.meet("car-1")
    said = [row for row in topics.TABLE if "device" in row.publishers]
    for row in said:
        server.connection.subscribe(row.filter())
    time.sleep(SHORT_S)
    for row in said:
        forger.connection.publish(row.topic(id="car-2", actor="anna"), b"forged")
    forger.connection.publish(topics.STATUS.topic(id="car-1"), b"own")
    wait_for(lambda: b"own" in server.payloads(), "what the car may say")
    time.sleep(SHORT_S)
    assert b"forged" not in server.payloads()
    if broker.kind == "amqtt":
        assert len(broker.lines("publish refused user=car-1")) == len(said)


def test_a_car_cannot_listen_to_another(broker: Broker) -> None:
    server, spy = broker.meet_server(), broker.meet("car-1")
    told = [row for row in topics.TABLE if "device" in row.subscribers and "{id}" in row.pattern]
    for row in told:
        for topic_filter in (row.filter(id="car-2"), row.filter()):
            spy.connection.subscribe(topic_filter)
        spy.connection.subscribe(row.filter(id="car-1"))
    time.sleep(SHORT_S)
    for row in told:
        for car in ("car-2", "car-1"):
            server.connection.publish(row.topic(id=car, actor="anna"), car.encode())
    wait_for(lambda: b"car-1" in spy.payloads(), "what the car may hear")
    time.sleep(SHORT_S)
    assert spy.payloads() == {b"car-1"}
    if broker.kind == "amqtt":
        assert len(broker.lines("subscription refused user=car-1")) == 2 * len(told)


def test_a_car_cannot_take_over_the_client_id_of_another(broker: Broker) -> None:
    server, victim = broker.meet_server(), broker.meet("car-2")
    victim.connection.subscribe(topics.RECEIPT.filter(id="car-2"))
    thief = broker.meet("car-1", client_id="car-2")
    thief.connection.subscribe(topics.RECEIPT.filter(id="car-2"))
    time.sleep(SHORT_S)
    server.connection.publish(topics.RECEIPT.topic(id="car-2"), b"for car-2")
    wait_for(lambda: b"for car-2" in victim.payloads(), "the victim's receipt")
    time.sleep(SHORT_S)
    assert not victim.was_cut_off
    assert thief.payloads() == set()
    if broker.kind == "amqtt":
        assert not thief.is_welcome
        assert broker.lines("connection refused user='car-1' client='car-2'")


def test_a_car_cannot_speak_as_another_by_its_last_will(broker: Broker) -> None:
    server = broker.meet_server()
    server.connection.subscribe(topics.PRESENCE.filter())
    time.sleep(SHORT_S)
    forger = broker.meet("car-1", will=will_on(topics.PRESENCE.topic(id="car-2")))
    if forger.is_welcome:
        forger.vanish()
    honest = broker.meet("car-2", will=will_on(topics.PRESENCE.topic(id="car-2")))
    assert honest.is_welcome
    time.sleep(SHORT_S)
    assert server.payloads() == set()
    if broker.kind == "amqtt":
        assert broker.lines("last will: not this user's topic")
    honest.vanish()
    wait_for(lambda: server.payloads() == {b"a last word"}, "the honest last will")


def test_a_revoked_car_is_cut_off_and_does_not_come_back(broker: Broker) -> None:
    car, other = broker.meet("car-1"), broker.meet("car-2")
    users.remove_user(broker.state, "car-1")
    wait_for(lambda: car.was_cut_off, "the end of the revoked car")
    assert not broker.meet("car-1").is_welcome
    assert not other.was_cut_off
    assert broker.lines(*_refusal(broker, "car-1"))
    broker.add("car-1")
    assert broker.meet("car-1").is_welcome


@pytest.mark.parametrize(
    ("user", "secret"),
    [("", ""), ("car-1", ""), ("car-1", "wrong"), ("car-9", "x"), ("server", "x")],
)
def test_without_credentials_nobody_connects(broker: Broker, user: str, secret: str) -> None:
    before = len(broker.lines(*_refusal(broker, user)))
    assert not broker.meet(user, secret).is_welcome
    wait_for(lambda: len(broker.lines(*_refusal(broker, user))) > before, "an audit line")


def _refusal(broker: Broker, user: str) -> tuple[str]:
    """Return what a refused connection leaves in the log."""
    if broker.kind == "amqtt":
        return (f"connection refused user={user!r}",)
    return ("not authorised",)


def test_a_stranger_who_speaks_no_mqtt_disturbs_nobody(broker: Broker) -> None:
    car = broker.meet("car-1")
    with socket.create_connection(("127.0.0.1", broker.port)) as stranger:
        stranger.sendall(b"GET / HTTP/1.1\r\n\r\n")
    time.sleep(SHORT_S)
    assert car.is_welcome
    assert not car.was_cut_off


def test_the_largest_message_of_every_row_passes_and_a_larger_one_does_not(
    broker: Broker,
) -> None:
    server, car = broker.meet_server(), broker.meet("car-1")
    car.connection.subscribe(topics.RELEASE_METADATA.filter())
    server.connection.subscribe(topics.BATCH.filter())
    time.sleep(SHORT_S)
    largest = bytes(topics.RELEASE_METADATA.limit_bytes)
    batch = bytes(topics.BATCH.limit_bytes)
    server.connection.publish(topics.RELEASE_METADATA.topic(), largest, retained=True)
    car.connection.publish(topics.BATCH.topic(id="car-1"), batch)
    wait_for(lambda: largest in car.payloads(), "the metadata")
    wait_for(lambda: batch in server.payloads(), "the batch")
    late = broker.meet("car-2")
    late.connection.subscribe(topics.RELEASE_METADATA.filter())
    wait_for(lambda: largest in late.payloads(), "what is retained")
    server.connection.publish(topics.RELEASE_METADATA.topic(), largest + b"x")
    time.sleep(SHORT_S)
    assert largest + b"x" not in car.payloads()
    assert broker.meet("car-2").is_welcome


def test_batches_are_shared_by_mosquitto_and_refused_by_ours(broker: Broker) -> None:
    shared = f"$share/ingest/{topics.BATCH.filter()}"
    takers = [broker.meet_server(f"ingest-{number}") for number in (1, 2)]
    for taker in takers:
        taker.connection.subscribe(shared)
    time.sleep(SHORT_S)
    car = broker.meet("car-1")
    sent = {str(number).encode() for number in range(20)}
    for body in sent:
        car.connection.publish(topics.BATCH.topic(id="car-1"), body)
    if broker.kind == "amqtt":
        wait_for(lambda: len(broker.lines("subscription refused user=server-ingest")) == 2, "lines")
        assert {taker.connection.refused_filters() for taker in takers} == {(shared,)}
        return
    wait_for(lambda: set.union(*(t.payloads() for t in takers)) == sent, "all batches")
    time.sleep(SHORT_S)
    first, second = (taker.payloads() for taker in takers)
    assert not first & second
    assert first
    assert second
