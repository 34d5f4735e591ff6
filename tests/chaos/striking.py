"""A kill that is looked at: the process is stopped, then looked at from outside, then killed.

Laws:
- the victim does nothing between the moment drawn for its death and its death: SIGSTOP freezes it
  there, and SIGKILL ends it without another instruction of its own;
- it is not asked anything: what the kernel tells of its locks says whether it was writing.
"""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Final

_WAL_WRITE_LOCK: Final = 120
"""The byte of a database's `-shm` file that a writing transaction locks from its start to its end:
"The Locks" in sqlite.org/walformat.html."""


def strike(pid: int, database: Path, kill: Callable[[], None]) -> bool:
    """Freeze our child `pid`, `kill` it, and tell whether a transaction of its was open."""
    os.kill(pid, signal.SIGSTOP)
    # Until all its threads stand, also one in fsync; an ended one is left to whoever waits for it.
    os.waitid(os.P_PID, pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    was_writing = writes(pid, database)
    kill()
    return was_writing


def writes(pid: int, database: Path, locks: Path = Path("/proc/locks")) -> bool:
    """Tell whether process `pid` holds the lock of a writing transaction on `database`."""
    shared = database.with_name(f"{database.name}-shm")
    if not shared.exists():
        return False
    inode = shared.stat().st_ino
    return any(_is_write_lock(line, pid, inode) for line in locks.read_text("ascii").splitlines())


def _is_write_lock(line: str, pid: int, inode: int) -> bool:
    # 1: POSIX  ADVISORY  WRITE 7971 fe:00:2146568 120 120; "->" before the kind: it only waits.
    words = line.split()
    if words[1:2] == ["->"] or words[1:4] != ["POSIX", "ADVISORY", "WRITE"]:
        return False
    holder, place, first, last = words[4:8]
    is_of = int(holder) == pid and int(place.rpartition(":")[2]) == inode
    return (
        is_of and int(first) <= _WAL_WRITE_LOCK and (last == "EOF" or int(last) >= _WAL_WRITE_LOCK)
    )
