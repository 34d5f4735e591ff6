"""The journal keeps what it took, once, whatever happens."""

import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from device.journal import DriveState, Journal
from shared.errors import RefusedError, RetryLaterError, UsageError
from shared.ids import SampleKey
from shared.messages import Desired
from tests.device.records import BOOT, JPEG, manoeuvre_end, sample

_ROOT = Path(__file__).parents[3]
A, B, C = "a" * 64, "b" * 64, "c" * 64


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal.open(tmp_path / "journal.sqlite")
    yield opened
    opened.close()


def test_what_is_appended_comes_back_oldest_first_and_whole(journal: Journal) -> None:
    later = sample(0, boot="00000002-00000000")
    first = [sample(number) for number in range(3)]
    journal.append(samples=[(later, None)])
    journal.append(samples=[(s, JPEG) for s in first], manoeuvres=[manoeuvre_end()])
    assert journal.unsent_samples(10) == [*first, later]
    assert journal.unsent_samples(2) == first[:2]
    assert journal.unsent_manoeuvres(10) == [manoeuvre_end()]
    pictures = journal.unsent_pictures(10)
    assert [p.sequence for p in pictures] == [0, 1, 2]
    assert pictures[0].jpeg == JPEG
    assert pictures[0].sha256 == first[0].picture_sha256


def test_the_same_sample_twice_counts_once(journal: Journal) -> None:
    for _ in range(2):
        journal.append(samples=[(sample(), JPEG)], manoeuvres=[manoeuvre_end()])
    assert journal.counts().pairs_logged == 1
    assert len(journal.unsent_manoeuvres(10)) == 1


def test_another_sample_under_a_used_key_is_refused_and_takes_its_transaction_along(
    journal: Journal,
) -> None:
    journal.append(samples=[(sample(0), None)])
    with pytest.raises(RefusedError, match="in use"):
        journal.append(samples=[(sample(1), None), (sample(0, label=1.0), None)])
    assert [s.sequence for s in journal.unsent_samples(10)] == [0]
    assert journal.counts().pairs_logged == 1


def test_marking_takes_rows_out_of_the_queue_once(journal: Journal) -> None:
    samples = [sample(number) for number in range(4)]
    journal.append(samples=[(s, JPEG) for s in samples], manoeuvres=[manoeuvre_end()])
    keys = [s.key for s in samples]
    for _ in range(2):
        journal.mark(samples=keys[:2], manoeuvres=[(BOOT, 1)], pictures=keys[:1], outcome="sent")
    journal.mark(samples=keys[1:3], outcome="rejected", reason="another task")
    counts = journal.counts()
    assert (counts.pairs_sent, counts.pairs_rejected, counts.queue_depth) == (2, 1, 1)
    assert journal.unsent_samples(10) == samples[3:]
    assert journal.unsent_manoeuvres(10) == []
    assert len(journal.unsent_pictures(10)) == 3


@pytest.mark.slow
@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(
        st.tuples(st.sampled_from(["append", "sent", "rejected", "dropped"]), st.integers(0, 9)),
        max_size=25,
    )
)
def test_logged_is_always_sent_and_rejected_and_waiting(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]]
) -> None:
    journal = Journal.open(tmp_path_factory.mktemp("j") / "journal.sqlite")
    appended: set[int] = set()
    dropped = 0
    for step, number in steps:
        if step == "append":
            journal.append(samples=[(sample(number), None)])
            appended.add(number)
        elif step == "dropped":
            journal.count_dropped("queue_full", number, BOOT)
            dropped += number
        else:
            key = SampleKey("car-1", BOOT, number)
            journal.mark(samples=[key], outcome="sent" if step == "sent" else "rejected")
        counts = journal.counts()
        left = counts.pairs_sent + counts.pairs_rejected + counts.queue_depth
        assert counts.pairs_logged == left == len(appended)
        assert counts.pairs_dropped == dropped
        assert counts.queue_depth == len(journal.unsent_samples(100))
    journal.close()


def test_boots_are_numbered_across_restarts(tmp_path: Path) -> None:
    boots = []
    for _ in range(3):
        journal = Journal.open(tmp_path / "journal.sqlite")
        boots.append(journal.start_boot(b"\x00\x01\x02\x03"))
        journal.close()
    assert boots == ["00000001-00010203", "00000002-00010203", "00000003-00010203"]


def test_committing_a_model_keeps_the_former_one_as_standby(journal: Journal) -> None:
    assert journal.active_model() is None
    states = []
    for digest, seq in ((A, 1), (B, 2), (C, 3), (B, 2), (B, 2)):
        journal.commit_slot(digest, seq)
        assert journal.active_model() == digest
        states.append({(slot.sha256, slot.state) for slot in journal.slots()})
    assert states == [
        {(A, "active"), (None, "empty")},
        {(A, "standby"), (B, "active")},
        {(B, "standby"), (C, "active")},
        {(B, "active"), (C, "standby")},
        {(B, "active"), (C, "standby")},
    ]


def test_single_rows_are_replaced_and_survive_closing(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    journal = Journal.open(path)
    assert (journal.desired(), journal.update_state(), journal.drive_state()) == (None, None, None)
    desired = Desired(device="car-1", epoch=1, revision=2, deployment="beige")
    state = DriveState(boot=BOOT, loaded=A, release_seq=1, state="idle", utc_us=5)
    for body in (b"old", b"new"):
        journal.set_desired(desired)
        journal.set_update_state(body)
        journal.set_drive_state(state)
    journal.close()
    again = Journal.open(path)
    assert again.desired() == desired
    assert again.update_state() == b"new"
    assert again.drive_state() == state
    again.close()


def test_what_is_no_journal_is_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot open the folder"):
        Journal.open(tmp_path / "missing" / "journal.sqlite")
    text = tmp_path / "text"
    text.write_text("this is no database, but long enough to look at " * 40)
    with pytest.raises(UsageError, match="not a journal"):
        Journal.open(text)
    other = tmp_path / "other.sqlite"
    connection = sqlite3.connect(other)
    connection.execute("CREATE TABLE music (title TEXT)")
    connection.close()
    with pytest.raises(UsageError, match="some other SQLite database"):
        Journal.open(other)


def test_a_journal_of_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    Journal.open(path).close()
    connection = sqlite3.connect(path)
    connection.execute(
        "INSERT INTO _sqlite_migrations (migration_set, name, applied_at)"
        " VALUES ('parkfleet-journal', '0999_later', '')"
    )
    connection.commit()
    connection.close()
    with pytest.raises(UsageError, match="newer parkfleet"):
        Journal.open(path)


def test_commits_reach_the_disk(journal: Journal) -> None:
    pragma = {name: journal.one(f"PRAGMA {name}") for name in ("journal_mode", "synchronous")}
    assert pragma == {"journal_mode": "wal", "synchronous": 2}


def test_a_full_disk_is_a_passing_fault_and_changes_nothing(journal: Journal) -> None:
    journal.append(samples=[(sample(0), None)])
    pages = journal.one("PRAGMA page_count")
    journal.db.execute(f"PRAGMA max_page_count = {pages + 2}")
    with pytest.raises(RetryLaterError, match="full"):
        journal.append(samples=[(sample(1), b"x" * 100_000)])
    assert journal.counts().pairs_logged == 1
    journal.db.execute("PRAGMA max_page_count = 100000")
    journal.append(samples=[(sample(1), b"x" * 100_000)])
    assert journal.counts().pairs_logged == 2


def test_both_processes_may_open_a_new_journal_and_write_at_once(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    failures: list[BaseException] = []

    def write(boot: str) -> None:
        try:
            journal = Journal.open(path)
            for number in range(20):
                journal.append(samples=[(sample(number, boot=boot), JPEG)])
            journal.close()
        except OSError as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(f"0000000{n}-00000000",)) for n in (1, 2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    journal = Journal.open(path)
    assert journal.counts().pairs_logged == 60
    journal.close()


def test_a_new_journal_is_its_owners_alone(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "journal.sqlite")
    journal.append(samples=[(sample(1), JPEG)])
    modes = {path.name: path.stat().st_mode & 0o777 for path in tmp_path.iterdir()}
    journal.close()
    assert set(modes) == {"journal.sqlite", "journal.sqlite-wal", "journal.sqlite-shm"}
    assert set(modes.values()) == {0o600}


@pytest.mark.parametrize("damage", [b"", b"\x00", b"\xff" * 9, b"\x81\xa1x\x01"])
def test_an_unreadable_row_is_put_aside_and_the_others_are_sent(
    tmp_path: Path, damage: bytes
) -> None:
    journal = Journal.open(tmp_path / "journal.sqlite")
    journal.append(samples=[(sample(n), JPEG) for n in range(3)], manoeuvres=[manoeuvre_end()])
    with sqlite3.connect(tmp_path / "journal.sqlite") as other:
        other.execute("UPDATE samples SET body = ? WHERE sequence = 1", (damage,))
        other.execute("UPDATE manoeuvres SET body = ?", (damage,))
    other.close()
    for _ in range(2):
        assert [each.sequence for each in journal.unsent_samples(9)] == [0, 2]
        assert journal.unsent_manoeuvres(9) == []
    counts = journal.counts()
    journal.close()
    assert (counts.pairs_logged, counts.pairs_rejected, counts.queue_depth) == (3, 1, 2)


def test_an_unreadable_wish_is_none_until_the_server_says_it_again(tmp_path: Path) -> None:
    journal = Journal.open(tmp_path / "journal.sqlite")
    wish = Desired(device="car-1", epoch=1, revision=1, deployment="beige")
    journal.set_desired(wish)
    with sqlite3.connect(tmp_path / "journal.sqlite") as other:
        other.execute("UPDATE desired SET body = x'81a178'")
    other.close()
    assert journal.desired() is None
    journal.set_desired(wish)
    assert journal.desired() == wish
    journal.close()


_WRITER = """
import sys
from pathlib import Path
from device.journal import Journal
from tests.device.records import JPEG, sample
journal = Journal.open(Path(sys.argv[1]))
boot = journal.start_boot(bytes(4))
for number in range(100_000):
    journal.append(samples=[(sample(number, boot=boot), JPEG * 1000)])
    print(number, flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("kills", [3])
def test_what_was_appended_survives_a_kill_at_any_instant(tmp_path: Path, kills: int) -> None:
    path = tmp_path / "journal.sqlite"
    promised = 0
    for round_number in range(kills):
        with subprocess.Popen(
            [sys.executable, "-c", _WRITER, str(path)], stdout=subprocess.PIPE, text=True, cwd=_ROOT
        ) as writer:
            assert writer.stdout is not None
            for _ in range(5 + 7 * round_number):
                writer.stdout.readline()
                promised += 1
            writer.kill()
            promised += len(writer.stdout.readlines())
        connection = sqlite3.connect(path)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
        connection.close()
        journal = Journal.open(path)
        stored = [s.key for s in journal.unsent_samples(100_000)]
        assert len(stored) == len(set(stored)) == journal.counts().pairs_logged
        # A commit whose promise was not printed any more may be there beside the promised ones.
        assert promised <= len(stored) <= promised + round_number + 1
        assert len(journal.unsent_pictures(100_000)) == len(stored)
        journal.close()
