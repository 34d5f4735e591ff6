"""SQLite's disk, watched and disturbed: a VFS that stands between SQLite and the files.

Laws:
- every write, truncation and flush of a database or its WAL passes here, in the order in which
  SQLite asks for them, and is done as it asked, unless `fails` has another answer;
- what a file's last flush covers is on the disk for good; of what came later any part may be there
  after a power cut (`cuts`), down to single sectors of 512 bytes;
- the `-shm` file is memory and is gone after a cut; that a file was made or removed is kept at
  once, since SQLite flushes the folder where it matters.

Python's own SQLite is reached through ctypes ("The SQLite OS Interface", sqlite.org/vfs.html). The
VFS is the default of this process while `watched` lasts.
"""

import _sqlite3
import ctypes
import random
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from shared.errors import UsageError

SECTOR_BYTES: Final = 512
_WORST: Final = 0.25
"""The share of cuts that leave nothing of what was not flushed."""


Kind = Literal["write", "truncate", "flush", "make", "remove", "mark"]


class Op(NamedTuple):
    """One operation: `at` is an offset (write), a length (truncate) or a number (mark)."""

    kind: Kind
    path: str
    at: int = 0
    data: bytes = b""


def never(_kind: Kind, _path: str) -> int:
    """Let every operation succeed."""
    return sqlite3.SQLITE_OK


@dataclass
class Disk:
    """What happened, in order; `fails` is asked before each operation for SQLite's result code."""

    ops: list[Op] = field(default_factory=list)
    fails: Callable[[Kind, str], int] = never
    failed: int = 0

    def mark(self, number: int) -> None:
        """Take note that something is promised from here on."""
        self.ops.append(Op("mark", "", number))

    def ask(self, kind: Kind, path: str) -> int:
        """Return SQLite's result code for an operation that is about to be done."""
        code = self.fails(kind, path)
        self.failed += code != sqlite3.SQLITE_OK
        return code


class Cut(NamedTuple):
    """What a power cut leaves: files by their path, and the newest mark before it.

    `unsure` operations were not flushed; `kept` of them are there, all or in part.
    """

    mark: int
    files: dict[str, bytes]
    unsure: int
    kept: int


def cuts(
    ops: Sequence[Op], states: int, rng: random.Random, before: Mapping[str, bytes] | None = None
) -> Iterator[Cut]:
    """Yield what `states` power cuts at random instants may leave, in order of their instants.

    `before` are the files that were on the disk, for good, when it began.
    """
    durable = {path: bytearray(body) for path, body in (before or {}).items()}
    unsure: list[Op] = []
    mark = 0
    instants = Counter(rng.choices(range(len(ops)), k=states))
    for instant, op in enumerate(ops):
        if op.kind == "mark":
            mark = op.at
        elif op.kind == "make":
            durable.setdefault(op.path, bytearray())
        elif op.kind == "remove":
            durable.pop(op.path, None)
        if op.kind == "flush":
            _apply(durable, [one for one in unsure if one.path == op.path])
        if op.kind in ("flush", "remove"):
            unsure = [one for one in unsure if one.path != op.path]
        if op.kind in ("write", "truncate"):
            unsure.append(op)
        for _ in range(instants[instant]):
            kept = [] if rng.random() < _WORST else _some(unsure, rng)
            yield _cut(mark, durable, kept, len(unsure))


def _cut(mark: int, durable: dict[str, bytearray], kept: Sequence[Op], unsure: int) -> Cut:
    files = {path: bytearray(body) for path, body in durable.items()}
    _apply(files, kept)
    found = {path: bytes(body) for path, body in files.items()}
    return Cut(mark=mark, files=found, unsure=unsure, kept=len(kept))


def _some(unsure: Sequence[Op], rng: random.Random) -> list[Op]:
    """Return any part of what is not sure: some operations, and some sectors of one of them."""
    share = rng.random()
    kept = [op for op in unsure if rng.random() < share]
    if kept and rng.random() < 0.5:
        at = rng.randrange(len(kept))
        kept[at : at + 1] = _sectors(kept[at], rng)
    return kept


def _sectors(op: Op, rng: random.Random) -> list[Op]:
    """Return the sectors of a write of which each may be there or not."""
    if op.kind != "write":
        return [op]
    found, at = [], 0
    while at < len(op.data):
        end = min(len(op.data), at + SECTOR_BYTES - (op.at + at) % SECTOR_BYTES)
        if rng.random() < 0.5:
            found.append(Op("write", op.path, op.at + at, op.data[at:end]))
        at = end
    return found


def _apply(files: dict[str, bytearray], ops: Sequence[Op]) -> None:
    for op in ops:
        body = files.setdefault(op.path, bytearray())
        if op.kind == "truncate":
            del body[op.at :]
            continue
        body.extend(bytes(max(0, op.at - len(body))))
        body[op.at : op.at + len(op.data)] = op.data


# What follows mirrors sqlite3.h: pointers to functions are `c_void_p` but for those replaced here.

_OPEN = ctypes.CFUNCTYPE(
    *(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int),
    ctypes.c_void_p,
)
_DELETE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int)
_WRITE = ctypes.CFUNCTYPE(
    *(ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_int64)
)
_TRUNCATE = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int64)
_FLUSH = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_int)


class _Vfs(ctypes.Structure):
    _fields_ = (
        ("version", ctypes.c_int),
        ("file_bytes", ctypes.c_int),
        ("path_bytes", ctypes.c_int),
        ("next", ctypes.c_void_p),
        ("name", ctypes.c_char_p),
        ("data", ctypes.c_void_p),
        ("open", ctypes.c_void_p),
        ("delete", ctypes.c_void_p),
        ("others", ctypes.c_void_p * 14),
    )


class _Methods(ctypes.Structure):
    _fields_ = (
        ("version", ctypes.c_int),
        ("close", ctypes.c_void_p),
        ("read", ctypes.c_void_p),
        ("write", ctypes.c_void_p),
        ("truncate", ctypes.c_void_p),
        ("flush", ctypes.c_void_p),
        ("others", ctypes.c_void_p * 13),
    )


class _File(ctypes.Structure):
    _fields_ = (("methods", ctypes.c_void_p),)


class _Between:
    """The functions that stand between; they live as long as the VFS is registered."""

    def __init__(self, usual: int, disk: Disk, folder: str) -> None:
        self._usual, self._disk, self._folder = usual, disk, folder
        vfs = _Vfs.from_address(usual)
        self._open, self._delete = _OPEN(vfs.open), _DELETE(vfs.delete)
        self._paths: dict[int, str] = {}
        self._methods: dict[int, _Methods] = {}
        self._kept: list[Any] = []
        self.vfs = _Vfs()
        ctypes.memmove(ctypes.byref(self.vfs), usual, ctypes.sizeof(_Vfs))
        self.vfs.next, self.vfs.name = None, b"chaos"
        self.vfs.open = self._keep(_OPEN(self.open))
        self.vfs.delete = self._keep(_DELETE(self.delete))

    def _keep(self, function: Any) -> int | None:
        self._kept.append(function)
        return ctypes.cast(function, ctypes.c_void_p).value

    def open(self, _vfs: int, name: int, file: int, flags: int, out: int) -> int:
        path = ctypes.string_at(name).decode() if name else ""
        is_new = not Path(path).exists()
        code: int = self._open(self._usual, name, file, flags, out)
        if code == sqlite3.SQLITE_OK and path.startswith(self._folder):
            if is_new:
                self._disk.ops.append(Op("make", path))
            self._paths[file] = path
            opened = _File.from_address(file)
            opened.methods = ctypes.addressof(self._watching(opened.methods))
        return code

    def delete(self, _vfs: int, name: int, flushes: int) -> int:
        path = ctypes.string_at(name).decode()
        if path.startswith(self._folder):
            self._disk.ops.append(Op("remove", path))
        return int(self._delete(self._usual, name, flushes))

    def _watching(self, usual: int) -> _Methods:
        """Return the functions of an open file, with three of them between."""
        if usual not in self._methods:
            methods = self._methods[usual] = _Methods()
            ctypes.memmove(ctypes.byref(methods), usual, ctypes.sizeof(_Methods))
            write, truncate = _WRITE(methods.write), _TRUNCATE(methods.truncate)
            flush = _FLUSH(methods.flush)

            def written(file: int, data: int, size: int, at: int) -> int:
                op = Op("write", self._paths[file], at, ctypes.string_at(data, size))
                return self._done(op, lambda: write(file, data, size, at))

            def truncated(file: int, size: int) -> int:
                return self._done(
                    Op("truncate", self._paths[file], size), lambda: truncate(file, size)
                )

            def flushed(file: int, flags: int) -> int:
                return self._done(Op("flush", self._paths[file]), lambda: flush(file, flags))

            methods.write = self._keep(_WRITE(written))
            methods.truncate = self._keep(_TRUNCATE(truncated))
            methods.flush = self._keep(_FLUSH(flushed))
        return self._methods[usual]

    def _done(self, op: Op, do: Callable[[], Any]) -> int:
        if code := self._disk.ask(op.kind, op.path):
            return code
        code = int(do())
        if code == sqlite3.SQLITE_OK:
            self._disk.ops.append(op)
        return code


@contextmanager
def watched(folder: Path) -> Iterator[Disk]:
    """Watch what SQLite does below `folder` on connections that are opened in a `with` block.

    Close them before it ends.

    Raises:
        UsageError: this Python hides its SQLite.
    """
    library = ctypes.CDLL(_sqlite3.__file__)
    try:
        library.sqlite3_vfs_find.restype = ctypes.c_void_p
        find, register = library.sqlite3_vfs_find, library.sqlite3_vfs_register
    except AttributeError:
        raise UsageError(
            "this Python hides its SQLite's functions: use one that is linked with libsqlite3"
        ) from None
    usual: int = find(None)
    disk = Disk()
    between = _Between(usual, disk, str(folder.absolute()))
    register(ctypes.byref(between.vfs), 1)
    try:
        yield disk
    finally:
        library.sqlite3_vfs_unregister(ctypes.byref(between.vfs))
        register(ctypes.c_void_p(usual), 1)
