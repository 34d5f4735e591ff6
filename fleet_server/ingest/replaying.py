"""Messages from quarantine, taken in again.

Laws:
- a replay is an ingest like any other: the same checks, the same transaction, the same receipt but
  that nobody is sent it; the car hears of it as a duplicate should it send the batch again;
- what is stored leaves quarantine afterwards: a kill in between leaves both, and replaying again
  finds a duplicate;
- what is refused once more stays, and its repeats are counted.
"""

from dataclasses import dataclass

from sqlalchemy import select

from fleet_server.ingest.taking import Ingest
from fleet_server.storage import quarantine as store
from fleet_server.storage.database import Database
from fleet_server.storage.tables import quarantine
from shared.clock import Clock
from shared.errors import RefusedError
from shared.signing import SigningKey


@dataclass(frozen=True, kw_only=True)
class Replay:
    """What became of it: "stored", "duplicate", "rejected", or "unproven" as it was."""

    outcome: str
    reason: str = ""
    new_samples: int = 0


def body(database: Database, number: int) -> bytes:
    """Return a refused message's bytes, as many as are kept.

    Raises:
        RefusedError: no such message lies in quarantine.
    """
    with database.read() as connection:
        found = connection.scalar(select(quarantine.c.body).filter_by(id=number))
    if found is None:
        raise RefusedError(f"no message {number} lies in quarantine")
    return bytes(found)


def replay(database: Database, key: SigningKey, clock: Clock, number: int) -> Replay:
    """Take a refused message in again.

    Raises:
        RefusedError: no such message lies in quarantine, or it was too long to be kept whole.
        RetryLaterError: the database cannot store now; nothing was changed.
    """
    with database.read() as connection:
        row = connection.execute(select(quarantine).filter_by(id=number)).one_or_none()
    if row is None:
        raise RefusedError(f"no message {number} lies in quarantine")
    if len(row.body) < row.size_bytes:
        raise RefusedError(f"message {number} had {row.size_bytes} bytes, too many to be kept")
    reply = Ingest(database, key, clock).take(row.topic, bytes(row.body))
    if reply is None:
        return Replay(outcome="unproven", reason=row.reason)
    said = reply.receipt
    if said.outcome != "rejected":
        with database.write() as connection:
            store.take_out(connection, [number])
    return Replay(outcome=said.outcome, reason=said.reason, new_samples=said.new_samples)
