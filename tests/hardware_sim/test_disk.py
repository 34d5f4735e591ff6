import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from hardware_sim.disk import Disk
from hardware_sim.faults import Fault
from hardware_sim.world import World
from tests.hardware_sim.worlds import START_US, exact_scene, let_pass

_FULL = Fault(name="disk_full", from_s=1.0, for_s=1.0)


@pytest.fixture
def disk() -> Iterator[tuple[Disk, World]]:
    world = World(exact_scene(), 1, start_us=START_US, faults=(_FULL,))
    made = Disk(world)
    yield made, world
    made.close()


def test_while_the_disk_is_full_every_write_fails_and_then_works_again(
    disk: tuple[Disk, World], tmp_path: Path
) -> None:
    _, world = disk
    (tmp_path / "before").write_text("room")
    let_pass(world, 1.1)
    with pytest.raises(OSError, match="too large"):
        (tmp_path / "during").write_text("none")
    assert (tmp_path / "before").read_text() == "room"
    let_pass(world, 1.0)
    (tmp_path / "after").write_text("room")


def test_a_database_loses_nothing_that_was_committed(
    disk: tuple[Disk, World], tmp_path: Path
) -> None:
    _, world = disk
    base = sqlite3.connect(tmp_path / "base", isolation_level=None)
    base.execute("PRAGMA journal_mode = WAL")
    base.execute("CREATE TABLE rows (n)")
    base.execute("INSERT INTO rows VALUES (1)")
    let_pass(world, 1.1)
    with pytest.raises(sqlite3.OperationalError):
        base.execute("INSERT INTO rows VALUES (2)")
    assert base.execute("SELECT n FROM rows").fetchall() == [(1,)]
    let_pass(world, 1.0)
    base.execute("INSERT INTO rows VALUES (3)")
    assert base.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert base.execute("SELECT n FROM rows").fetchall() == [(1,), (3,)]
    base.close()


def test_the_laboratorys_own_files_are_spared(disk: tuple[Disk, World], tmp_path: Path) -> None:
    made, world = disk
    let_pass(world, 1.1)
    with made.spared():
        (tmp_path / "notes").write_text("written")
    with pytest.raises(OSError, match="too large"):
        (tmp_path / "others").write_text("none")


def test_closing_leaves_room_to_write(disk: tuple[Disk, World], tmp_path: Path) -> None:
    made, world = disk
    let_pass(world, 1.1)
    made.close()
    (tmp_path / "file").write_text("room")
