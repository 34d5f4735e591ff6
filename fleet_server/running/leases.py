"""Which process does what only one may do: the control loop, one number of ingest.

Laws:
- a lease begins with a claim, which dies with its holder, and writes a term higher than all before
  into the database;
- every writing transaction of a holder checks the term: one that was taken for dead and is not
  (stopped for a while, cut off from the database) writes nothing more, and its process ends;
- whoever waits looks again every second.
"""

import logging
import os
import socket
import threading
from dataclasses import dataclass

from sqlalchemy import Connection, select

from fleet_server.broker.users import INGESTS, ingest_name
from fleet_server.storage import upsert
from fleet_server.storage.claims import Claim
from fleet_server.storage.database import Database
from fleet_server.storage.fleet_tables import leases
from shared.clock import Clock
from shared.errors import ParkfleetError, RetryLaterError

logger = logging.getLogger(__name__)

LOOK_S = 1.0


class LeaseLostError(ParkfleetError, RuntimeError):
    """Another process does now what this one did: end it, and start it anew to wait its turn."""


@dataclass(frozen=True, kw_only=True)
class Lease:
    """The right to do what `name` says, for as long as `check` returns."""

    name: str
    term: int
    claim: Claim

    def check(self, connection: Connection) -> None:
        """Return quietly where the lease is ours in the open transaction.

        Raises:
            LeaseLostError: it is another's.
        """
        term = connection.scalar(select(leases.c.term).filter_by(name=self.name))
        if term != self.term:
            raise LeaseLostError(f"the lease {self.name} went to another process (term {term})")

    def watch(self, database: Database, stop: threading.Event) -> None:
        """See that the lease is ours until `stop` is set, however little is written.

        Raises:
            LeaseLostError: it is not any more.
        """
        while not stop.wait(LOOK_S):
            if not self.claim.is_held():
                raise LeaseLostError(f"the lease {self.name} ended with its connection")
            try:
                with database.read() as connection:
                    self.check(connection)
            except RetryLaterError as error:
                logger.warning("lease_not_checked name=%s reason=%r", self.name, str(error))


def take(database: Database, name: str, clock: Clock) -> Lease | None:
    """Return the lease `name`, or None where another process holds it.

    Raises:
        RetryLaterError: the database cannot be used now.
        UsageError: its folder cannot be written.
    """
    claim = database.claim(name)
    if claim is None:
        return None
    try:
        return Lease(name=name, term=_begin(database, name, clock.utc_us()), claim=claim)
    except RetryLaterError:
        claim.release()
        raise


def wait(database: Database, name: str, clock: Clock, stop: threading.Event) -> Lease | None:
    """Return the lease `name` once it is free; None where `stop` was set before.

    Raises:
        UsageError: the database's folder cannot be written.
    """
    told = False
    while not stop.is_set():
        try:
            lease = take(database, name, clock)
        except RetryLaterError as error:
            logger.warning("lease_waits name=%s reason=%r", name, str(error))
            lease = None
        if lease is not None:
            logger.info("lease_taken name=%s term=%d", name, lease.term)
            return lease
        if not told:
            logger.info("lease_waits name=%s holder=%s", name, _holder(database, name))
            told = True
        stop.wait(LOOK_S)
    return None


def take_ingest(database: Database, clock: Clock) -> tuple[int, Lease] | None:
    """Return the first free number of an ingest process, 1 and up, or None where none is free.

    Raises:
        RetryLaterError: the database cannot be used now.
        UsageError: its folder cannot be written.
    """
    for number in range(1, INGESTS + 1):
        lease = take(database, ingest_name(number), clock)
        if lease is not None:
            return number, lease
    return None


def _begin(database: Database, name: str, utc_us: int) -> int:
    values = {"holder": f"{socket.gethostname()}:{os.getpid()}", "since_utc_us": utc_us}
    with database.write() as connection:
        statement = upsert.insert(connection, leases).values(name=name, term=1, **values)
        statement = statement.on_conflict_do_update(
            index_elements=["name"], set_={**values, "term": leases.c.term + 1}
        )
        return int(connection.execute(statement.returning(leases.c.term)).scalar_one())


def _holder(database: Database, name: str) -> str:
    try:
        with database.read() as connection:
            return str(connection.scalar(select(leases.c.holder).filter_by(name=name)))
    except RetryLaterError:
        return "unknown"
