"""SQLite, the database of one machine: a file, opened, locked while it is migrated.

Laws:
- it runs in WAL mode with `synchronous=FULL`: what was committed survives a power cut;
- a writing transaction takes the write lock at its start (BEGIN IMMEDIATE), so that it never fails
  half-way for having read first, and row ids are given in the order of the commits;
- a new database is its owner's alone (mode 0600), since it holds pictures;
- one connection of a process writes: its pages stay good over its own commits, and would have to
  be read again after another's; threads take turns on it (`turns`), and ask no lock of the file's;
- processes that wait for each other look every half millisecond: SQLite's own waiting grows to
  25 ms and more, longer than most transactions here last, and leaves the lock free in between;
- memory has a bound: what the connection that writes may keep, and a quarter of it each that reads;
- what is deleted is overwritten (`secure_delete`), so that erased pictures are not left in free
  pages.
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import OperationalError

from shared.clock import SystemClock
from shared.errors import RetryLaterError, UsageError

BUSY_S = 10.0
"""How long a writer waits for the others."""

_LOOK_AGAIN_US = 500
_PRAGMAS = (
    "journal_mode=WAL",
    "synchronous=FULL",
    "temp_store=MEMORY",
    "secure_delete=ON",
    # Pages that many batches change (the ends of the indices) are written back once in 8 MiB.
    "wal_autocheckpoint=2048",
)
_READERS = 5
_MORE_READERS = 10
CACHE_MIB = 64
"""Holds the inner pages of all indices over ten million samples."""


def writer_of(path: Path, cache_mib: int = CACHE_MIB) -> Engine:
    """Return the engine of the connection that writes to the file `path`, opened on first use."""
    return _engine(path, cache_mib, writes=True, pool_size=1, max_overflow=0)


def readers_of(path: Path, cache_mib: int = CACHE_MIB) -> Engine:
    """Return the engine of connections that read the file `path`, opened on first use."""
    # The connection that was used last is used next: the others let their memory be.
    return _engine(
        path, cache_mib // 4, pool_size=_READERS, max_overflow=_MORE_READERS, pool_use_lifo=True
    )


def _engine(path: Path, cache_mib: int, *, writes: bool = False, **pool: Any) -> Engine:
    engine = create_engine(
        f"sqlite:///{path}", connect_args={"timeout": BUSY_S}, pool_timeout=BUSY_S, **pool
    )
    clock = SystemClock()

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: Any) -> None:
        # The driver must not begin transactions by itself: it would do so at the first write only.
        connection.isolation_level = None
        for pragma in (*_PRAGMAS, f"cache_size=-{max(1, cache_mib) * 1024}"):
            connection.execute(f"PRAGMA {pragma}")

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        if writes:
            _wait_for_lock(connection, clock)
        else:
            connection.exec_driver_sql("BEGIN")

    return engine


def _wait_for_lock(connection: Connection, clock: SystemClock) -> None:
    """Begin a writing transaction as soon as no other one is open."""
    until_us = clock.monotonic_us() + int(BUSY_S * 1e6)
    # By the driver itself: a look by way of SQLAlchemy costs a third of what it waits.
    driver: Any = connection.connection.driver_connection
    driver.execute("PRAGMA busy_timeout=0")
    try:
        while not _begins(driver, is_last=clock.monotonic_us() > until_us):
            clock.sleep_until_us(clock.monotonic_us() + _LOOK_AGAIN_US)
    except sqlite3.OperationalError as error:
        raise OperationalError("BEGIN IMMEDIATE", None, error) from error
    finally:
        driver.execute(f"PRAGMA busy_timeout={int(BUSY_S * 1000)}")


def _begins(driver: sqlite3.Connection, *, is_last: bool) -> bool:
    try:
        driver.execute("BEGIN IMMEDIATE")
    except sqlite3.OperationalError as error:
        # The low byte is the kind of error; the rest says more, such as BUSY_RECOVERY.
        if is_last or (error.sqlite_errorcode & 0xFF) != sqlite3.SQLITE_BUSY:
            raise
        return False
    return True


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Give the file `path`, made if it was missing, to one process at a time.

    Raises:
        UsageError: the folder cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with (path.parent / f".{path.name}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            with suppress(FileExistsError):
                os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
            yield
    except OSError as error:
        raise UsageError(f"cannot open the state in {path.parent}: {error.strerror}") from None


def forget(engine: Engine) -> None:
    """Empty the log of changes, which holds deleted pages until it is used again.

    Raises:
        RetryLaterError: somebody reads an older state.
    """
    with engine.connect() as connection:
        driver: Any = connection.connection.driver_connection
        (is_busy, *_) = driver.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    if is_busy:
        raise RetryLaterError("database: what was deleted is still being read")
