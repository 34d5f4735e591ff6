"""Stored pairs, found by what a person remembers of them: label, car, deployment, manoeuvre, time.

Laws:
- a page costs the same on the first and on the ten-millionth row: it follows an index, by row id;
- what no index orders is looked for in at most `SCAN` rows a page, so that a page may hold fewer
  items than were asked for, or none, and still name the next one;
- times are those of receipt, which grow with the row ids as long as the server's clock does.
"""

from dataclasses import dataclass

import msgspec
from sqlalchemy import Connection, Select, Table, func, select
from sqlalchemy.sql import ColumnElement

from fleet_server.rows import equal, fields
from fleet_server.storage.database import Database
from fleet_server.storage.tables import pictures, same_sample, samples
from fleet_server.views import SampleView

SCAN = 5000
"""Rows that a page may look through; 5000 rows are read in some 10 ms."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """Which pairs are asked for; None asks for nothing. Labels are in the task's unit.

    `label_from` and `label_to` bound the label, both included; `labelled` asks for pairs with a
    label, or without. `since_utc_us` and `until_utc_us` bound the time of receipt, the latter
    excluded.
    """

    device: str | None = None
    deployment: str | None = None
    manoeuvre: int | None = None
    label_from: float | None = None
    label_to: float | None = None
    labelled: bool | None = None
    since_utc_us: int | None = None
    until_utc_us: int | None = None


@dataclass(frozen=True, kw_only=True)
class Found:
    """A page: the pairs, and the row id to go on after, None where all was looked through."""

    items: tuple[SampleView, ...]
    next_after: int | None


def find(database: Database, wanted: Wanted, *, after: int = 0, limit: int = 100) -> Found:
    """Return up to `limit` pairs whose row id is above `after`, in order of it."""
    with database.read() as connection:
        if wanted.since_utc_us is not None:
            after = max(after, first_received(connection, samples, wanted.since_utc_us) - 1)
        where, residual = _conditions(connection, wanted)
        last = _scanned_to(connection, where, after) if residual else None
        query = pairs_after([*where, *residual], after, last, limit)
        rows = connection.execute(query).all()
    items = tuple(
        SampleView(
            **fields(row, SampleView, skip={"has_picture", "record"}),
            has_picture=row.picture is not None,
            record=msgspec.msgpack.decode(row.body),
        )
        for row in rows
    )
    following = items[-1].id if len(items) == limit else last
    return Found(items=items, next_after=following)


def pairs_after(
    where: list[ColumnElement[bool]], after: int, last: int | None, limit: int
) -> Select[tuple[object, ...]]:
    """Return the query for a page of pairs: row ids above `after`, up to `last` where given."""
    query = (
        select(samples, pictures.c.id.label("picture"))
        .outerjoin(pictures, same_sample(samples, pictures))
        .where(*where, samples.c.id > after)
        .order_by(samples.c.id)
        .limit(limit)
    )
    return query if last is None else query.where(samples.c.id <= last)


def first_received(connection: Connection, table: Table, utc_us: int) -> int:
    """Return the least row id of `table` whose row was received at `utc_us` or later.

    By bisection over the row ids, of which some may be missing; one more than the last where every
    row is older.
    """
    low, high = 1, (connection.scalar(select(func.max(table.c.id))) or 0) + 1
    while low < high:
        middle = (low + high) // 2
        row = connection.execute(
            select(table.c.id, table.c.received_utc_us)
            .where(table.c.id >= middle)
            .order_by(table.c.id)
            .limit(1)
        ).one_or_none()
        if row is None or row.received_utc_us >= utc_us:
            high = middle
        else:
            low = row.id + 1
    return low


def _conditions(
    connection: Connection, wanted: Wanted
) -> tuple[list[ColumnElement[bool]], list[ColumnElement[bool]]]:
    """Return the conditions that an index answers, and those that rows are looked through for."""
    where: list[ColumnElement[bool]] = []
    residual = equal(samples, manoeuvre=wanted.manoeuvre)
    if wanted.device is not None:
        where += equal(samples, device=wanted.device)
        residual += equal(samples, deployment=wanted.deployment)
    else:
        where += equal(samples, deployment=wanted.deployment)
    if wanted.until_utc_us is not None:
        where.append(samples.c.id < first_received(connection, samples, wanted.until_utc_us))
    if wanted.label_from is not None:
        residual.append(samples.c.label >= wanted.label_from)
    if wanted.label_to is not None:
        residual.append(samples.c.label <= wanted.label_to)
    if wanted.labelled is not None:
        residual.append(samples.c.label.is_not(None) == wanted.labelled)
    return where, residual


def _scanned_to(connection: Connection, where: list[ColumnElement[bool]], after: int) -> int | None:
    """Return the row id where a page stops looking, None where it may look at all there is."""
    query = select(samples.c.id).where(*where, samples.c.id > after).order_by(samples.c.id)
    last: int | None = connection.scalar(query.offset(SCAN - 1).limit(1))
    return last
