"""A list is cut into pages by row id, and a row becomes a record of the same fields.

Laws:
- a page is found by the index of the table's row id, however far into the list it lies.
"""

from collections.abc import Collection, Sequence
from typing import Any

import msgspec
from sqlalchemy import Connection, Row, Select, Table, func, select
from sqlalchemy.sql import ColumnElement

Rows = Sequence[Row[Any]]


def equal(table: Table, **wanted: str | int | None) -> list[ColumnElement[bool]]:
    """Return the conditions that columns equal what is `wanted` of them; None asks for nothing."""
    return [table.c[name] == value for name, value in wanted.items() if value is not None]


def page(
    connection: Connection,
    query: Select[Any],
    table: Table,
    after: int,
    limit: int,
    *,
    newest: bool = False,
) -> Rows:
    """Return up to `limit` rows of `query` whose `table.id` follows `after`, in order of it."""
    query = query.where(table.c.id > after).limit(limit)
    if newest:
        return connection.execute(query.order_by(table.c.id.desc())).all()[::-1]
    return connection.execute(query.order_by(table.c.id)).all()


def row_count(connection: Connection, table: Table) -> int:
    """Return the number of rows of a table that is small beside `samples`."""
    return connection.scalar(select(func.count()).select_from(table)) or 0


def fields(row: Row[Any], view: type[Any], *, skip: Collection[str] = ()) -> dict[str, Any]:
    """Return the row's values for the fields of `view`, less those in `skip`."""
    return {name: getattr(row, name) for name in view.__dataclass_fields__ if name not in skip}


def views(view: type[Any], rows: Rows) -> tuple[Any, ...]:
    """Return each row as a `view` whose fields are the row's columns."""
    return tuple(view(**fields(row, view)) for row in rows)


def judged(view: type[Any], rows: Rows) -> tuple[Any, ...]:
    """Return each row as a `view`, with its evidence unpacked."""
    return tuple(
        view(
            **fields(row, view, skip={"evidence"}),
            evidence=msgspec.json.decode(row.evidence),
        )
        for row in rows
    )
