"""TLS on every broker: read by nobody on the way, and closed to those without a certificate."""

import socket
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from shared import topics
from tests.contracts.brokers import KINDS, Broker, Client, running, wait_for
from tests.contracts.certificates import Authority

pytestmark = pytest.mark.e2e


@pytest.fixture
def authority() -> Iterator[Authority]:
    with TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Authority.make(Path(folder))


@pytest.fixture(params=KINDS)
def broker(request: pytest.FixtureRequest, authority: Authority) -> Iterator[Broker]:
    """Give each broker with TLS and two users."""
    with running(request.param, *options(authority), people={"car-1": "device"}) as made:
        yield replace(made, ca_file=authority.ca_file)


@pytest.fixture(params=KINDS)
def closed(request: pytest.FixtureRequest, authority: Authority) -> Iterator[Broker]:
    """Give each broker with TLS that asks for a client's certificate."""
    asked = [*options(authority), "--ca-file", str(authority.ca_file)]
    with running(request.param, *asked, people={"car-1": "device"}) as made:
        yield replace(made, ca_file=authority.ca_file)


def options(authority: Authority) -> list[str]:
    certificate, key = authority.issue("broker")
    return ["--cert-file", str(certificate), "--key-file", str(key)]


def holding(broker: Broker, authority: Authority, name: str) -> Broker:
    """Return the broker as it is met with a certificate of `authority`."""
    certificate, key = authority.issue(name)
    return replace(broker, certificate=(str(certificate), str(key)))


def exchange(server: Client, car: Client) -> None:
    server.connection.subscribe(topics.BATCH.filter())
    wait_for(lambda: _said(car) and b"a batch" in server.payloads(), "a batch over TLS")


def _said(car: Client) -> bool:
    car.connection.publish(topics.BATCH.topic(id="car-1"), b"a batch")
    return True


def test_messages_pass_over_tls_and_a_plain_connection_gets_no_answer(broker: Broker) -> None:
    exchange(broker.meet_server(), broker.meet("car-1"))
    with socket.create_connection(("127.0.0.1", broker.port), timeout=5.0) as plain:
        plain.sendall(b"\x10\x12\x00\x04MQTT\x04\x02\x00\x3c\x00\x06car-10")
        assert _answer(plain)[:1] != b"\x20", "a CONNACK in the clear"


def _answer(stream: socket.socket) -> bytes:
    try:
        return stream.recv(4)
    except ConnectionResetError:
        return b""


def test_a_wrong_secret_is_refused_over_tls_too(broker: Broker) -> None:
    assert not broker.meet("car-1", "wrong").is_welcome


# paho leaves the socket of a handshake that failed to the collector, which warns of it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_client_does_not_speak_to_a_broker_of_another_authority(
    broker: Broker, tmp_path: Path
) -> None:
    other = replace(broker, ca_file=Authority.make(tmp_path, "other").ca_file)
    assert not other.meet("car-1").is_welcome


def test_where_a_certificate_is_asked_for_only_its_holders_get_in(
    closed: Broker, authority: Authority, tmp_path: Path
) -> None:
    assert not closed.meet("car-1").is_welcome
    assert not holding(closed, Authority.make(tmp_path, "other"), "car-1").meet("car-1").is_welcome
    holder = holding(closed, authority, "car-1")
    exchange(holder.meet_server(), holder.meet("car-1"))


def test_a_certificate_is_no_secret_and_gives_no_name(closed: Broker, authority: Authority) -> None:
    holder = holding(closed, authority, "server")
    assert not holder.meet("server", "").is_welcome
    assert not holder.meet("car-1", "wrong").is_welcome
