"""Rules that miss a loss prove nothing: every kind of fault shows, and nothing else does."""

import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from random import Random

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.ids import sha256_hex
from shared.messages import Batch, Receipt
from shared.samples import ManoeuvreEnd, Picture, Sample
from tests.chaos import stock
from tests.chaos.cars import manoeuvres
from tests.chaos.promises import Faults, Promises
from tests.chaos.stock import Row, Stock
from tests.chaos.striking import strike, writes
from tests.fleet_server.fleet import Fleet

CAR = "car-1"
NONE = Faults()


def driven(seed: int, count: int) -> list[Batch]:
    """Return the batches of a car's first manoeuvres."""
    road = manoeuvres(CAR, Random(seed))
    found = []
    for _ in range(count):
        rows = next(road)
        found.append(
            Batch(
                device=CAR,
                samples=tuple(row for row in rows if isinstance(row, Sample)),
                manoeuvres=tuple(row for row in rows if isinstance(row, ManoeuvreEnd)),
                pictures=tuple(row for row in rows if isinstance(row, Picture)),
            )
        )
    return found


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> tuple[Promises, Path]:
    """Return what a server promised that took some batches, and its database."""
    fleet, promises = Fleet(tmp_path_factory.mktemp("server")), Promises()
    fleet.add_car(CAR)
    for batch in driven(seed=1, count=6):
        promises.send(sha256_hex(fleet.sealed(batch)), batch)
        reply = fleet.send(batch)
        assert reply is not None
        promises.hear(reply.receipt)
    fleet.close()
    return promises, fleet.state / "server.sqlite"


@pytest.fixture
def kept(served: tuple[Promises, Path], tmp_path: Path) -> tuple[Promises, Path]:
    """Return a copy of `served`, to be damaged."""
    promises, path = served
    return deepcopy(promises), Path(shutil.copy(path, tmp_path))


def test_a_database_that_keeps_everything_has_no_fault(kept: tuple[Promises, Path]) -> None:
    promises, path = kept
    assert promises.see(stock.read(path)) == NONE
    assert (promises.stored, promises.rejected) == (6, [])
    assert {key.kind for key in promises.promised} == {"sample", "manoeuvre", "picture"}


DAMAGES: list[tuple[str, str]] = [
    ("DELETE FROM samples WHERE id = 1", "lost_pairs"),
    ("DELETE FROM pictures WHERE id = 1", "lost_others"),
    ("DELETE FROM manoeuvres WHERE id = 1", "lost_others"),
    ("DELETE FROM samples WHERE id = 1", "torn"),
    ("DELETE FROM batches WHERE id = 1", "torn"),
    ("UPDATE samples SET content_hash = 'another' WHERE id = 1", "altered"),
    ("UPDATE manoeuvres SET body = x'00' WHERE id = 1", "altered"),
    ('UPDATE pictures SET "offset" = "offset" + 1 WHERE id = 1', "altered"),
    ("UPDATE samples SET sequence = 999 WHERE id = 1", "unknown"),
    ("UPDATE batches SET body = x'00' WHERE id = 1", "unknown"),
    ("UPDATE devices SET pairs_stored = pairs_stored + 1", "miscounted"),
    ("UPDATE devices SET pictures_stored = 0", "miscounted"),
    ("UPDATE deployments SET pairs_stored = pairs_stored - 1", "miscounted"),
    ("UPDATE tallies SET led = led + 1 WHERE model = ''", "mistallied"),
    ("UPDATE tallies SET error_sum = error_sum + 0.1 WHERE model != ''", "mistallied"),
    ("DELETE FROM tallies WHERE manoeuvre = 0", "mistallied"),
    ("UPDATE tallies SET manoeuvre = 99 WHERE manoeuvre = 0", "mistallied"),
]


@pytest.mark.parametrize(("damage", "fault"), DAMAGES)
def test_every_fault_of_a_database_is_found(
    kept: tuple[Promises, Path], damage: str, fault: str
) -> None:
    promises, path = kept
    with closing(sqlite3.connect(path)) as database, database:
        database.execute(damage)
    assert getattr(promises.see(stock.read(path)), fault) > 0
    assert getattr(promises.worst, fault) > 0


def test_a_row_that_is_there_twice_and_an_unsound_file_are_found(
    kept: tuple[Promises, Path],
) -> None:
    promises, path = kept
    now = stock.read(path)
    assert promises.see(replace(now, rows=[*now.rows, now.rows[0]])).doubled == 1
    assert promises.see(replace(now, integrity="row 1 missing from index")).unsound == 1
    assert promises.worst == Faults(doubled=1, unsound=1)


def test_what_was_seen_once_must_be_seen_again_and_what_was_not_promised_may_be_missing() -> None:
    promises = Promises()
    first, second = driven(seed=2, count=2)
    promises.send("first", first)
    promises.send("second", second)
    empty = Stock(rows=[], batches={}, counters={}, rows_counted={}, tallies={}, integrity="ok")
    assert promises.see(empty) == NONE
    key = promises.messages["first"][-1]
    promises.see(replace(empty, rows=[Row(key, "hash", "hash", 1)]))
    assert promises.see(empty).gone == 1


@pytest.mark.parametrize(
    ("outcome", "promised"), [("stored", True), ("duplicate", True), ("rejected", False)]
)
def test_only_a_receipt_that_lets_the_car_forget_is_a_promise(outcome: str, promised: bool) -> None:
    promises = Promises()
    (batch,) = driven(seed=3, count=1)
    digest = "ab" * 32
    promises.send(digest, batch)
    receipt = {"device": CAR, "batch": digest, "outcome": outcome, "reason": "a test"}
    promises.hear(msgspec.convert(receipt, Receipt))
    assert bool(promises.promised) is promised
    assert promises.rejected == ([] if promised else ["a test"])


def test_a_receipt_for_what_nobody_sent_is_told() -> None:
    promises = Promises()
    promises.hear(Receipt(device=CAR, batch="ab" * 32, outcome="stored"))
    assert (len(promises.rejected), promises.stored) == (1, 0)


@pytest.mark.slow
@given(st.integers(0, 2**16))
def test_what_cars_drive_depends_on_the_seed_alone(seed: int) -> None:
    assert driven(seed, 2) == driven(seed, 2)


def test_faults_are_compared_and_added_field_by_field() -> None:
    one, other = Faults(torn=2, gone=1), Faults(torn=1, unsound=1)
    assert one.worst(other) == Faults(torn=2, gone=1, unsound=1)
    assert one.plus(other) == Faults(torn=3, gone=1, unsound=1)


LOCKS = """\
1: POSIX  ADVISORY  WRITE {pid} fe:00:{inode} {first} {last}
2: FLOCK  ADVISORY  WRITE {pid} fe:00:77 0 EOF
3: -> POSIX  ADVISORY  WRITE 99 fe:00:{inode} 120 120
"""


@pytest.mark.parametrize(
    ("first", "last", "pid", "held"),
    [
        (120, "120", 42, True),
        (120, "127", 42, True),
        (0, "EOF", 42, True),
        (121, "121", 42, False),
        (128, "128", 42, False),
        (120, "120", 43, False),
    ],
)
def test_who_writes_is_read_from_the_kernels_locks(
    tmp_path: Path, first: int, last: str, pid: int, held: bool
) -> None:
    shared, locks = tmp_path / "db-shm", tmp_path / "locks"
    shared.touch()
    inode = shared.stat().st_ino
    locks.write_text(LOCKS.format(pid=pid, inode=inode, first=first, last=last))
    assert writes(42, tmp_path / "db", locks) is held
    assert not writes(99, tmp_path / "db", locks), "who waits for the lock does not hold it"


WRITER = """
import sqlite3, sys
database = sqlite3.connect(sys.argv[1], isolation_level=None)
database.execute("PRAGMA journal_mode=WAL")
database.execute("CREATE TABLE t (x)")
if sys.argv[2] == "open":
    database.execute("BEGIN IMMEDIATE")
print("ready", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("state", ["open", "idle"])
def test_a_kill_tells_whether_a_transaction_was_open(tmp_path: Path, state: str) -> None:
    path = tmp_path / "db"
    words = [sys.executable, "-c", WRITER, str(path), state]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        assert strike(process.pid, path, process.kill) is (state == "open")
        assert process.wait(10) == -signal.SIGKILL
