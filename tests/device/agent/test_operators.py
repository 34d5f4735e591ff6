"""Operators' own orders: whose key counts, since when, until when, and what takes it away."""

import shutil
from pathlib import Path

import msgspec
import pytest

from device.agent.effects import Effect
from device.agent.operators import OperatorKeys
from shared.messages import Command, CommandResult, OperatorKey, Operators
from shared.mqtt_events import Connected, Received
from shared.signing import SigningKey, seal
from shared.topics import COMMAND, OPERATORS
from tests.device.agent.test_commands import result
from tests.device.agent.world import DAY, DEVICE, START_UTC_US, Car, Fleet, SettableClock, received

ANNA = SigningKey(b"a" * 32)
BERT = SigningKey(b"b" * 32)
FORGER = SigningKey(b"f" * 32)


def key_of(name: str, key: SigningKey, until_utc_us: int = START_UTC_US + DAY) -> OperatorKey:
    return OperatorKey(name=name, public_key=key.public.raw, until_utc_us=until_utc_us)


def operators(revision: int, *keys: OperatorKey, utc_us: int = START_UTC_US) -> Operators:
    return Operators(revision=revision, utc_us=utc_us, keys=keys)


BOTH = operators(1, key_of("anna", ANNA), key_of("bert", BERT))


@pytest.fixture
def told(car: Car) -> Car:
    """Give a connected car that was told of both operators."""
    car.agent.handle(Connected())
    car.hear(OPERATORS, BOTH, retained=True)
    return car


def order(car: Car, name: str, key: SigningKey, number: int = 1, **changes: object) -> list[Effect]:
    command = Command(
        device=DEVICE,
        actor=name,
        boot=car.presences.boot,
        connection=car.presences.connection,
        number=number,
        verb="sync",
    )
    topic = COMMAND.topic(id=DEVICE, actor=name)
    body = seal(msgspec.structs.replace(command, **changes), topic=topic, key=key)
    return car.agent.handle(Received(topic=topic, payload=body, qos=1, retained=False, mid=1))


def outcome(effects: list[Effect]) -> str:
    answer: CommandResult | None = result(effects) if effects else None
    return answer.outcome if answer else "not answered"


def test_an_operator_is_obeyed_under_its_own_key_and_name_alone(told: Car) -> None:
    assert outcome(order(told, "anna", ANNA)) == "done"
    assert outcome(order(told, "bert", BERT)) == "done"
    assert outcome(order(told, "anna", BERT, 2)) == "not answered"
    assert outcome(order(told, "anna", FORGER, 2)) == "not answered"
    assert outcome(order(told, "anna", ANNA, 2, actor="bert")) == "not answered"
    assert outcome(order(told, "anna", ANNA, 2, device="car-2")) == "not answered"
    assert told.agent.refused == 4


def test_without_the_servers_word_nobody_is_an_operator(car: Car) -> None:
    car.agent.handle(Connected())
    assert outcome(order(car, "anna", ANNA)) == "not answered"
    body = seal(BOTH, topic=OPERATORS.topic(), key=FORGER)
    topic = OPERATORS.topic()
    car.agent.handle(Received(topic=topic, payload=body, qos=1, retained=True, mid=1))
    assert outcome(order(car, "anna", ANNA)) == "not answered"


def test_what_the_server_says_and_what_the_operator_says_are_numbered_apart(told: Car) -> None:
    assert outcome(order(told, "anna", ANNA, 1_790_000_000_000_000)) == "done"
    assert outcome(order(told, "anna", told.fleet.key, 7)) == "done"
    assert outcome(order(told, "anna", told.fleet.key, 7)) == "refused"
    assert outcome(order(told, "anna", ANNA, 1_790_000_000_000_000)) == "refused"


def test_a_revoked_key_does_not_come_back_with_an_older_word(told: Car) -> None:
    old = received(OPERATORS, BOTH, told.fleet, retained=True)
    told.hear(OPERATORS, operators(2, key_of("bert", BERT)), retained=True)
    assert outcome(order(told, "anna", ANNA)) == "not answered"
    told.agent.handle(old)
    assert outcome(order(told, "anna", ANNA)) == "not answered"
    assert outcome(order(told, "bert", BERT)) == "done"


def test_keys_outlive_a_restart_of_the_car_and_what_was_written_over_them_does_not(
    told: Car,
) -> None:
    told.start()
    told.agent.handle(Connected())
    assert outcome(order(told, "anna", ANNA)) == "done"
    forged = seal(operators(9, key_of("eve", FORGER)), topic=OPERATORS.topic(), key=FORGER)
    told.home.operators.write_bytes(forged)
    told.start()
    told.agent.handle(Connected())
    assert outcome(order(told, "eve", FORGER)) == "not answered"
    assert outcome(order(told, "anna", ANNA)) == "not answered"


def test_a_key_ends_by_the_later_of_the_clock_and_the_servers_word(told: Car) -> None:
    told.clock.now_us += DAY
    assert outcome(order(told, "anna", ANNA)) == "not answered"
    told.clock.now_us = 0  # as after a start without a battery
    assert outcome(order(told, "anna", ANNA)) == "done"
    told.hear(OPERATORS, operators(1, *BOTH.keys, utc_us=START_UTC_US + DAY), retained=True)
    assert outcome(order(told, "anna", ANNA, 2)) == "not answered"


def test_a_full_disk_costs_no_revocation(tmp_path: Path, fleet: Fleet) -> None:
    folder = tmp_path / "home"
    folder.mkdir()
    path = folder / "operators.signed"
    keys = OperatorKeys(path, fleet.key.public, SettableClock())
    keys.take(received(OPERATORS, BOTH, fleet).payload)
    assert path.exists()
    shutil.rmtree(folder)
    last = received(OPERATORS, operators(2), fleet).payload
    keys.take(last)
    assert keys.of("anna") == ()
    folder.mkdir()
    keys.take(last)  # The broker says it again.
    assert OperatorKeys(path, fleet.key.public, SettableClock()).of("anna") == ()
    assert path.read_bytes() == last
