"""A process of its own that serves the whole application over a state folder: `served.py DIR PORT`.

`fill` makes such a folder: the history of `tests.fleet_server.api.history`, which came in through
real ingest, REST and control, a car that is online, one that is to be confirmed, a rollout that is
under way, a message that was refused, and a token for each role.
"""

import logging
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import uvicorn
from fastapi.testclient import TestClient
from sqlalchemy import Connection, insert

from fleet_server import console, settings, tokens
from fleet_server.api.app import create_app
from fleet_server.api.context import Context
from fleet_server.cars.twin import Twin
from fleet_server.releases.online import OnlineRepository
from fleet_server.settings import ServerSettings
from fleet_server.storage.database import Database
from fleet_server.storage.rollout_tables import rollouts
from fleet_server.storage.tables import devices
from fleet_server.tokens import Role
from shared import codec
from shared.clock import SystemClock
from shared.messages import Presence
from shared.releases import target_path
from shared.signing import SigningKey
from shared.topics import BATCH, PRESENCE
from tests.fleet_server.api import history
from tests.fleet_server.api.conftest import context_of, headers_of
from tests.fleet_server.fleet import BOOT, DEPLOYMENT, START_US, Fleet, VirtualClock

SERVER_KEY = b"s" * 32
NEWCOMER = SigningKey(b"n" * 32).public
"""The key of car-3, whose fingerprint nobody has confirmed yet."""
HOUR_US = 3_600_000_000


@dataclass
class Filled:
    """A state folder, and a token's secret for each role; `models` are digests by version."""

    state: Path
    secrets: dict[Role, str]
    models: list[str]


def fill(state: Path, releases: Path) -> Filled:
    """Fill the folder `state`; what happened there happened within the last hour."""
    fleet = Fleet(state, VirtualClock(SystemClock().utc_us() - HOUR_US))
    fleet.add_car()
    context = context_of(fleet, releases)
    roles: tuple[Role, ...] = ("viewer", "operator", "admin", "trainer")
    with TestClient(create_app(context)) as client:
        made = history.make(
            fleet,
            client,
            context,
            releases,
            trainer=headers_of(fleet, "trainer"),
            reader=headers_of(fleet, "viewer"),
        )
    fleet.ingest.take(BATCH.topic(id="car-2"), b"no batch at all")
    there = Presence(device="car-1", boot=BOOT, connection=1, online=True)
    Twin(fleet.database, fleet.clock).take(PRESENCE, "car-1", codec.encode(there))
    with fleet.database.write() as connection:
        _open(connection, made.models[-1], fleet.clock.utc_us())
        secrets = {
            role: tokens.create(connection, name=f"a-{role}", role=role, utc_us=START_US).secret
            for role in roles
        }
    fleet.close()
    return Filled(state=state, secrets=secrets, models=made.models)


def _open(connection: Connection, model: str, utc_us: int) -> None:
    """Leave to do: a car to confirm, and a rollout that is under way."""
    connection.execute(
        insert(devices).values(
            name="car-3",
            public_key=NEWCOMER.raw,
            deployment=DEPLOYMENT,
            enrolled_utc_us=utc_us,
            state="unconfirmed",
        )
    )
    connection.execute(
        insert(rollouts).values(
            deployment=DEPLOYMENT,
            model=model,
            path=target_path("wall-distance", DEPLOYMENT, model),
            strategy="canary",
            state="running",
            stage=0,
            stage_since_utc_us=utc_us,
            begun_utc_us=utc_us,
            reason="v2 is tried: canary",
        )
    )


def context_at(state: Path, given: ServerSettings) -> Context:
    """Return the parts of a server over a filled folder."""
    clock = SystemClock()
    return Context(
        state=state,
        settings=given,
        database=Database.open(state / "server.sqlite", clock),
        repository=OnlineRepository.open(state, clock),
        key=SigningKey(SERVER_KEY),
        clock=clock,
        outcomes=Counter(),
    )


def main(state: str, port: str) -> None:
    """Serve until the process is ended."""
    # A message that is refused once more, and a car that is revoked, are told of in the log.
    for told in ("ingest", "cars"):
        logging.getLogger(f"fleet_server.{told}").addHandler(logging.NullHandler())
    context = context_at(Path(state), settings.load(Path(state), {}))
    app = create_app(context)
    console.mount(app, context)
    uvicorn.run(app, host="127.0.0.1", port=int(port), log_level="warning")


if __name__ == "__main__":
    main(*sys.argv[1:])
