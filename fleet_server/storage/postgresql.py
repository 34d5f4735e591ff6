"""PostgreSQL, the database of a fleet with several server processes.

Laws:
- one transaction writes at a time: it takes an advisory lock at its start. A row id is then given
  in the order of the commits, so that who reads on from the last id has seen everything below it,
  as on SQLite; and no two ingest processes can store the same key at once;
- a reading transaction sees one state (REPEATABLE READ) and cannot write; a writing one sees what
  was committed before it got the lock;
- a password is no setting: it lies in a password file of libpq (`~/.pgpass`, PGPASSFILE).
"""

from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from shared.errors import UsageError

_LOCK = 0x7061726B  # "park": any number that all our processes share.
_LOCK_TIMEOUT_MS = 10_000
_CONNECT_TIMEOUT_S = 10
WRITING = {"writes": True}
"""The execution options of an engine whose transactions write."""
READING = {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
"""Those of one whose transactions only read."""


def engine_of(url: str) -> Engine:
    """Return an engine on the database at `url`, which is reached on first use.

    Raises:
        UsageError: `url` is none of PostgreSQL's or holds a password, or the driver is missing.
    """
    options = f"-c lock_timeout={_LOCK_TIMEOUT_MS} -c synchronous_commit=on -c timezone=UTC"
    arguments: dict[str, Any] = {"connect_timeout": _CONNECT_TIMEOUT_S, "options": options}
    try:
        engine = create_engine(_checked(url), connect_args=arguments, pool_pre_ping=True)
    except ImportError:
        raise UsageError(
            "database: PostgreSQL needs its driver: pip install 'parkfleet[postgres]'"
        ) from None

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        if connection.get_execution_options().get("writes"):
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK})")

    return engine


def forget(engine: Engine) -> None:
    """Give up the space of deleted rows for new ones; a replica or a backup may still hold them."""
    with engine.execution_options(isolation_level="AUTOCOMMIT").connect() as connection:
        connection.execute(text("VACUUM"))


def _checked(url: str) -> URL:
    try:
        parts = make_url(url)
    except (ArgumentError, ValueError):
        raise UsageError("database: not an address like postgresql://host/name") from None
    if parts.drivername not in ("postgresql", "postgresql+psycopg"):
        raise UsageError(f"database: {parts.drivername!r} is not postgresql")
    if parts.password is not None or "password" in parts.query:
        raise UsageError("database: keep the password in ~/.pgpass, not in the settings")
    return parts.set(drivername="postgresql+psycopg")
