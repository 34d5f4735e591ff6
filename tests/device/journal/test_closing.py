"""A manoeuvre that a kill cut short is closed once, by a later boot."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from device.journal import Journal
from device.journal.room import make_room
from tests.device.records import BOOT, JPEG, manoeuvre_end, sample

NEXT = "00000002-0a0b0c0d"
LAST = "00000003-0a0b0c0d"


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    made = Journal.open(tmp_path / "journal.sqlite")
    yield made
    made.close()


def cut_short(journal: Journal, boot: str = BOOT) -> None:
    """Log an ended manoeuvre, and one that a kill cuts short after three pairs."""
    journal.append(
        samples=[(sample(n, boot=boot, manoeuvre=1), JPEG) for n in range(2)],
        manoeuvres=[manoeuvre_end(1, boot=boot, pairs=2)],
    )
    journal.append(samples=[(sample(n, boot=boot, manoeuvre=2), JPEG) for n in range(2, 5)])


def test_the_next_boot_closes_it_once_and_nothing_else(journal: Journal) -> None:
    cut_short(journal)
    assert journal.close_interrupted(NEXT) == 1
    assert journal.close_interrupted(NEXT) == 0
    whole, short = journal.unsent_manoeuvres(9)
    assert whole == manoeuvre_end(1, pairs=2)
    assert (short.boot, short.manoeuvre, short.pairs) == (BOOT, 2, 3)
    assert short.reason == "interrupted"


def test_its_own_boot_is_left_to_end_it(journal: Journal) -> None:
    cut_short(journal, NEXT)
    assert journal.close_interrupted(NEXT) == 0
    journal.append(samples=[], manoeuvres=[manoeuvre_end(2, boot=NEXT, pairs=3)])
    assert journal.close_interrupted(LAST) == 0


def test_an_end_that_was_sent_and_given_up_for_room_is_not_made_up_again(journal: Journal) -> None:
    cut_short(journal)
    journal.close_interrupted(NEXT)
    keys = [sample(n).key for n in range(5)]
    journal.mark(samples=keys[:4], pictures=keys, manoeuvres=[(BOOT, 1), (BOOT, 2)], outcome="sent")
    make_room(journal, 0)
    journal.append(samples=[(sample(9, boot=NEXT), JPEG)], manoeuvres=[manoeuvre_end(boot=NEXT)])
    assert journal.close_interrupted(LAST) == 0


def test_what_was_logged_under_none_is_closed_and_stays(journal: Journal) -> None:
    journal.append(samples=[(sample(0), JPEG)], consent="none")
    assert journal.close_interrupted(NEXT) == 1
    assert journal.unsent_manoeuvres(9) == []
    assert journal.next_unwatched() == (BOOT, 1)


def test_a_row_that_says_it_belongs_elsewhere_is_not_believed(journal: Journal) -> None:
    journal.append(samples=[(sample(0, manoeuvre=1), None)], manoeuvres=[manoeuvre_end(1)])
    journal.append(samples=[(sample(1, manoeuvre=2), None)])
    with journal.writing():
        journal.db.execute(
            "UPDATE samples SET body = (SELECT body FROM samples WHERE sequence = 0)"
        )
    assert journal.close_interrupted(NEXT) == 0


def test_an_unreadable_pair_holds_nothing_up(journal: Journal) -> None:
    journal.append(samples=[(sample(0, manoeuvre=1), None)])
    journal.append(samples=[(sample(1, manoeuvre=2), None), (sample(2, manoeuvre=2), None)])
    with journal.writing():
        journal.db.execute("UPDATE samples SET body = x'c1' WHERE sequence < 2")
    assert journal.close_interrupted(NEXT) == 1
    assert [(end.manoeuvre, end.pairs) for end in journal.unsent_manoeuvres(9)] == [(2, 2)]
