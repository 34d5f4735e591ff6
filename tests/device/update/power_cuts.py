"""What a disk holds at every instant of a piece of work, so that a power cut can be tried at each.

Laws:
- a snapshot is taken before every operation on a file below the folder: each opening to write, each
  rename, removal, folder, link and flush that Python makes, and each statement of the database;
- states that are the same to the byte are kept once;
- what was written and never flushed may be lost: of each state with such files there is one more in
  which they are empty, and one in which half of each is there. SQLite's own files are left as they
  are: it flushes in C what it promises to keep.
"""

import hashlib
import os
import shutil
import sqlite3
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_CHANGING = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.symlink", "os.truncate")
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


@dataclass
class Cuts:
    """The states of `folder` that a power cut may leave behind, below `kept`."""

    folder: Path
    kept: Path
    operations: int = 0
    states: dict[str, Path] = field(default_factory=dict)
    _dirty: set[Path] = field(default_factory=set)
    _is_looking: bool = False

    def look(self, what: str) -> None:
        """Keep what the disk holds now, before `what` happens."""
        if self._is_looking:
            return
        self._is_looking = True
        try:
            self.operations += 1
            self._keep(f"{self.operations:04d}-{what}", {})
            unsure = {path for path in self._dirty if path.is_file()}
            if unsure:
                self._keep(f"{self.operations:04d}-{what}-lost", dict.fromkeys(unsure, 0.0))
                self._keep(f"{self.operations:04d}-{what}-torn", dict.fromkeys(unsure, 0.5))
        finally:
            self._is_looking = False

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Take one of Python's audit events."""
        if self._is_looking:
            return
        if event == "open":
            path, _, flags = arguments
            if isinstance(path, str) and self._is_ours(path) and flags & _WRITES:
                self.look("open")
                if not Path(path).name.startswith("journal.sqlite"):
                    self._dirty.add(Path(path))
        elif event in _CHANGING and any(self._is_ours(each) for each in arguments[:2]):
            self.look(event)
            if event == "os.rename" and Path(arguments[0]) in self._dirty:
                self._dirty.add(Path(arguments[1]))

    def flushed(self, path: str) -> None:
        """Take note that the file at `path` is on the disk from now on."""
        self._dirty.discard(Path(path))

    def _is_ours(self, path: object) -> bool:
        return isinstance(path, str | os.PathLike) and str(path).startswith(str(self.folder))

    def _keep(self, name: str, shares: dict[Path, float]) -> None:
        digest = hashlib.sha256()
        for path in sorted(self.folder.rglob("*")):
            digest.update(str(path).encode())
            if path.is_symlink():
                digest.update(bytes(path.readlink()))
            elif path.is_file():
                digest.update(_part(path, shares))
        if digest.hexdigest() in self.states:
            return
        place = self.kept / name.replace(".", "-")
        shutil.copytree(self.folder, place, symlinks=True)
        for path in shares:
            copy = place / path.relative_to(self.folder)
            if not path.is_symlink():
                copy.write_bytes(_part(path, shares))
        self.states[digest.hexdigest()] = place


_heard: list[Callable[[str, tuple[Any, ...]], None]] = []
"""Who hears Python's audit events: a hook, once added, stays for the life of the process."""


@contextmanager
def watched(folder: Path, kept: Path, database: sqlite3.Connection) -> Iterator[Cuts]:
    """Yield the states that `folder` passes through within a `with` block."""
    cuts = Cuts(folder, kept)
    if not _heard:
        sys.addaudithook(_hook)
        _heard.append(_nobody)
    really = os.fsync

    def fsync(fd: Any) -> None:
        path = str(Path(f"/proc/self/fd/{fd}").readlink())
        cuts.look("flush")
        really(fd)
        cuts.flushed(path)

    _heard.append(cuts.hear)
    os.fsync = fsync
    database.set_trace_callback(lambda statement: cuts.look(statement.split()[0].lower()))
    try:
        yield cuts
        cuts.look("end")
    finally:
        database.set_trace_callback(None)
        os.fsync = really
        _heard.remove(cuts.hear)


def _hook(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" or event in _CHANGING:
        for each in tuple(_heard):
            each(event, arguments)


def _nobody(event: str, arguments: tuple[Any, ...]) -> None:
    """Hear nothing."""


def _part(path: Path, shares: dict[Path, float]) -> bytes:
    content = path.read_bytes()
    return content[: int(len(content) * shares.get(path, 1.0))]
