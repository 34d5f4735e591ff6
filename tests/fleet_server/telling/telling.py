"""What the tests of telling share: a receiver of webhooks, an alert, and one turn of the teller."""

import base64
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

from fleet_server.releases.online import OnlineRepository
from fleet_server.settings import ServerSettings
from fleet_server.telling import alerts
from fleet_server.telling.alerts import Cause
from fleet_server.telling.rules import Channel
from fleet_server.telling.teller import Teller
from fleet_server.telling.watch import Watch
from shared.signing import SigningKey
from tests.fleet_server.fleet import DEPLOYMENT, Fleet

HOUR_US = 3_600_000_000
KEY = SigningKey(b"w" * 32)
CAUSE = Cause(
    key="car-silent/car-1",
    kind="car-silent",
    severity="warning",
    subject="car-1",
    reason="nothing was heard of car-1",
    deployment=DEPLOYMENT,
    evidence={"last_seen_utc_us": 1},
)


@dataclass
class Hook:
    """A receiver of webhooks, which answers what it is told to, 200 at last."""

    answers: list[int] = field(default_factory=list)
    received: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    url: str = ""


@contextmanager
def dripping(first: bytes) -> Iterator[int]:
    """Give the port of a receiver that says `first` and then a byte now and then, and never ends.

    Each byte comes long before anyone's patience for one is over.
    """
    over = threading.Event()

    def drip(listener: socket.socket) -> None:
        caller, _ = listener.accept()
        with closing(caller):
            try:
                caller.sendall(first)
                while not over.wait(0.02):
                    caller.sendall(b"x")
            except OSError:
                return

    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        thread = threading.Thread(target=drip, args=(listener,))
        thread.start()
        yield listener.getsockname()[1]
        over.set()
        thread.join()


def raised(fleet: Fleet, cause: Cause = CAUSE) -> int:
    with fleet.database.write() as connection:
        number = alerts.raise_alert(connection, cause, utc_us=fleet.clock.utc_us())
    assert number is not None
    return number


def teller_of(fleet: Fleet, *ways: Channel, settings: ServerSettings | None = None) -> Teller:
    repository = OnlineRepository.open(fleet.state, fleet.clock)
    watch = Watch(
        fleet.database,
        repository,
        settings or ServerSettings(car_silent_s=1e9),
        fleet.clock,
    )
    return Teller(fleet.database, watch, ways, fleet.clock)


def turn(teller: Teller) -> None:
    teller.turn(threading.Event())


def shown(fleet: Fleet) -> list[tuple[str, bool]]:
    """Return kind of each alert, and whether it is open."""
    return [(each.kind, each.ended_utc_us is None) for each in alerts.listed(fleet.database)]


def check_signature(headers: dict[str, str], body: bytes) -> None:
    """Check a webhook as its receiver would, from the documentation alone."""
    version, _, encoded = headers["webhook-signature"].partition(",")
    assert version == "v1a"
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    KEY.public.verify(base64.b64decode(encoded), signed)
