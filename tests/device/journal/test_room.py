"""The journal stays within its budget, and says what that cost."""

import sqlite3
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from device.journal import Journal
from device.journal.room import Budget, keep_within, make_room, used_bytes
from shared.samples import Estimate, Sample
from tests.device.records import BOOT, manoeuvre_end, sample

PICTURE = b"\xff\xd8" + bytes(3000)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "journal.sqlite"


@pytest.fixture
def journal(path: Path) -> Iterator[Journal]:
    opened = Journal.open(path)
    yield opened
    opened.close()


def residual(number: int, mm: float, *, label: float = 100.0, deployment: str = "beige") -> Sample:
    estimates = (Estimate(model="a" * 64, value=label + mm),)
    return sample(number, label=label, deployment=deployment, estimates=estimates)


def fill(journal: Journal, samples: list[Sample]) -> None:
    journal.append(samples=[(s, PICTURE) for s in samples], manoeuvres=[manoeuvre_end()])


def kept(journal: Journal) -> list[Sample]:
    return journal.unsent_samples(100_000)


def test_what_the_server_has_goes_first_and_is_no_loss(journal: Journal) -> None:
    samples = [sample(number) for number in range(400)]
    fill(journal, samples)
    keys = [s.key for s in samples[:300]]
    journal.mark(samples=keys, pictures=keys, manoeuvres=[(BOOT, 1)], outcome="sent")
    make_room(journal, used_bytes(journal) // 2)
    counts = journal.counts()
    assert len(kept(journal)) == counts.queue_depth == 100
    assert counts.pairs_dropped == 0
    assert 200 <= counts.pairs_discarded <= 300
    assert counts.pairs_sent == 300


def test_then_the_crowded_goes_and_the_rare_and_the_wrong_stay(journal: Journal) -> None:
    common = [residual(n, 40.0 if n % 25 == 0 else 4.0) for n in range(400)]
    rare = [residual(n, 4.0, deployment="green") for n in range(400, 420)]
    near = [residual(n, 4.0, label=30.0) for n in range(420, 440)]
    fill(journal, [*common, *rare, *near])
    used = used_bytes(journal)
    make_room(journal, used // 2)
    assert used_bytes(journal) <= used // 2
    left = Counter(
        "rare" if s.deployment == "green" else "near" if s.label == 30.0 else "common"
        for s in kept(journal)
    )
    wrong = [s for s in kept(journal) if s.sequence < 400 and s.sequence % 25 == 0]
    assert (left["rare"], left["near"], len(wrong)) == (20, 20, 16)
    counts = journal.counts()
    assert counts.dropped == {"crowded": 440 - sum(left.values())}
    assert counts.pairs_dropped == counts.pairs_logged - counts.queue_depth


def test_at_the_end_even_what_is_worth_most_goes_and_is_named(journal: Journal) -> None:
    fill(journal, [residual(n, 40.0 if n % 10 == 0 else 4.0) for n in range(200)])
    assert make_room(journal, 0) == 200
    assert kept(journal) == []
    assert journal.unsent_pictures(10) == []
    assert journal.counts().dropped == {"crowded": 180, "valuable": 20}


def test_what_was_flagged_outlives_all_that_was_not_and_is_named_where_it_goes(
    journal: Journal,
) -> None:
    # The flagged manoeuvre is the fullest cell of all, and its residuals are ordinary.
    flagged = [msgspec.structs.replace(residual(n, 4.0), manoeuvre=2) for n in range(300)]
    others = [residual(n, 40.0, deployment=f"yard-{n % 9}") for n in range(300, 420)]
    fill(journal, [*flagged, *others])
    journal.watched(BOOT, 2, b"state", flag=True)
    make_room(journal, used_bytes(journal) * 8 // 10)
    left = Counter(s.manoeuvre for s in kept(journal))
    assert left[2] == 300
    assert 0 < left[1] < 120
    make_room(journal, 0)
    counts = journal.counts()
    assert counts.dropped["flagged"] == 300
    assert counts.pairs_dropped == 420


def test_a_picture_asked_for_outlives_others_though_its_pair_was_sent(journal: Journal) -> None:
    samples = [sample(number) for number in range(200)]
    fill(journal, samples)
    journal.mark(samples=[s.key for s in samples], outcome="sent")
    assert journal.ask_for_pictures([(BOOT, n) for n in range(5)]) == 5
    make_room(journal, used_bytes(journal) // 3)
    assert [p.sequence for p in journal.unsent_pictures(5)] == [0, 1, 2, 3, 4]


def test_the_end_of_a_manoeuvre_stays_as_long_as_any_of_its_pairs(journal: Journal) -> None:
    samples = [sample(number) for number in range(300)]
    fill(journal, samples)
    sent = [s.key for s in samples]
    journal.mark(samples=sent[:299], pictures=sent, manoeuvres=[(BOOT, 1)], outcome="sent")
    make_room(journal, used_bytes(journal) // 3)
    assert journal.one("SELECT count(*) FROM samples") < 300
    assert journal.one("SELECT count(*) FROM manoeuvres") == 1
    journal.mark(samples=sent, outcome="sent")
    make_room(journal, 0)
    assert journal.one("SELECT count(*) FROM manoeuvres") == 0


def test_a_picture_whose_pair_was_sent_is_counted_apart(journal: Journal) -> None:
    samples = [sample(number) for number in range(100)]
    fill(journal, samples)
    journal.mark(samples=[s.key for s in samples], outcome="sent")
    make_room(journal, 0)
    counts = journal.counts()
    assert (counts.pairs_dropped, counts.pictures_dropped) == (0, 100)


def test_only_beyond_the_budget_or_on_a_full_disk_is_anything_given_up(
    journal: Journal, path: Path
) -> None:
    fill(journal, [sample(number) for number in range(300)])
    used = used_bytes(journal)
    roomy = Budget(journal_bytes=2 * used, spare_bytes=0)
    assert keep_within(journal, path, roomy) == 0
    assert keep_within(journal, path, Budget(journal_bytes=used // 2, spare_bytes=0)) > 0
    assert used_bytes(journal) <= used // 2
    assert keep_within(journal, path, roomy, is_full=True) > 0


def test_on_a_disk_without_room_the_file_is_written_to_again_instead_of_growing(
    journal: Journal, path: Path
) -> None:
    crowded_disk = Budget(journal_bytes=2**40, spare_bytes=10**15)
    fill(journal, [sample(number) for number in range(300)])
    size = journal.one("PRAGMA page_count")
    for block in range(1, 6):
        keep_within(journal, path, crowded_disk)
        fill(journal, [sample(block * 300 + number) for number in range(10)])
        assert len(kept(journal)) >= 250
    assert journal.one("PRAGMA page_count") <= size * 1.05


def test_freed_pages_are_used_again(journal: Journal) -> None:
    sizes = []
    for block in range(8):
        fill(journal, [sample(block * 200 + number) for number in range(200)])
        make_room(journal, 600_000)
        sizes.append(journal.one("PRAGMA page_count"))
    assert max(sizes[2:]) <= sizes[1] * 1.1


@pytest.mark.parametrize("picture_bytes", [0, 1_200, 1_700, 2_050, 3_000, 4_500])
def test_room_costs_as_many_pairs_as_it_takes_whatever_their_pictures_weigh(
    journal: Journal, picture_bytes: int
) -> None:
    pictures = [bytes(picture_bytes) or None] * 1_000
    samples = [sample(number, manoeuvre=number // 25) for number in range(1_000)]
    journal.append(samples=list(zip(samples, pictures, strict=True)))
    used = used_bytes(journal)
    gone = make_room(journal, round(used * 0.9))
    assert used_bytes(journal) <= used * 0.9
    assert 90 <= gone <= 150


@pytest.mark.slow
def test_looking_for_what_may_go_keeps_nobody_from_writing(path: Path, journal: Journal) -> None:
    samples = [sample(number) for number in range(4_000)]
    fill(journal, samples)
    # All sent, but none of the pictures: there is nothing to discard, and much to look at.
    journal.mark(samples=[s.key for s in samples], manoeuvres=[(BOOT, 1)], outcome="sent")
    other = sqlite3.connect(path, timeout=0.0, isolation_level=None)
    refused = looks = 0

    def write() -> None:
        nonlocal refused, looks
        looks += 1
        try:
            other.execute("BEGIN IMMEDIATE")
            other.execute("ROLLBACK")
        except sqlite3.OperationalError:
            refused += 1

    # Every so many steps of SQLite's machine, whatever it is doing.
    journal.db.conn.set_progress_handler(write, 1_000)
    try:
        make_room(journal, used_bytes(journal) - 4096)
    finally:
        journal.db.conn.set_progress_handler(None, 0)
        other.close()
    assert looks > 50
    assert refused < looks / 4
