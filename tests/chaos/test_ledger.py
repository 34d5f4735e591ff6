"""A ledger that misses a loss proves nothing: every kind of loss shows, and nothing else does."""

from dataclasses import replace
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from device.journal import Journal
from tests.chaos.ledger import Key, Ledger, Snapshot, Stored, Verdict, read
from tests.device.records import BOOT, JPEG, manoeuvre_end, sample

KEYS = [Key(BOOT, number) for number in range(6)]


def snapshot(sequences: set[int], **counters: int) -> Snapshot:
    return Snapshot(
        hashes={KEYS[number]: f"hash {number}" for number in sequences},
        pictures=frozenset(),
        manoeuvres=frozenset(),
        counters={"pairs_logged": len(sequences), **counters},
        waiting=0,
        rows_left=0,
        is_moving=False,
        integrity="ok",
    )


def stored(number: int) -> Stored:
    return Stored(key=KEYS[number], content_hash=f"hash {number}", has_picture=False)


@given(st.lists(st.sets(st.integers(0, 5)), min_size=1))
def test_a_pair_that_was_seen_and_is_gone_is_missing(seen: list[set[int]]) -> None:
    ledger = Ledger()
    most = 0
    for at, each in enumerate(seen):
        ledger.see(snapshot(each))
        most = max(most, len(set().union(*seen[: at + 1]) - each))
    assert ledger.missing == most


def test_what_the_journal_counted_as_given_up_is_not_missing() -> None:
    ledger = Ledger()
    ledger.see(snapshot({0, 1, 2}))
    ledger.see(snapshot({1, 2}, pairs_logged=3, dropped_crowded=1))
    assert (ledger.missing, ledger.miscounted) == (0, 0)
    ledger.see(snapshot({2}, pairs_logged=3, dropped_crowded=1))
    assert (ledger.missing, ledger.miscounted) == (1, 1)


def test_other_content_and_an_unsound_file_are_found() -> None:
    ledger = Ledger()
    ledger.see(snapshot({0, 1}))
    ledger.see(replace(snapshot({0, 1}), hashes={KEYS[0]: "hash 0", KEYS[1]: "another"}))
    ledger.see(replace(snapshot({0, 1}), integrity="row 1 missing from index"))
    assert (ledger.altered, ledger.unsound) == (2, ["row 1 missing from index"])


def test_a_hole_below_the_last_number_is_found_and_a_missing_end_is_none() -> None:
    ledger = Ledger()
    ledger.see(snapshot({0, 1, 2}))
    assert ledger.holes == 0
    ledger.see(snapshot({0, 1, 2, 5}))
    assert ledger.holes == 2


def test_the_server_is_judged_by_each_pair() -> None:
    ledger = Ledger()
    seen = replace(
        snapshot({0, 1, 2}),
        pictures=frozenset(KEYS[:2]),
        manoeuvres=frozenset({(BOOT, 1), (BOOT, 2)}),
    )
    ledger.see(seen)
    told = [
        replace(stored(0), has_picture=True),
        replace(stored(0), has_picture=True),
        replace(stored(1), content_hash="another"),
        stored(4),
    ]
    assert ledger.judge(told, [(BOOT, 2), (BOOT, 3)]) == Verdict(
        pairs=3, pictures=2, lost=1, doubled=1, altered=1, unknown=1, bare=1, endless=1
    )


def test_a_journal_is_read_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    assert read(path).hashes == {}
    journal = Journal.open(path)
    journal.append(samples=[(sample(0), JPEG), (sample(1), None)])
    now = read(path)
    assert (set(now.hashes), set(now.pictures)) == (set(KEYS[:2]), {KEYS[0]})
    assert (now.waiting, now.rows_left, now.is_moving, now.miscounted) == (2, 3, True, 0)
    assert now.manoeuvres == {(BOOT, 1)}
    journal.append(samples=[], manoeuvres=[manoeuvre_end()])
    journal.mark(samples=[sample(0).key], outcome="sent")
    now = read(path)
    assert (now.waiting, now.rows_left, now.is_moving, now.integrity) == (1, 3, False, "ok")
    journal.close()
