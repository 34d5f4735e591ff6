"""Consoles on every broker: what a viewer and an operator may do, and what ends it.

The sessions are those of `parkfleet console`, the car is whoever listens under its name.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet_server.broker import users
from fleet_server.terminal import home as homes
from fleet_server.terminal.home import ConsoleHome
from fleet_server.terminal.papers import Grant, Role, read_request, write_grant
from fleet_server.terminal.session import Session
from hardware_sim.lab.fleet import free_port
from shared import cli, codec
from shared.clock import SystemClock
from shared.errors import RefusedError, UsageError
from shared.messages import Command, Presence
from shared.mqtt import Will
from shared.signing import SigningKey, open_envelope, seal
from shared.topics import COMMAND, PRESENCE
from tests.contracts.brokers import KINDS, Broker, Client, running, wait_for
from tests.fleet_server.fleet import BOOT

pytestmark = [pytest.mark.e2e, pytest.mark.long]

SERVER = SigningKey(b"s" * 32)
DAY_US = 86_400_000_000


@pytest.fixture(params=KINDS)
def broker(request: pytest.FixtureRequest) -> Iterator[Broker]:
    with running(request.param, people={"car-1": "device"}) as made:
        yield made


def granted(folder: Path, state: Path, port: int, name: str, role: Role) -> ConsoleHome:
    """Return a console that the keeper of `state` let in."""
    home = ConsoleHome(folder / name)
    asked = read_request(homes.request(home, name))
    now_us = SystemClock().utc_us()
    user = users.User(
        role=role,
        secret_sha256=asked.mqtt_secret_sha256,
        verifier=asked.mqtt_verifier,
        public_key=asked.public_key,
        until_utc_us=now_us + DAY_US,
    )
    users.add_person(state, name, user, utc_us=now_us)
    grant = Grant(
        name=name,
        role=role,
        public_key=asked.public_key,
        until_utc_us=now_us + DAY_US,
        server_public_key=SERVER.public.raw,
        broker_host="127.0.0.1",
        broker_port=port,
    )
    homes.accept(home, write_grant(grant, SERVER))
    return home


def opened(broker: Broker, tmp_path: Path, name: str, role: Role) -> Session:
    """Return a console's session; the broker knows a new user within a second or so."""
    home = granted(tmp_path, broker.state, broker.port, name, role)
    found: list[Session] = []

    def is_let_in() -> bool:
        session = Session(homes.load(home), SystemClock())
        try:
            session.start()
        except UsageError:
            return False
        broker.stack.callback(session.stop)
        found.append(session)
        return True

    wait_for(is_let_in, f"the broker to know {name}")
    return found[0]


def connected_car(broker: Broker) -> Client:
    """Connect car-1, with its last will, and let it say that it is there."""
    topic = PRESENCE.topic(id="car-1")

    def said(*, online: bool) -> bytes:
        return codec.encode(Presence(device="car-1", boot=BOOT, connection=1, online=online))

    will = Will(topic=topic, payload=said(online=False))
    car = broker.meet("car-1", will=will)
    car.connection.subscribe(COMMAND.filter(id="car-1"))
    car.connection.publish(topic, said(online=True), retained=True)
    return car


def is_seen(session: Session, presence: str) -> None:
    def holds() -> bool:
        session.poll()
        car = session.fleet.car("car-1")
        return car is not None and car.presence(SystemClock().monotonic_us()) == presence

    wait_for(holds, f"car-1 to be {presence}")


def test_an_operator_orders_a_viewer_does_not_and_both_see_a_car_go(
    broker: Broker, tmp_path: Path
) -> None:
    car = connected_car(broker)
    anna = opened(broker, tmp_path, "anna", "operator")
    vera = opened(broker, tmp_path, "vera", "viewer")
    for session in (anna, vera):
        is_seen(session, "online")
    with pytest.raises(RefusedError, match="viewer"):
        vera.order("car-1", "stop", {})
    for name in ("vera", "anna"):  # What its own rules forbid, said past them.
        topic = COMMAND.topic(id="car-1", actor=name)
        order = Command(device="car-1", actor=name, boot=BOOT, connection=1, number=1, verb="stop")
        forged = seal(order, topic=topic, key=vera.access.key)
        vera._connection.publish(topic, forged)
    anna.order("car-1", "stop", {})
    wait_for(lambda: bool(car.payloads()), "the order")
    (heard,) = car.heard
    assert COMMAND.parts(heard.topic) == {"id": "car-1", "actor": "anna"}
    command = open_envelope(
        COMMAND,
        heard.payload,
        topic=heard.topic,
        message_type=Command,
        key=anna.access.key.public,
    )
    assert (command.verb, command.boot, command.connection) == ("stop", BOOT, 1)
    car.vanish()
    for session in (anna, vera):
        is_seen(session, "offline")


def test_a_revoked_console_is_cut_off_and_told_so_when_it_comes_again(
    broker: Broker, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    anna = opened(broker, tmp_path, "anna", "operator")
    users.remove_user(broker.state, "anna", keys_utc_us=SystemClock().utc_us())

    def is_cut_off() -> bool:
        anna.poll()
        return "it does not know this console" in anna.fleet.link

    wait_for(is_cut_off, "the end of the revoked console")
    anna.stop()
    assert cli.run(["console", "--home", str(tmp_path / "anna")]) == 2
    assert "it does not know this console" in capsys.readouterr().err.splitlines()[-1]


def test_without_a_broker_it_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    granted(tmp_path, tmp_path / "state", free_port(), "anna", "operator")
    assert cli.run(["console", "--home", str(tmp_path / "anna")]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "no route to the broker" in line
