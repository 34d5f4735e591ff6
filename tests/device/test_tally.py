"""The tally outlives a kill and a full disk, and never gets in the way."""

import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.tally import MOST_BOOTS, Tally

LAST = "99999999-ffffffff"


def boot(number: int) -> str:
    return f"{number:08d}-0a0b0c0d"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "pairs.tally"


def test_what_a_killed_process_said_last_is_read_by_the_next(path: Path) -> None:
    killed = Tally(path)
    killed.note(boot(1), 7)
    killed.note(boot(1), 8)
    following = Tally(path)
    assert following.earlier(boot(2)) == {boot(1): 8}
    following.note(boot(2), 3)
    assert Tally(path).earlier(boot(3)) == {boot(1): 8, boot(2): 3}


def test_the_boots_of_a_journal_that_was_taken_away_are_not_this_ones(path: Path) -> None:
    tally = Tally(path)
    tally.note(boot(42), 90)
    assert tally.earlier(boot(1)) == {}
    tally.settle(boot(1))
    assert Tally(path).earlier(boot(99)) == {}


def test_what_is_settled_is_forgotten_and_the_present_boot_is_not(path: Path) -> None:
    tally = Tally(path)
    tally.note(boot(1), 8)
    tally.note(boot(2), 3)
    tally.settle(boot(2))
    assert Tally(path).earlier(boot(3)) == {boot(2): 3}


def test_the_file_never_grows_so_a_full_disk_has_room_for_it(path: Path) -> None:
    tally = Tally(path)
    size = path.stat().st_size
    for number in range(2 * MOST_BOOTS):
        tally.note(boot(number), 2**53 - 1)
        assert path.stat().st_size == size
    assert set(Tally(path).earlier(LAST)) == {boot(n) for n in range(MOST_BOOTS, 2 * MOST_BOOTS)}


@given(st.binary(max_size=5000))
def test_whatever_lies_there_a_tally_opens_and_works(
    tmp_path_factory: pytest.TempPathFactory, found: bytes
) -> None:
    path = tmp_path_factory.mktemp("tally") / "pairs.tally"
    path.write_bytes(found)
    Tally(path).note(boot(1), 5)
    assert Tally(path).earlier(LAST)[boot(1)] == 5


def test_where_it_cannot_be_written_it_says_so_once_and_goes_on(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path.mkdir()
    with caplog.at_level(logging.WARNING):
        tally = Tally(path)
        tally.note(boot(1), 1)
        assert not tally.is_open
        tally.close()
    assert [record.message for record in caplog.records] == [
        "tally_not_written error=Is a directory"
    ]
