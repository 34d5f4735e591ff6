"""The written configuration, read back and run by a real mosquitto."""

import shutil
import socket
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleet_server.broker import mosquitto, users
from shared import topics
from shared.errors import UsageError
from shared.mqtt import Address, Connected, Connection, Received

MOSQUITTO = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
SECRETS = {"car-1": "1" * 64, "car-2": "2" * 64}
WAIT_S = 5.0


def configuration(folder: Path, port: int) -> Path:
    return mosquitto.write_configuration(
        folder,
        listener=mosquitto.Listener(host="127.0.0.1", port=port),
        server=users.ensure_server_user(folder),
        users={"anna": users.User(role="operator", secret_sha256="0" * 64)},
    )


def test_rights_follow_the_topic_table() -> None:
    lines = list(mosquitto.acl_lines({"anna": users.User(role="operator", secret_sha256="0" * 64)}))
    anna = lines[lines.index("user anna") :]

    assert "pattern write fleet/v1/device/%u/batch" in lines
    assert "pattern read fleet/v1/device/%u/receipt" in lines
    assert "topic write fleet/v1/device/+/desired" in lines[: lines.index("user anna")]
    assert "topic write fleet/v1/device/+/command/anna" in anna
    assert "topic read fleet/v1/device/+/presence" in anna
    assert not any("write" in line and "desired" in line for line in anna)
    assert not any(line.endswith("#") for line in lines)


def test_secrets_are_readable_by_their_owner_only_and_others_entries_are_kept(
    tmp_path: Path,
) -> None:
    configuration(tmp_path, 1883)
    passwords = tmp_path / "passwords"
    passwords.write_text(passwords.read_text() + "car-1:entered by hand\n")

    configuration(tmp_path, 1883)

    assert stat.S_IMODE(passwords.stat().st_mode) == 0o600
    assert "car-1:entered by hand" in passwords.read_text()
    assert passwords.read_text().count("server:") == 1
    assert users.ensure_server_user(tmp_path).secret not in passwords.read_text()


def test_a_missing_certificate_is_named(tmp_path: Path) -> None:
    lost = tmp_path / "lost.pem"
    tls = mosquitto.Tls(ca_file=lost, cert_file=lost, key_file=lost)

    with pytest.raises(UsageError, match=r"lost\.pem"):
        mosquitto.write_configuration(
            tmp_path,
            listener=mosquitto.Listener(host="127.0.0.1", port=1883, tls=tls),
            server=users.ensure_server_user(tmp_path),
            users={},
        )


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    """Run mosquitto with our configuration and two cars entered by hand."""
    if not Path(MOSQUITTO).exists():
        pytest.skip("mosquitto is not installed (apt install mosquitto)")
    with socket.create_server(("127.0.0.1", 0)) as probe:
        free = int(probe.getsockname()[1])
    path = configuration(tmp_path, free)
    entries = [mosquitto.password_line(name, s, b"salt" * 3) for name, s in SECRETS.items()]
    with (tmp_path / "passwords").open("a") as file:
        file.write("\n".join(entries) + "\n")
    for folder in (tmp_path, *tmp_path.parents[:2]):
        folder.chmod(0o755)
    for owned in (tmp_path / "data", tmp_path / "acl", tmp_path / "passwords"):
        owned.chmod(0o777)
    with subprocess.Popen(
        [MOSQUITTO, "-c", str(path)], stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stderr is not None
        while "running" not in (line := process.stderr.readline()):
            assert line, "mosquitto ended"
        yield free
        process.terminate()


def connect(port: int, user: str, secret: str) -> Connection:
    connection = Connection(Address(host="127.0.0.1", port=port, user=user, password=secret))
    connection.start()
    connection.next_event(WAIT_S)
    return connection


def next_payload(connection: Connection, timeout_s: float) -> bytes | None:
    event = connection.next_event(timeout_s)
    if isinstance(event, Received):
        connection.acknowledge(event)
        return event.payload
    assert not isinstance(event, Connected)
    return None


@pytest.mark.e2e
def test_mosquitto_holds_our_laws(port: int, tmp_path: Path) -> None:
    own = users.ensure_server_user(tmp_path)
    server = connect(port, own.user, own.secret)
    car, other = (connect(port, name, secret) for name, secret in SECRETS.items())
    wrong = connect(port, "car-1", "wrong")
    for topic_filter in (topics.BATCH.filter(), topics.PRESENCE.filter()):
        server.subscribe(topic_filter)
    other.subscribe(topics.RECEIPT.filter(id="car-2"))
    other.subscribe(topics.RECEIPT.filter(id="car-1"))
    other.subscribe(topics.DESIRED.filter(id="car-2"))

    car.publish(topics.PRESENCE.topic(id="car-2"), b"forged")
    car.publish(topics.DESIRED.topic(id="car-2"), b"forged")
    car.publish(topics.BATCH.topic(id="car-1"), bytes(160 * 1024))
    batch = next_payload(server, WAIT_S)
    server.publish(topics.RECEIPT.topic(id="car-1"), b"not yours")
    server.publish(topics.RECEIPT.topic(id="car-2"), b"yours")

    assert batch == bytes(160 * 1024)
    assert next_payload(other, WAIT_S) == b"yours"
    assert not wrong.connected
    for connection in (server, car, other, wrong):
        connection.stop()
