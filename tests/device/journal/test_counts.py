"""Each pair that a boot was given is counted once, stored or lost, whatever ends the boot."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from device.journal import Journal
from tests.device.records import BOOT, sample

NEXT = "00000002-0a0b0c0d"
LAST = "00000003-0a0b0c0d"


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal.open(tmp_path / "journal.sqlite")
    yield made
    made.close()


def accounts(journal: Journal) -> list[str]:
    rows = journal.db.execute("SELECT name FROM counters WHERE name LIKE 'accounted%'").fetchall()
    return sorted(name for (name,) in rows)


def test_what_was_given_and_neither_stored_nor_dropped_is_lost(journal: Journal) -> None:
    journal.append(samples=[(sample(n), None) for n in range(4)])
    journal.count_dropped("queue_full", 2, BOOT)
    assert journal.settle({BOOT: 9}, NEXT) == 3
    assert journal.counts().dropped == {"queue_full": 2, "unwritten": 3}


def test_settled_again_after_a_kill_nothing_is_counted_twice(journal: Journal) -> None:
    journal.append(samples=[(sample(n), None) for n in range(4)])
    assert journal.settle({BOOT: 9}, NEXT) == 5
    assert journal.settle({BOOT: 9}, NEXT) == 0
    assert journal.settle({BOOT: 9, NEXT: 2}, LAST) == 2
    assert journal.counts().pairs_dropped == 7


def test_a_tally_that_a_power_cut_left_behind_counts_nothing(journal: Journal) -> None:
    journal.append(samples=[(sample(n), None) for n in range(4)])
    assert journal.settle({BOOT: 1}, NEXT) == 0
    assert journal.counts().pairs_dropped == 0


def test_the_same_sample_again_is_accounted_for_once(journal: Journal) -> None:
    for _ in range(3):
        journal.append(samples=[(sample(0), None)])
    assert journal.settle({BOOT: 2}, NEXT) == 1


def test_no_boots_number_stays_for_ever(journal: Journal) -> None:
    for number, boot in enumerate((BOOT, NEXT, LAST)):
        journal.append(samples=[(sample(number, boot=boot), None)])
    journal.settle({NEXT: 2}, LAST)
    assert accounts(journal) == [f"accounted_{NEXT}", f"accounted_{LAST}"]
