"""What comes in: how much within the last while, and when the last of it came."""

from dataclasses import dataclass

from sqlalchemy import func, select

from fleet_server.reading.searches import first_from
from fleet_server.storage.database import Database
from fleet_server.storage.tables import batches


@dataclass(frozen=True, kw_only=True)
class Flow:
    """Batches received since a moment; `last_utc_us` is that of the last one ever, None if none."""

    batches: int
    samples: int
    size_bytes: int
    last_utc_us: int | None


def since(database: Database, utc_us: int) -> Flow:
    """Return what has come in since `utc_us`.

    Raises:
        RetryLaterError: the database cannot be used now.
    """
    with database.read() as connection:
        first = first_from(connection, batches.c.received_utc_us, utc_us)
        count, samples, size = connection.execute(
            select(
                func.count(),
                func.coalesce(func.sum(batches.c.samples), 0),
                func.coalesce(func.sum(batches.c.size_bytes), 0),
            ).where(batches.c.id >= first)
        ).one()
        newest = select(batches.c.received_utc_us).order_by(batches.c.id.desc()).limit(1)
        last = connection.scalar(newest)
    return Flow(batches=count, samples=samples, size_bytes=size, last_utc_us=last)
