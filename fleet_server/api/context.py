"""What the routes work on, and how a request reaches it."""

import threading
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, cast

from fastapi import Depends, Request

from fleet_server.cars.live import Live
from fleet_server.reading.metrics import Traffic
from fleet_server.reading.queries import Queries
from fleet_server.releases.online import OnlineRepository
from fleet_server.settings import ServerSettings
from fleet_server.storage.database import Database
from shared.clock import Clock
from shared.mqtt import Connection
from shared.signing import SigningKey


@dataclass(frozen=True, kw_only=True)
class Context:
    """One server's parts. Since the start, `outcomes` counts batches, and `traffic` requests.

    `open` counts what is open now: event streams. They end once `stopping` is set. `connections`
    are those of this process to the broker. `live` holds the live values of the cars that somebody
    looks at.
    """

    state: Path
    settings: ServerSettings
    database: Database
    repository: OnlineRepository
    key: SigningKey
    clock: Clock
    outcomes: Counter[str]
    traffic: Traffic = field(default_factory=Traffic)
    open: Counter[str] = field(default_factory=Counter)
    connections: list[Connection] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)
    live: Live = field(default_factory=Live)

    @property
    def queries(self) -> Queries:
        """The read side."""
        return Queries(self.database)


def context_of(request: Request) -> Context:
    """Return the parts of the server that serves `request`."""
    return cast("Context", request.app.state.context)


Served = Annotated[Context, Depends(context_of)]
"""A route's parameter of this type is the server's context."""
