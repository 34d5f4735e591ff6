"""What leaves the journal, and in which order: consent at capture, flags, pictures asked for."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from device.journal import Journal
from shared.messages import UploadLevel
from tests.device.records import BOOT, JPEG, manoeuvre_end, sample


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal.open(tmp_path / "journal.sqlite")
    yield made
    made.close()


def log(journal: Journal, manoeuvre: int, consent: UploadLevel = "pictures") -> None:
    numbers = range(10 * manoeuvre, 10 * manoeuvre + 3)
    journal.append(
        samples=[(sample(n, manoeuvre=manoeuvre), JPEG) for n in numbers],
        manoeuvres=[manoeuvre_end(manoeuvre, pairs=3)],
        consent=consent,
    )


def test_what_was_captured_at_none_never_enters_the_queue(journal: Journal) -> None:
    log(journal, 1, "none")
    log(journal, 2, "characteristics")
    log(journal, 3, "pictures")
    assert [s.sequence for s in journal.unsent_samples(99)] == [20, 21, 22, 30, 31, 32]
    assert [end.manoeuvre for end in journal.unsent_manoeuvres(99)] == [2, 3]
    assert [p.sequence for p in journal.unsent_pictures(99)] == [30, 31, 32]
    counts = journal.counts()
    assert (counts.pairs_logged, counts.queue_depth, counts.pairs_withheld) == (9, 6, 3)
    assert journal.ask_for_pictures([(BOOT, 10), (BOOT, 20)]) == 0
    assert journal.unsent_pictures(99, asked=True) == []


def test_a_flagged_manoeuvre_goes_first_whole_and_consent_stays_above_it(journal: Journal) -> None:
    for number in (1, 2, 3):
        log(journal, number, "none" if number == 1 else "pictures")
    journal.watched(BOOT, 3, b"state", flag=True)
    journal.watched(BOOT, 1, b"state", flag=True)
    assert [s.sequence for s in journal.unsent_samples(4)] == [30, 31, 32, 20]
    assert [p.sequence for p in journal.unsent_pictures(4)] == [30, 31, 32, 20]
    assert [end.manoeuvre for end in journal.unsent_manoeuvres(9)] == [3, 2]
    assert journal.first_rows(9) == {
        ("manoeuvre", BOOT, 3),
        *(("sample", BOOT, n) for n in (30, 31, 32)),
        *(("picture", BOOT, n) for n in (30, 31, 32)),
    }


def test_pictures_asked_for_go_before_flagged_ones_and_are_found_apart(journal: Journal) -> None:
    log(journal, 1)
    log(journal, 2)
    journal.watched(BOOT, 2, b"state", flag=True)
    assert journal.ask_for_pictures([(BOOT, 12), (BOOT, 99)]) == 1
    assert [s.sequence for s in journal.unsent_samples(3)] == [12, 20, 21]
    assert [p.sequence for p in journal.unsent_pictures(9, asked=True)] == [12]


def test_each_manoeuvre_is_consumed_once_in_order(journal: Journal) -> None:
    for number in (2, 1):
        log(journal, number)
    seen = []
    while (found := journal.next_unwatched()) is not None:
        seen.append(found)
        assert len(journal.samples_of(*found, 99)) == 3
        journal.watched(*found, b"state %d" % len(seen), flag=False)
    assert seen == [(BOOT, 1), (BOOT, 2)]
    assert journal.watch_state() == b"state 2"
