"""What one process at a time holds, for as long as it lives, and no moment longer.

Laws:
- nobody counts seconds: the kernel gives up a dead process's lock on a file, PostgreSQL that of a
  session that ended, so the next process need not wait;
- a claim says who may begin; that only one acts is seen to by `leases`, in the transactions.
"""

import fcntl
import os
import zlib
from pathlib import Path
from typing import Protocol

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from shared.errors import UsageError

_SPACE = 0x7061726B  # "park"; pairs of numbers are apart from the single one that writers take.

# PostgreSQL finds out within 20 s that a machine is gone that had no time to say so.
_KEEPALIVES = ("tcp_keepalives_idle = 5", "tcp_keepalives_interval = 5", "tcp_keepalives_count = 3")


class Claim(Protocol):
    """Something held by this process alone."""

    def is_held(self) -> bool:
        """Tell whether it still is."""
        ...

    def release(self) -> None:
        """Give it up."""
        ...


class _File:
    """A locked file beside an SQLite database."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def is_held(self) -> bool:
        return True

    def release(self) -> None:
        os.close(self._descriptor)


class _Session:
    """A session of PostgreSQL that holds an advisory lock."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._is_lost = False

    def is_held(self) -> bool:
        # Asked once more, the connection would quietly be another one, without the lock.
        if not self._is_lost:
            try:
                self._connection.execute(text("SELECT 1"))
            except DBAPIError:
                self._is_lost = True
        return not self._is_lost

    def release(self) -> None:
        # Ended, not pooled: a pooled session would keep the lock.
        self._connection.invalidate()
        self._connection.close()


def claim(engine: Engine, name: str) -> Claim | None:
    """Return the claim to `name` among the processes on one database, or None where it is taken.

    Raises:
        UsageError: the folder of the database cannot be written.
        DBAPIError: the database cannot be reached.
    """
    if engine.dialect.name == "postgresql":
        return _claim_session(engine, name)
    return _claim_file(Path(str(engine.url.database)), name)


def _claim_file(path: Path, name: str) -> Claim | None:
    try:
        descriptor = os.open(
            path.with_name(f".{path.name}.{name}.lock"),
            os.O_RDWR | os.O_CREAT | os.O_CLOEXEC,
            0o600,
        )
    except OSError as error:
        raise UsageError(f"cannot write in {path.parent}: {error.strerror}") from None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    return _File(descriptor)


def _claim_session(engine: Engine, name: str) -> Claim | None:
    connection = engine.execution_options(isolation_level="AUTOCOMMIT", writes=False).connect()
    number = zlib.crc32(name.encode()) - 2**31  # into the range of a signed number of 32 bits
    for setting in _KEEPALIVES:
        connection.execute(text(f"SET {setting}"))
    query = text("SELECT pg_try_advisory_lock(:space, :number)")
    if connection.scalar(query, {"space": _SPACE, "number": number}):
        return _Session(connection)
    connection.invalidate()
    connection.close()
    return None
