"""No pair that was accepted gets lost, and none holds up the wheels."""

import sqlite3
from pathlib import Path

import numpy as np
import pytest

from device.drive import writer as module
from device.drive.recorder import Recorder
from device.journal import Journal, JournalCounts
from device.journal.room import Budget
from shared.ids import sha256_hex
from shared.messages import UPLOAD_ORDER
from shared.samples import ManoeuvreEnd
from tests.device.records import BOOT, manoeuvre_end, sample

BUDGET = Budget(journal_bytes=10**9, spare_bytes=0)
PICTURE = np.zeros((75, 100, 3), dtype=np.uint8)


def tally(path: Path) -> Path:
    return path.with_name("pairs.tally")


def stored(path: Path) -> tuple[JournalCounts, list[ManoeuvreEnd]]:
    journal = Journal.open(path)
    found = journal.counts(), journal.unsent_manoeuvres(10)
    journal.close()
    return found


def test_pairs_are_completed_and_the_end_says_how_many_there_are(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    recorder = Recorder(path, boot=BOOT, tally=tally(path), budget=BUDGET)
    for number in range(5):
        assert recorder.log(sample(number, characteristics=None, picture_sha256=None), PICTURE)
    recorder.end(manoeuvre_end(pairs=0))
    recorder.flush()
    journal = Journal.open(path)
    pictures, samples = journal.unsent_pictures(10), journal.unsent_samples(10)
    assert [s.picture_sha256 for s in samples] == [sha256_hex(p.jpeg) for p in pictures]
    assert all(s.characteristics is not None for s in samples)
    assert [end.pairs for end in journal.unsent_manoeuvres(10)] == [5]
    journal.close()
    recorder.close()


def test_what_the_disk_refuses_is_kept_and_written_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("device.journal.file._BUSY_TIMEOUT_S", 0.01)
    path = tmp_path / "journal.sqlite"
    Journal.open(path).close()
    recorder = Recorder(path, boot=BOOT, tally=tally(path), budget=BUDGET)
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    for number in range(5):
        recorder.log(sample(number), PICTURE)
    recorder.flush()
    assert "locked" in recorder.fault
    blocker.execute("ROLLBACK")
    blocker.close()
    recorder.end(manoeuvre_end())
    recorder.flush()
    assert recorder.fault == ""
    recorder.close()
    counts, ends = stored(path)
    assert counts.pairs_logged == 5
    assert [end.pairs for end in ends] == [5]


def test_what_does_not_fit_is_dropped_counted_and_missing_from_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("device.journal.file._BUSY_TIMEOUT_S", 0.01)
    monkeypatch.setattr(module, "_MAX_HELD", 3)
    path = tmp_path / "journal.sqlite"
    Journal.open(path).close()
    recorder = Recorder(path, boot=BOOT, tally=tally(path), budget=BUDGET)
    blocker = sqlite3.connect(path, isolation_level=None)
    blocker.execute("BEGIN IMMEDIATE")
    for number in range(5):
        recorder.log(sample(number), PICTURE)
    recorder.flush()
    blocker.execute("ROLLBACK")
    blocker.close()
    recorder.end(manoeuvre_end())
    recorder.close()
    counts, ends = stored(path)
    assert (counts.pairs_logged, counts.pairs_dropped) == (3, 2)
    assert [end.pairs for end in ends] == [3]


def test_a_pair_that_the_journal_refuses_is_counted_and_the_rest_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    journal = Journal.open(path)
    journal.append(samples=[(sample(0, label=1.0), None)])
    journal.close()
    recorder = Recorder(path, boot=BOOT, tally=tally(path), budget=BUDGET)
    recorder.log(sample(0), PICTURE)
    recorder.flush()
    recorder.log(sample(1), PICTURE)
    recorder.close()
    counts, _ = stored(path)
    assert (counts.pairs_logged, counts.pairs_dropped) == (2, 1)


def test_each_row_keeps_the_owners_level_of_its_time(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    for number, level in enumerate(UPLOAD_ORDER):
        recorder = Recorder(path, boot=BOOT, tally=tally(path), budget=BUDGET, consent=level)
        recorder.log(sample(number), PICTURE)
        recorder.end(manoeuvre_end(number))
        recorder.close()
    journal = Journal.open(path)
    assert [s.sequence for s in journal.unsent_samples(9)] == [1, 2]
    assert [p.sequence for p in journal.unsent_pictures(9)] == [2]
    assert [end.manoeuvre for end in journal.unsent_manoeuvres(9)] == [1, 2]
    journal.close()
