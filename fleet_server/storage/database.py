"""One database: opened, migrated, and handed out as transactions.

Laws:
- SQLite runs in WAL mode with `synchronous=FULL`: what was committed survives a power cut;
- a writing transaction takes the write lock at its start (BEGIN IMMEDIATE), so that it never fails
  half-way for having read first;
- a new database is its owner's alone (mode 0600), since it holds pictures;
- the schema is brought up to date before anything else sees the database; two processes that start
  at once do so one after the other.
"""

import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util.exc import CommandError
from sqlalchemy import Connection, Engine, create_engine, event, insert, select
from sqlalchemy.exc import DatabaseError, OperationalError

from fleet_server.storage import tables
from shared.clock import Clock
from shared.errors import RetryLaterError, UsageError

_MIGRATIONS = Path(__file__).parent / "migrations"
_BUSY_S = 10.0

Change = Callable[[Connection], None]
"""What is to be done in a writing transaction."""


class Database:
    """The server's store, to be shared between threads: a transaction owns its connection."""

    def __init__(self, engine: Engine) -> None:
        """Take an engine whose database has been migrated; use `open` instead."""
        self._readers = engine
        self._writers = engine.execution_options(begin="BEGIN IMMEDIATE")

    @classmethod
    def open(cls, path: Path, clock: Clock) -> "Database":
        """Return the database in the SQLite file `path`, created or migrated as needed.

        Raises:
            UsageError: the folder cannot be written, or the file is no database of ours.
        """
        engine = _sqlite_engine(path)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with (path.parent / f".{path.name}.lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                with suppress(FileExistsError):
                    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
                _migrate(engine, path, clock)
        except OSError as error:
            raise UsageError(f"cannot open the state in {path.parent}: {error.strerror}") from None
        except (DatabaseError, sqlite3.DatabaseError) as error:
            cause = getattr(error, "orig", error)
            raise UsageError(f"{path} is not a database of the fleet server: {cause}") from None
        return cls(engine)

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """Give a connection that sees one consistent state.

        Raises:
            RetryLaterError: the database is busy, full or gone for the moment.
        """
        with _translated(), self._readers.begin() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """Give a connection whose changes are on disk when the block ends, or not made at all.

        Raises:
            RetryLaterError: the database is busy, full or gone for the moment.
        """
        with _translated(), self._writers.begin() as connection:
            yield connection

    def close(self) -> None:
        """Close all connections."""
        self._readers.dispose()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except OperationalError as error:
        raise RetryLaterError(f"database: {error.orig}") from error


def _sqlite_engine(path: Path) -> Engine:
    engine = create_engine(f"sqlite:///{path}", connect_args={"timeout": _BUSY_S})

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        # The driver must not begin transactions by itself: it would do so at the first write only.
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "temp_store=MEMORY"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))

    return engine


def _migrate(engine: Engine, path: Path, clock: Clock) -> None:
    configuration = Config()
    configuration.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    with engine.execution_options(begin="BEGIN IMMEDIATE").begin() as connection:
        configuration.attributes["connection"] = connection
        try:
            command.upgrade(configuration, "head")
        except CommandError:
            head = ScriptDirectory.from_config(configuration).get_current_head()
            raise UsageError(
                f"{path} was written by a newer version than this one (schema {head}): upgrade"
            ) from None
        if connection.scalar(select(tables.meta.c.value).filter_by(key="epoch")) is None:
            epoch = str(clock.utc_us() // 1_000_000)
            connection.execute(insert(tables.meta).values(key="epoch", value=epoch))
