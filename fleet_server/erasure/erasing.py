"""Carrying erasures out: step by step, from wherever the last step ended.

Laws:
- what a step deletes and how far it is are one transaction; another process that took the same
  step meanwhile has changed what is written there, and ours changes nothing;
- in an object store the bytes that are left are written before their row is committed, and the
  former ones deleted after: an erasure is not finished before they are;
- it is not finished either before the database has been told to give up what it deleted.
"""

import logging
from typing import Any

from sqlalchemy import Connection, Row, select, update

from fleet_server.storage import bodies, quarantine, removal, rewriting, tables
from fleet_server.storage.database import Database
from fleet_server.storage.erasure_tables import erasures
from fleet_server.storage.rewriting import Rewriting, Span
from shared.clock import Clock
from shared.errors import RefusedError, RetryLaterError
from shared.messages import Batch

logger = logging.getLogger(__name__)

_GRACE_US = 3_600_000_000
"""No batch takes longer from the writing of its bytes to the commit of its rows."""


def step(database: Database, clock: Clock) -> bool:
    """Go on with the oldest unfinished erasure, for some batches; tell whether there was one.

    Several processes may do so at once.

    Raises:
        RetryLaterError: database or object store cannot be used now; nothing of this step is lost.
    """
    with database.read() as connection:
        row = connection.execute(_UNFINISHED).first()
        if row is None:
            return False
        found = _next(connection, database, row)
        plans = _plans(connection, row, found) if database.objects else []
    if not found:
        _finish(database, row, clock)
        return True
    if database.objects is not None:
        database.objects.put({plan.sha256: plan.body for _, plan in plans if plan.left})
    with database.write() as connection:
        if connection.scalar(select(erasures.c.reached).filter_by(id=row.id)) != row.reached:
            return True  # Another process was faster.
        judged = _plans(connection, row, found)
        if database.objects is not None and judged != plans:
            return True  # Something came in between that changes what is left: look again.
        for batch, plan in judged:
            removal.apply(connection, batch, plan, erasure=row.id, utc_us=clock.utc_us())
        reached = found[-1][0].id
        connection.execute(update(erasures).filter_by(id=row.id).values(reached=reached))
    return True


_MANY = 16
_UNFINISHED = (
    select(erasures).where(erasures.c.finished_utc_us.is_(None)).order_by(erasures.c.id).limit(1)
)

_Found = list[tuple[Row[Any], Batch]]


def _next(connection: Connection, database: Database, row: Row[Any]) -> _Found:
    """Return the next batches to look through, opened."""
    rows = rewriting.next_batches(
        connection, device=row.device, after=row.reached, last=row.last_batch, limit=_MANY
    )
    held = bodies.read_many(connection, database.objects, [each.id for each in rows])
    try:
        return [(each, rewriting.opened(each, held[each.id])) for each in rows]
    except RefusedError as error:
        raise RetryLaterError(f"an erasure waits for a store that is whole: {error}") from error


def _plans(
    connection: Connection, row: Row[Any], found: _Found
) -> list[tuple[Row[Any], Rewriting]]:
    span = Span(since_utc_us=row.since_utc_us, until_utc_us=row.until_utc_us)
    plans = [(each, rewriting.judge(connection, each, batch, span)) for each, batch in found]
    return [(each, plan) for each, plan in plans if plan is not None]


def _finish(database: Database, row: Row[Any], clock: Clock) -> None:
    """Delete what was refused, and every trace that deleting leaves; then call it finished."""
    with database.write() as connection:
        refused = quarantine.take_out(connection, _refused(connection, row))
        connection.execute(
            update(erasures)
            .where(erasures.c.id == row.id)
            .values(refused=erasures.c.refused + refused)
        )
        objects = removal.doomed_digests(connection)
    if database.objects is not None and objects:
        database.objects.delete(objects)
    database.forget()
    with database.write() as connection:
        done = update(erasures).where(erasures.c.id == row.id)
        connection.execute(done.values(finished_utc_us=clock.utc_us()))
    logger.info("erased erasure=%d device=%s", row.id, row.device)


def _refused(connection: Connection, row: Row[Any]) -> list[int]:
    refused = tables.quarantine
    query = select(refused.c.id)
    if row.device is not None:
        query = query.where(refused.c.device == row.device)
    if row.since_utc_us is not None:
        query = query.where(refused.c.received_utc_us >= row.since_utc_us)
    if row.until_utc_us is not None:
        query = query.where(refused.c.received_utc_us < row.until_utc_us)
    return list(connection.scalars(query))


def sweep(database: Database, clock: Clock) -> int:
    """Delete the objects that no batch names, an hour after they were written; return how many.

    Raises:
        RetryLaterError: database or object store cannot be used now.
    """
    if database.objects is None:
        return 0
    before = clock.utc_us() - _GRACE_US
    found = 0
    for listed in database.objects.every():
        old = [each.sha256 for each in listed if each.written_utc_us < before]
        with database.write() as connection:
            found += removal.doom_orphans(connection, old, clock.utc_us())
    with database.read() as connection:
        doomed = removal.doomed_digests(connection)
    if doomed:
        database.objects.delete(doomed)
        with database.write() as connection:
            # Not at once: what wrote such bytes before they were deleted may commit only now.
            removal.forget_doomed(connection, before)
        logger.info("objects_swept found=%d", found)
    return found
