"""Stored pairs, found by what a person remembers of them: label, car, deployment, manoeuvre, time.

Laws:
- a page costs the same on the first and on the ten-millionth row: it follows an index, by row id;
- what no index orders is looked for in at most `SCAN` rows a page, so that a page may hold fewer
  items than were asked for, or none, and still name the next one;
- times are those of receipt, which grow with the row ids as long as the server's clock does.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Column, Connection, Row, Select, Table, func, select
from sqlalchemy.sql import ColumnElement

from fleet_server.reading.views import BatchView, SampleView
from fleet_server.storage.database import Database
from fleet_server.storage.pages import equal, fields, views
from fleet_server.storage.tables import batches, pictures, same_sample, samples
from shared.ids import SampleKey

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
            start = first_from(connection, samples.c.received_utc_us, wanted.since_utc_us)
            after = max(after, start - 1)
        where, residual = _conditions(connection, wanted)
        last = _scanned_to(connection, where, after) if residual else None
    found = pairs(database, [*where, *residual], after=after, last=last, limit=limit)
    return Found(items=found.items, next_after=found.next_after or last)


def pairs(
    database: Database,
    where: list[ColumnElement[bool]],
    *,
    after: int,
    last: int | None,
    limit: int,
) -> Found:
    """Return up to `limit` pairs that meet `where`, row ids above `after` up to `last`, if any."""
    with database.read() as connection:
        rows = connection.execute(pairs_after(where, after, last, limit)).all()
    items = tuple(_view(row) for row in rows)
    return Found(items=items, next_after=items[-1].id if len(items) == limit else None)


def one(database: Database, key: SampleKey) -> SampleView | None:
    """Return one pair, or None where it is not stored."""
    where = equal(samples, device=key.device, boot=key.boot, sequence=key.sequence)
    with database.read() as connection:
        row = connection.execute(pairs_after(where, 0, None, 1)).one_or_none()
    return None if row is None else _view(row)


def newest(
    database: Database,
    *,
    device: str | None = None,
    deployment: str | None = None,
    limit: int,
    has_picture: bool = False,
) -> tuple[SampleView, ...]:
    """Return the last pairs, the newest first; with `has_picture`, those whose picture came."""
    where = equal(samples, device=device, deployment=deployment)
    query = pairs_after(where, 0, None, limit).order_by(None)
    if has_picture:
        query = query.where(pictures.c.id.is_not(None))
    with database.read() as connection:
        rows = connection.execute(query.order_by(samples.c.id.desc())).all()
    return tuple(_view(row) for row in rows)


def browse(
    database: Database,
    wanted: Wanted,
    keep: Callable[[SampleView], bool],
    *,
    before: int | None,
    limit: int,
) -> Found:
    """Return up to `limit` pairs that `keep` takes, newest first; `next_after` asks for older ones.

    It is the row id to look before, None where all was looked through.
    """
    with database.read() as connection:
        where, residual = _conditions(connection, wanted)
        if before is not None:
            where.append(samples.c.id < before)
        oldest = select(samples.c.id).where(*where).order_by(samples.c.id.desc())
        least: int | None = connection.scalar(oldest.offset(SCAN - 1).limit(1))
        if least is not None:
            where.append(samples.c.id >= least)
        query = pairs_after([*where, *residual], 0, None, SCAN).order_by(None)
        items: list[SampleView] = []
        for row in connection.execute(query.order_by(samples.c.id.desc())):
            view = _view(row)
            if keep(view):
                items.append(view)
            if len(items) == limit:
                return Found(items=tuple(items), next_after=view.id)
    return Found(items=tuple(items), next_after=least)


def batch(database: Database, sha256: str) -> BatchView | None:
    """Return one batch, or None where none of that digest is stored."""
    columns = [batches.c[name] for name in BatchView.__dataclass_fields__]
    with database.read() as connection:
        rows = connection.execute(select(*columns).where(batches.c.sha256 == sha256)).all()
    return next(iter(views(BatchView, rows)), None)


def pairs_after(
    where: list[ColumnElement[bool]], after: int, last: int | None, limit: int
) -> Select[Any]:
    """Return the query for a page of pairs: row ids above `after`, up to `last` where given."""
    query = (
        select(samples, pictures.c.id.label("picture"))
        .outerjoin(pictures, same_sample(samples, pictures))
        .where(*where, samples.c.id > after)
        .order_by(samples.c.id)
        .limit(limit)
    )
    return query if last is None else query.where(samples.c.id <= last)


def begin(database: Database, table: Table, since_utc_us: int | None, after: int) -> int:
    """Return the row id to go on after in a list of what was received since a time, if any."""
    if since_utc_us is None:
        return after
    with database.read() as connection:
        return max(after, first_from(connection, table.c.received_utc_us, since_utc_us) - 1)


def first_from(connection: Connection, column: Column[int], value: int) -> int:
    """Return the least row id of a table whose `column`, which grows with the ids, reaches `value`.

    By bisection over the row ids, of which some may be missing; one more than the last where none
    reaches it.
    """
    number = column.table.c.id
    low, high = 1, (connection.scalar(select(func.max(number))) or 0) + 1
    while low < high:
        middle = (low + high) // 2
        query = select(number, column.label("found")).where(number >= middle)
        row = connection.execute(query.order_by(number).limit(1)).one_or_none()
        if row is None or row.found >= value:
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
        end = first_from(connection, samples.c.received_utc_us, wanted.until_utc_us)
        where.append(samples.c.id < end)
    if wanted.label_from is not None:
        residual.append(samples.c.label >= wanted.label_from)
    if wanted.label_to is not None:
        residual.append(samples.c.label <= wanted.label_to)
    if wanted.labelled is not None:
        residual.append(samples.c.label.is_not(None) == wanted.labelled)
    return where, residual


def _view(row: Row[Any]) -> SampleView:
    return SampleView(
        **fields(row, SampleView, skip={"has_picture", "record"}),
        has_picture=row.picture is not None,
        record=msgspec.msgpack.decode(row.body),
    )


def _scanned_to(connection: Connection, where: list[ColumnElement[bool]], after: int) -> int | None:
    """Return the row id where a page stops looking, None where it may look at all there is."""
    query = select(samples.c.id).where(*where, samples.c.id > after).order_by(samples.c.id)
    last: int | None = connection.scalar(query.offset(SCAN - 1).limit(1))
    return last
