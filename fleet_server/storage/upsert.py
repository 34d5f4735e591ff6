"""INSERT with an answer to "it is there already", in the words of the database at hand.

SQLite and PostgreSQL have the same clause, ON CONFLICT; SQLAlchemy has it once for each of them.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite

Insert = sqlite.Insert | postgresql.Insert

INTO: Mapping[str, Callable[[Table], Insert]] = {
    "sqlite": sqlite.insert,
    "postgresql": postgresql.insert,
}
"""What begins an INSERT into a table, by the name of the dialect: for statements made once."""

_MARKS = {"sqlite": "?", "postgresql": "%s"}


def insert(connection: Connection, table: Table) -> Insert:
    """Return an INSERT into `table` that knows `on_conflict_do_nothing` and `_do_update`."""
    return INTO[connection.dialect.name](table)


def insert_rows(
    connection: Connection,
    table: Table,
    columns: Sequence[str],
    rows: Sequence[tuple[Any, ...]],
    *,
    key: Sequence[str] = (),
    sums: Sequence[str] = (),
) -> int:
    """Insert many rows, tuples in the order of `columns`, and return how many were written.

    A row that breaks a unique constraint is left out; or, where `sums` are given, its values of
    these are added to those of the row with the same `key`. The tuples go to the driver as they
    are: SQLAlchemy's way through a dictionary a row took as long as SQLite itself.
    """
    if not rows:
        return 0
    text = f"{_insert_into(connection, table, columns)} ON CONFLICT "
    raised = ", ".join(f'"{name}" = {table.name}."{name}" + excluded."{name}"' for name in sums)
    text += f"({_listed(key)}) DO UPDATE SET {raised}" if sums else "DO NOTHING"
    options = {"preserve_rowcount": True}
    return connection.exec_driver_sql(text, list(rows), execution_options=options).rowcount


def insert_one(
    connection: Connection, table: Table, columns: Sequence[str], row: tuple[Any, ...]
) -> int:
    """Insert one new row, a tuple in the order of `columns`, and return its row id."""
    text = f"{_insert_into(connection, table, columns)} RETURNING id"
    return int(connection.exec_driver_sql(text, row).scalar_one())


def _insert_into(connection: Connection, table: Table, columns: Sequence[str]) -> str:
    marks = ", ".join(_MARKS[connection.dialect.name] for _ in columns)
    into = f"{table.name} ({_listed(columns)})"
    return f"INSERT INTO {into} VALUES ({marks})"  # noqa: S608 - names of our own


def _listed(names: Sequence[str]) -> str:
    return ", ".join(f'"{name}"' for name in names)
