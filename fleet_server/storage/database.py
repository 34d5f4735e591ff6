"""One database: opened, migrated, and handed out as transactions.

Laws:
- a reading transaction sees one consistent state; writing ones come one after the other, and what
  they have committed is on the disk (`sqlite` and `postgresql` say how);
- the schema is brought up to date before anything else sees the database; two processes that start
  at once do so one after the other; one that is up to date costs a look and no migration;
- where the received bytes lie in an object store, the database goes with it: `objects`.
"""

import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.util.exc import CommandError
from sqlalchemy import Connection, Engine, insert, select
from sqlalchemy.exc import DatabaseError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from fleet_server.storage import claims, postgresql, sqlite, tables
from fleet_server.storage.claims import Claim
from fleet_server.storage.objects import Objects
from fleet_server.storage.turns import Turns
from shared.clock import Clock
from shared.errors import RetryLaterError, UsageError

_MIGRATIONS = Path(__file__).parent / "migrations"
_HEAD = max(path.name[1:5] for path in (_MIGRATIONS / "versions").glob("v*.py"))
"""The newest schema: steps are files named after their revisions."""

Change = Callable[[Connection], None]
"""What is to be done in a writing transaction."""


class Database:
    """The server's store, to be shared between threads: a transaction owns its connection."""

    def __init__(self, readers: Engine, writers: Engine, objects: Objects | None) -> None:
        """Take engines whose database has been migrated; use `open` or `connect` instead."""
        self._readers = readers
        self._writers = writers
        self._turns = Turns()
        self.objects = objects

    @classmethod
    def open(
        cls,
        path: Path,
        clock: Clock,
        objects: Objects | None = None,
        cache_mib: int = sqlite.CACHE_MIB,
    ) -> "Database":
        """Return the database in the SQLite file `path`, created or migrated as needed.

        `cache_mib`: the memory for pages of the connection that writes; a quarter, that of each
        that reads.

        Raises:
            UsageError: the folder cannot be written, or the file is no database of ours.
        """
        writer = sqlite.writer_of(path, cache_mib)
        try:
            with sqlite.locked(path):
                _migrate(writer, str(path), clock)
        except (DatabaseError, sqlite3.DatabaseError) as error:
            writer.dispose()
            cause = getattr(error, "orig", error)
            raise UsageError(f"{path} is not a database of the fleet server: {cause}") from None
        return cls(sqlite.readers_of(path, cache_mib), writer, objects)

    @classmethod
    def connect(cls, url: str, clock: Clock, objects: Objects | None = None) -> "Database":
        """Return the PostgreSQL database at `url`, migrated as needed.

        Raises:
            UsageError: it cannot be reached or written, or holds something else.
        """
        engine = postgresql.engine_of(url)
        writers = engine.execution_options(**postgresql.WRITING)
        try:
            _migrate(writers, engine.url.render_as_string(), clock)
        except DatabaseError as error:
            engine.dispose()
            cause = str(error.orig).partition("\n")[0]
            raise UsageError(f"cannot use {engine.url.render_as_string()}: {cause}") from None
        return cls(engine.execution_options(**postgresql.READING), writers, objects)

    @property
    def is_shared(self) -> bool:
        """Whether several machines may use the database at once."""
        return self._readers.dialect.name == "postgresql"

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
        with _translated(), self._turn(), self._writers.begin() as connection:
            yield connection

    def claim(self, name: str) -> Claim | None:
        """Return the claim to `name`, or None where another process on this database holds it.

        Raises:
            RetryLaterError: the database cannot be reached now.
            UsageError: its folder cannot be written.
        """
        with _translated():
            return claims.claim(self._writers, name)

    def forget(self) -> None:
        """See to it that deleted rows can be read back no more, as far as the backend can.

        Raises:
            RetryLaterError: the database is busy, full or gone for the moment.
        """
        with _translated(), self._turn():
            (postgresql if self.is_shared else sqlite).forget(self._writers)

    def _turn(self) -> AbstractContextManager[None]:
        """One connection writes to SQLite: without turns, who has just used it had it again."""
        return nullcontext() if self.is_shared else self._turns.turn(sqlite.BUSY_S)

    def close(self) -> None:
        """Close all connections."""
        self._readers.dispose()
        self._writers.dispose()


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except (OperationalError, InterfaceError) as error:
        raise RetryLaterError(f"database: {error.orig}") from error
    except PoolTimeoutError as error:
        raise RetryLaterError("database: all connections are in use") from error


def _migrate(writers: Engine, name: str, clock: Clock) -> None:
    configuration = Config()
    configuration.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    with writers.begin() as connection:
        if MigrationContext.configure(connection).get_current_revision() == _HEAD:
            return
        configuration.attributes["connection"] = connection
        try:
            command.upgrade(configuration, "head")
        except CommandError:
            raise UsageError(
                f"{name} was written by a newer version than this one (schema {_HEAD}): upgrade"
            ) from None
        if connection.scalar(select(tables.meta.c.value).filter_by(key="epoch")) is None:
            epoch = str(clock.utc_us() // 1_000_000)
            connection.execute(insert(tables.meta).values(key="epoch", value=epoch))
