"""What a disk may hold after a power cut: what was flushed, whole, and any part of the rest."""

import random
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from tests.chaos.disk import Disk, Op, cuts, watched

ROWS = 20


def worked(folder: Path, synchronous: str) -> Disk:
    """Commit rows one by one, marking each, in a database with that setting."""
    with (
        watched(folder) as disk,
        closing(sqlite3.connect(folder / "db", isolation_level=None)) as db,
    ):
        db.execute("PRAGMA journal_mode = WAL")
        db.execute(f"PRAGMA synchronous = {synchronous}")
        db.execute("CREATE TABLE rows (number INTEGER PRIMARY KEY, body BLOB)")
        for number in range(1, ROWS + 1):
            db.execute("INSERT INTO rows VALUES (?, ?)", (number, bytes([number]) * 3000))
            disk.mark(number)
            if number % 10 == 0:
                db.execute("PRAGMA wal_checkpoint(RESTART)")
    return disk


def missing(disk: Disk, folder: Path, rng: random.Random) -> Iterator[int]:
    """Yield for 20 power cuts how many marked rows are not there."""
    for number, cut in enumerate(cuts(disk.ops, 20, rng)):
        place = folder / str(number)
        place.mkdir()
        for path, body in cut.files.items():
            (place / Path(path).name).write_bytes(body)
        with closing(sqlite3.connect(place / "db")) as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            tables = db.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]
            rows = db.execute("SELECT count(*) FROM rows").fetchone()[0] if tables else 0
        assert rows <= cut.mark + 1
        yield max(0, cut.mark - rows)


def test_a_database_that_flushes_each_commit_loses_none_and_one_that_does_not_is_found_out(
    tmp_path: Path,
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "normal").mkdir()
    full = worked(tmp_path / "full", "FULL")
    assert set(missing(full, tmp_path / "full", random.Random(1))) == {0}
    normal = worked(tmp_path / "normal", "NORMAL")
    assert max(missing(normal, tmp_path / "normal", random.Random(1))) > 1


def test_what_was_flushed_is_there_and_what_was_not_may_be_in_part() -> None:
    ops = [
        Op("make", "a"),
        Op("write", "a", 0, b"x" * 1024),
        Op("flush", "a"),
        Op("write", "a", 0, b"y" * 1024),
        Op("mark", "", 1),
    ]
    found = [cut.files["a"] for cut in cuts(ops, 400, random.Random(3)) if cut.mark == 1]
    halves = {b"x" * 512, b"y" * 512}
    assert {body[:512] for body in found} == {body[512:] for body in found} == halves
    # Also one sector of the two.
    assert any(body[:512] != body[512:] for body in found)


def test_a_disk_that_fails_is_heard_by_who_commits_and_the_next_commit_succeeds(
    tmp_path: Path,
) -> None:
    with watched(tmp_path) as disk, closing(sqlite3.connect(tmp_path / "db")) as db:
        db.execute("CREATE TABLE rows (number)")
        disk.fails = lambda kind, _path: sqlite3.SQLITE_FULL if kind == "write" else 0
        with pytest.raises(sqlite3.OperationalError, match="full"), db:
            db.execute("INSERT INTO rows VALUES (1)")
        disk.fails = lambda _kind, _path: 0
        with db:
            db.execute("INSERT INTO rows VALUES (2)")
        assert db.execute("SELECT number FROM rows").fetchall() == [(2,)]
        assert disk.failed
