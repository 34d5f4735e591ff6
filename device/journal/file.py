"""The journal's file: opened, checked, migrated, and its failures translated.

Laws:
- a file that is no journal, or a newer version's, is left as it was;
- a new journal is its owner's alone (mode 0600), since it holds pictures;
- commits reach the disk before they are reported (WAL, synchronous=FULL);
- SQLite's exceptions end here: what may pass later is `RetryLaterError`, a damaged file
  `RefusedError`, and only our own bugs go on as they are.
"""

import fcntl
import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

from sqlite_utils import Database

from device.journal.schema import APPLICATION_ID, MIGRATIONS, unknown_migrations
from shared.errors import RefusedError, RetryLaterError, UsageError

_BUSY_TIMEOUT_S = 5.0

_PAGE_BYTES = 1024
"""Smaller than any row that is given up for room (a sample, a picture), so that each frees pages of
its own. With SQLite's 4096 two rows share a page, and thinning them evenly frees none: to win a
twentieth of the file, half of the pairs went.
"""

_REMEDY = "move it away, and the next start of drive begins a new one"


def open_database(path: Path) -> Database:
    """Return the journal's database at `path`, created or migrated where needed.

    Raises:
        UsageError: there is no such folder, or the file is no journal or a newer version's.
        RefusedError: the file is damaged.
        RetryLaterError: the disk or the other process is in the way.
    """
    with _locked_folder(path.parent):
        return _open(path)


def open_for_reading(path: Path) -> Database:
    """Return the journal's database at `path` for reading only, also from a read-only disk.

    Raises:
        RetryLaterError: it cannot be read, or is none of this version's.
    """
    # SQLite shares a WAL through files that it may have to make. Where there is no WAL, the file
    # alone is the whole journal, and may be read without making any.
    has_wal = path.with_name(f"{path.name}-wal").exists()
    uri = f"file:{quote(str(path.absolute()))}?{'mode=ro' if has_wal else 'immutable=1'}"
    try:
        connection = sqlite3.connect(uri, uri=True, timeout=_BUSY_TIMEOUT_S, isolation_level=None)
        db = Database(connection)
        if MIGRATIONS.pending(db) or unknown_migrations(db):
            connection.close()
            raise RetryLaterError(f"journal {path} is of another version")
    except sqlite3.Error as error:
        raise RetryLaterError(f"journal {path}: {error}") from error
    return db


class JournalFile:
    """An open journal's connection, and transactions on it."""

    def __init__(self, db: Database) -> None:
        """Take an open, migrated database."""
        self.db = db

    def close(self) -> None:
        """Close the connection; what was committed stays."""
        self.db.close()

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Run a block as one transaction that is on the disk when the block is left.

        Raises:
            RetryLaterError: disk full, input or output failed, or locked for too long.
            RefusedError: the file is damaged.
        """
        # IMMEDIATE: a transaction that reads first and writes later could not wait for the other
        # process, since its snapshot would be stale once it got the lock.
        with translated(), transaction(self.db, "IMMEDIATE"):
            yield

    @contextmanager
    def reading(self) -> Iterator[None]:
        """Run a block that sees the journal of one instant.

        Raises:
            RetryLaterError: input failed, or locked for too long.
            RefusedError: the file is damaged.
        """
        with translated(), transaction(self.db, "DEFERRED"):
            yield

    def one(self, sql: str, *parameters: object) -> Any:
        """Return the first column of the first row, or None where there is none."""
        row = self.db.execute(sql, parameters).fetchone()
        return None if row is None else row[0]


@contextmanager
def translated() -> Iterator[None]:
    """Turn SQLite's exceptions into ours.

    Raises:
        RetryLaterError: disk full, input or output failed, or locked for too long.
        RefusedError: the file is damaged.
    """
    try:
        yield
    except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
        raise  # Our own bug, and no news about the file.
    except sqlite3.OperationalError as error:
        raise RetryLaterError(f"journal: {error}") from error
    except sqlite3.DatabaseError as error:
        raise RefusedError(f"journal is damaged: {error}") from error


def is_full(error: RetryLaterError) -> bool:
    """Tell whether `error` is the journal's want of space, which giving up rows can cure."""
    cause = error.__cause__
    return isinstance(cause, sqlite3.Error) and cause.sqlite_errorcode == sqlite3.SQLITE_FULL


@contextmanager
def transaction(db: Database, mode: Literal["IMMEDIATE", "DEFERRED"]) -> Iterator[None]:
    """Run a block as one transaction, which an exception undoes."""
    db.conn.execute(f"BEGIN {mode}")
    try:
        yield
        db.conn.execute("COMMIT")
    except BaseException:
        # A full disk may have rolled back already; rolling back again then does nothing.
        db.conn.rollback()
        raise


@contextmanager
def _locked_folder(folder: Path) -> Iterator[None]:
    # SQLite's own lock does not cover the switch to WAL, and both processes may start at once.
    try:
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    except OSError as error:
        raise UsageError(f"cannot open the folder {folder}: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _open(path: Path) -> Database:
    try:
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        raise RetryLaterError(f"cannot create the journal {path}: {error.strerror}") from None
    try:
        db = Database(sqlite3.connect(path, timeout=_BUSY_TIMEOUT_S, isolation_level=None))
    except sqlite3.OperationalError as error:
        if path.is_dir():
            raise UsageError(f"cannot open the journal {path}: it is a folder") from None
        raise RetryLaterError(f"cannot open the journal {path}: {error}") from error
    try:
        _prepare(db, path)
    except sqlite3.OperationalError as error:
        db.close()
        raise RetryLaterError(f"journal {path}: {error}") from error
    except sqlite3.DatabaseError as error:
        db.close()
        if error.sqlite_errorcode == sqlite3.SQLITE_NOTADB:
            raise UsageError(f"{path} is not a journal: {error}; {_REMEDY}") from None
        raise RefusedError(f"journal {path} is damaged: {error}; {_REMEDY}") from error
    except UsageError:
        db.close()
        raise
    return db


def _prepare(db: Database, path: Path) -> None:
    marked = db.execute("PRAGMA application_id").fetchone()[0] == APPLICATION_ID
    if not marked and db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
        raise UsageError(f"{path} is not a journal: it is some other SQLite database")
    if unknown := unknown_migrations(db):
        raise UsageError(
            f"{path} was written by a newer parkfleet (migration {unknown[0]}): upgrade this one"
        )
    # Of effect in a new file alone, and before anything is in it.
    db.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
    db.enable_wal()
    db.execute("PRAGMA synchronous = FULL")
    if MIGRATIONS.pending(db):
        with transaction(db, "IMMEDIATE"):
            MIGRATIONS.apply(db)
