"""Brokers as they are run: ours, and Debian's mosquitto with the configuration that we write."""

import grp
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Literal

import pytest

from fleet_server.broker import users
from hardware_sim.lab.fleet import free_port
from shared.credentials import make_verifier
from shared.ids import sha256_hex
from shared.mqtt import Address, Connection, Will
from shared.mqtt_events import Connected, Disconnected, Received

Kind = Literal["amqtt", "mosquitto"]
KINDS: tuple[Kind, ...] = ("amqtt", "mosquitto")
PARKFLEET = [sys.executable, "-m", "shared"]
MOSQUITTO = shutil.which("mosquitto") or "/usr/sbin/mosquitto"
WAIT_S = 15.0
SHORT_S = 0.7


def wait_for(condition: Callable[[], bool], what: str, seconds: float = WAIT_S) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"waited in vain for {what}"
        time.sleep(0.02)


def secret_of(name: str) -> str:
    """Return the secret of a test's user."""
    return sha256_hex(name.encode())


def enter(state: Path, name: str, role: users.Role) -> None:
    """Write a test's user into the users file."""
    secret = secret_of(name)
    users.add_user(
        state,
        name,
        role=role,
        secret_sha256=sha256_hex(secret.encode()),
        verifier=make_verifier(secret, b"salt" * 3),
    )


@dataclass
class Client:
    """One MQTT client; what reaches it is kept."""

    connection: Connection
    heard: list[Received] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)

    def open(self) -> "Client":
        self.connection.start()
        wait_for(lambda: self.is_welcome or bool(self.ended), "an answer to CONNECT")
        return self

    @property
    def is_welcome(self) -> bool:
        self._read()
        return self.connection.connected

    @property
    def was_cut_off(self) -> bool:
        self._read()
        return bool(self.ended)

    def payloads(self) -> set[bytes]:
        """Return what has come so far."""
        self._read()
        return {each.payload for each in self.heard}

    def vanish(self) -> None:
        """Close the socket without a word, and do not come back."""
        client = self.connection._client
        client.on_pre_connect = None
        peer = client.socket()
        assert isinstance(peer, socket.socket)
        client.loop_stop()
        peer.shutdown(socket.SHUT_RDWR)
        peer.close()

    def _read(self) -> None:
        while (event := self.connection.next_event(0.0)) is not None:
            if isinstance(event, Received):
                self.connection.acknowledge(event)
                self.heard.append(event)
            elif isinstance(event, Disconnected):
                self.ended.append(event.reason)
            else:
                assert isinstance(event, Connected)


@dataclass
class Broker:
    """A broker that runs for one test."""

    kind: Kind
    state: Path
    port: int
    log: Path
    stack: ExitStack
    ca_file: Path | None = None
    certificate: tuple[str, str] | None = None

    def add(self, name: str, role: users.Role = "device") -> None:
        """Let `name` connect, and see that the broker knows."""
        enter(self.state, name, role)
        wait_for(lambda: self.is_welcome(name), f"the broker to know {name}")

    def is_welcome(self, name: str) -> bool:
        """Tell whether `name` may connect now; mosquitto is told within a second."""
        client = self.meet(name)
        try:
            return client.is_welcome
        finally:
            client.connection.stop()

    def meet(
        self,
        user: str,
        secret: str | None = None,
        *,
        client_id: str = "",
        will: Will | None = None,
        port: int | None = None,
    ) -> Client:
        """Return a client that has asked for a connection and was answered."""
        address = Address(
            host="127.0.0.1",
            port=port or self.port,
            user=user,
            password=secret_of(user) if secret is None else secret,
            ca_file=str(self.ca_file) if self.ca_file else None,
            certificate=self.certificate,
        )
        connection = Connection(
            address, client_id=client_id, will=None if will is None else lambda: will
        )
        self.stack.callback(connection.stop)
        return Client(connection).open()

    def meet_server(self, part: str = "") -> Client:
        """Return a process of the server."""
        own = users.ensure_server_user(self.state)
        return self.meet(users.server_user(part) if part else own.user, own.secret)

    def lines(self, text: str) -> list[str]:
        """Return what the broker logged with `text` in it."""
        return [line for line in self.log.read_text("utf-8").splitlines() if text in line]


@contextmanager
def running(
    kind: Kind, *options: str, people: Mapping[str, users.Role] | None = None
) -> Iterator[Broker]:
    """Run a broker of that kind, started with more `options`, that knows `people`."""
    if kind == "mosquitto" and not Path(MOSQUITTO).exists():
        pytest.skip("mosquitto is not installed (apt install mosquitto)")
    with ExitStack() as stack:
        # Not one of pytest's folders, which any other run of pytest closes for mosquitto's user.
        folder = Path(stack.enter_context(TemporaryDirectory()))
        folder.chmod(0o755)
        state, log, port = folder / "state", folder / "broker.log", free_port()
        users.ensure_server_user(state)
        for name, role in (people or {}).items():
            enter(state, name, role)
        common = ["--state", str(state), "--port", str(port), *options]
        if kind == "amqtt":
            _start(stack, log, [*PARKFLEET, "broker", "run", *common])
            wait_for(lambda: log.exists() and "listening" in log.read_text(), "the broker")
        else:
            configuration = _follow(stack, folder, common)
            _start(stack, log, [MOSQUITTO, "-c", str(configuration)])
            wait_for(lambda: "running" in log.read_text("utf-8"), "mosquitto")
        yield Broker(kind=kind, state=state, port=port, log=log, stack=stack)


def _follow(stack: ExitStack, folder: Path, common: list[str]) -> Path:
    """Write mosquitto's configuration and keep it up to date; return its path."""
    out, log = folder / "mosquitto", folder / "follow.log"
    try:
        group = ["--group", grp.getgrnam("mosquitto").gr_name]
    except KeyError:
        group = []
    command = [*PARKFLEET, "broker", "config", *common, "--out", str(out), *group, "--follow"]
    _start(stack, log, command)
    wait_for(lambda: log.exists() and "start it with" in log.read_text(), "the configuration")
    return out / "mosquitto.conf"


def _start(stack: ExitStack, log: Path, command: list[str]) -> None:
    file = stack.enter_context(log.open("wb"))
    process = subprocess.Popen(command, stdout=file, stderr=file)
    stack.callback(process.wait)
    stack.callback(process.terminate)
