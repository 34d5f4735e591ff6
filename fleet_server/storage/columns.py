"""What the tables of the fleet server are made of.

Laws:
- a whole number has 64 bits on every backend: times are microseconds, and a car's counters reach
  2**53;
- a table's row id only ever grows and is never used twice.
"""

from typing import Any

from sqlalchemy import BigInteger, Column, Integer, MetaData, text
from sqlalchemy.types import TypeEngine

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)
"""Holds every table."""

# SQLite counts row ids in INTEGER columns alone, where every number has 64 bits anyway.
WHOLE: TypeEngine[int] = BigInteger().with_variant(Integer(), "sqlite")
"""A whole number."""

Kind = TypeEngine[Any] | type[TypeEngine[Any]]


def row_id() -> Column[int]:
    """Return the column of a table's row ids."""
    return Column("id", WHOLE, primary_key=True, autoincrement=True)


def need(name: str, kind: Kind) -> Column[Any]:
    """Return a column that every row has a value in."""
    return Column(name, kind, nullable=False)


def count(name: str) -> Column[int]:
    """Return a column that counts from 0."""
    return Column(name, WHOLE, nullable=False, server_default=text("0"))
