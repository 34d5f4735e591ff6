"""A real embedded broker on a free port, and real clients for it."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from fleet_server.broker import users
from fleet_server.broker.run import bind, serve
from shared.ids import sha256_hex
from shared.mqtt import Address, Connection, Will
from shared.mqtt_events import Connected, Disconnected, Event, Received

WAIT_S = 5.0


class Client:
    """One MQTT client whose events a test reads one by one."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.outcome: Event | None = None

    def open(self) -> "Client":
        self.connection.start()
        self.outcome = self.connection.next_event(WAIT_S)
        return self

    @property
    def is_welcome(self) -> bool:
        return isinstance(self.outcome, Connected)

    def next_message(self, timeout_s: float = WAIT_S) -> Received | None:
        """Return the next message, acknowledged, or None where none came in time."""
        event = self.connection.next_event(timeout_s)
        while event is not None and not isinstance(event, Received):
            event = self.connection.next_event(timeout_s)
        if event is not None:
            self.connection.acknowledge(event)
        return event

    def waits_for_the_end(self) -> bool:
        return isinstance(self.connection.next_event(WAIT_S), Disconnected)


@dataclass(frozen=True)
class RunningBroker:
    """A broker's address and state folder, and a way to meet it."""

    state_dir: Path
    port: int
    meet: Callable[..., Client]

    def server(self, part: str = "", **how: object) -> Client:
        own = users.ensure_server_user(self.state_dir)
        user = users.server_user(part) if part else own.user
        return self.meet(user, own.secret, **how)

    def car(self, name: str, **how: object) -> Client:
        secret = sha256_hex(name.encode())
        users.add_user(
            self.state_dir, name, role="device", secret_sha256=sha256_hex(secret.encode())
        )
        return self.meet(name, secret, **how)


@pytest.fixture
def broker(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> Iterator[RunningBroker]:
    """Run a broker in a thread of its own for one test, and see that nothing went wrong in it."""
    listener = bind("127.0.0.1", 0)
    port = listener.getsockname()[1]
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()
    thread = threading.Thread(
        target=loop.run_until_complete, args=(serve(tmp_path, listener, stop),), daemon=True
    )
    with ExitStack() as stack:

        def meet(
            user: str, secret: str, *, client_id: str = "", will: Will | None = None
        ) -> Client:
            address = Address(host="127.0.0.1", port=port, user=user, password=secret)
            connection = Connection(
                address, client_id=client_id, will=None if will is None else lambda: will
            )
            stack.callback(connection.stop)
            return Client(connection).open()

        thread.start()
        try:
            yield RunningBroker(state_dir=tmp_path, port=port, meet=meet)
        finally:
            stack.close()
            loop.call_soon_threadsafe(stop.set)
            thread.join(WAIT_S)
            loop.close()
            listener.close()
            assert [r.getMessage() for r in caplog.records if r.levelname == "ERROR"] == []
