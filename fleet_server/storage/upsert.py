"""INSERT with an answer to "it is there already", in the words of the database at hand.

SQLite and PostgreSQL have the same clause, ON CONFLICT; SQLAlchemy has it once for each of them.
"""

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite

Insert = sqlite.Insert | postgresql.Insert


def insert(connection: Connection, table: Table) -> Insert:
    """Return an INSERT into `table` that knows `on_conflict_do_nothing` and `_do_update`."""
    if connection.dialect.name == "postgresql":
        return postgresql.insert(table)
    return sqlite.insert(table)
