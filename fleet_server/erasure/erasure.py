"""Erasure: everything of a car, or of a stretch of time, is deleted, and cannot come back.

Laws:
- a request is in the log book before anything is deleted; what it has deleted is counted in the
  transaction that deletes, so that a kill at any instant only delays it: `erasing.step` goes on;
- erasures are carried out one after the other, in the order of the requests, and cover what was
  stored when they were asked for: what a car still holds is its owner's consent's business;
- erased keys leave tombstones: a late repeat is rejected with the reason "erased";
- the models that may have learned from erased pairs are named, as are jobs that still run on them.

A sample lies in a stretch of time by its own clock where that was synced, else by its time of
receipt; a picture lies where its sample does; a manoeuvre where any part of it does. What goes:
samples, pictures, manoeuvres, their sums and annotations, and refused messages (these by their time
of receipt). What stays is what the fleet did, not what the car saw: its enrolment, the models it
was given and what it said of them, the orders it got, and the log book.
"""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Row, func, select

from fleet_server import logbook
from fleet_server.erasure import erasing
from fleet_server.storage.database import Database
from fleet_server.storage.erasure_tables import erasure_jobs, erasures
from fleet_server.storage.tables import batches, devices, models, training_jobs
from fleet_server.storage.upsert import insert
from shared.clock import Clock
from shared.errors import RefusedError


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to erase, who asks and why: all of `device`, or what lies in since <= time < until.

    Without a device it is every car's; without a bound the time is open to that side.
    """

    actor: str
    reason: str
    device: str | None = None
    since_utc_us: int | None = None
    until_utc_us: int | None = None


@dataclass(frozen=True, kw_only=True)
class LearnedFrom:
    """A training job whose data set held `pairs` that are erased now, and its model if it has one.

    A job that is still running may yet make one.
    """

    job: int
    state: str
    deployment: str
    model: str | None
    version: int | None
    pairs: int


@dataclass(frozen=True, kw_only=True)
class Erasure:
    """An erasure: what was asked for, how far it is (`fraction` is 0 to 1), what it has deleted.

    `batches` were rewritten or deleted, `refused` are messages that lay in quarantine.
    """

    id: int
    utc_us: int
    actor: str
    reason: str
    device: str | None
    since_utc_us: int | None
    until_utc_us: int | None
    decision: int
    fraction: float
    finished_utc_us: int | None
    samples: int
    pictures: int
    manoeuvres: int
    batches: int
    refused: int
    learned: tuple[LearnedFrom, ...]


def begin(database: Database, request: Request, clock: Clock) -> int:
    """Enter `request` into the log book and the list of erasures; return its id.

    Raises:
        RefusedError: it names neither a car nor a time, no car of ours, or an empty time.
        RetryLaterError: the database cannot store now; nothing was changed.
    """
    if request.device is None and request.since_utc_us is None and request.until_utc_us is None:
        raise RefusedError("name a car, a stretch of time, or both")
    if (request.since_utc_us or 0) >= (request.until_utc_us or 2**63):
        raise RefusedError("the stretch of time is empty: it ends before it begins")
    now = clock.utc_us()
    with database.write() as connection:
        decision = logbook.write(
            connection,
            utc_us=now,
            deployment=_deployment(connection, request.device),
            kind="erase",
            reason=request.reason,
            actor=request.actor,
            evidence={
                "device": request.device,
                "since_utc_us": request.since_utc_us,
                "until_utc_us": request.until_utc_us,
            },
        )
        statement = insert(connection, erasures).values(
            utc_us=now,
            actor=request.actor,
            reason=request.reason,
            device=request.device,
            since_utc_us=request.since_utc_us,
            until_utc_us=request.until_utc_us,
            decision=decision,
            last_batch=connection.scalar(select(func.max(batches.c.id))) or 0,
        )
        return int(connection.execute(statement.returning(erasures.c.id)).scalar_one())


def erase(database: Database, request: Request, clock: Clock) -> Erasure:
    """Erase what `request` names, after all erasures asked for before; return what was done.

    Raises:
        RefusedError: it names neither a car nor a time, no car of ours, or an empty time.
        RetryLaterError: it could not be finished now; once begun, `erasing.step` goes on with it.
    """
    number = begin(database, request, clock)
    while (found := find(database, number)) and found.finished_utc_us is None:
        erasing.step(database, clock)
    if found is None:
        raise LookupError(f"erasure {number} is gone")
    return found


def find(database: Database, number: int) -> Erasure | None:
    """Return an erasure, or None where there is none of that id."""
    return next(iter(listed(database, after=number - 1, limit=1, last=number)), None)


def listed(
    database: Database, *, after: int = 0, limit: int = 100, last: int | None = None
) -> tuple[Erasure, ...]:
    """Return erasures by row id, from the one that follows `after` up to `last`."""
    query = select(erasures).where(erasures.c.id > after).order_by(erasures.c.id).limit(limit)
    if last is not None:
        query = query.where(erasures.c.id <= last)
    with database.read() as connection:
        rows = connection.execute(query).all()
        learned = _learned(connection, [row.id for row in rows])
    return tuple(_view(row, learned.get(row.id, ())) for row in rows)


def _deployment(connection: Connection, device: str | None) -> str:
    if device is None:
        return ""
    found: str | None = connection.scalar(select(devices.c.deployment).filter_by(name=device))
    if found is None:
        raise RefusedError(f"there is no car {device}")
    return found


def _learned(connection: Connection, ids: list[int]) -> dict[int, tuple[LearnedFrom, ...]]:
    query = (
        select(
            erasure_jobs.c.erasure,
            erasure_jobs.c.job,
            erasure_jobs.c.pairs,
            training_jobs.c.state,
            training_jobs.c.deployment,
            training_jobs.c.model,
            models.c.version,
        )
        .join(training_jobs, training_jobs.c.id == erasure_jobs.c.job)
        .outerjoin(models, models.c.sha256 == training_jobs.c.model)
        .where(erasure_jobs.c.erasure.in_(ids))
        .order_by(erasure_jobs.c.erasure, erasure_jobs.c.job)
    )
    found: dict[int, tuple[LearnedFrom, ...]] = {}
    for row in connection.execute(query):
        named = LearnedFrom(
            job=row.job,
            state=row.state,
            deployment=row.deployment,
            model=row.model,
            version=row.version,
            pairs=row.pairs,
        )
        found[row.erasure] = (*found.get(row.erasure, ()), named)
    return found


def _view(row: Row[Any], learned: tuple[LearnedFrom, ...]) -> Erasure:
    done = row.finished_utc_us is not None
    return Erasure(
        id=row.id,
        utc_us=row.utc_us,
        actor=row.actor,
        reason=row.reason,
        device=row.device,
        since_utc_us=row.since_utc_us,
        until_utc_us=row.until_utc_us,
        decision=row.decision,
        fraction=1.0 if done else min(0.99, row.reached / max(row.last_batch, 1)),
        finished_utc_us=row.finished_utc_us,
        samples=row.samples,
        pictures=row.pictures,
        manoeuvres=row.manoeuvres,
        batches=row.batches,
        refused=row.refused,
        learned=learned,
    )
