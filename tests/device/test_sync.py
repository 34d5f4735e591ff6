"""The rules of sync, one promise each."""

import random
from collections.abc import Sequence
from dataclasses import replace

import msgspec
import pytest

from device.sync import Limits, Send, SyncSession, allowed
from device.sync_rows import Mark, Page, RowKey
from shared.ids import SampleKey, sha256_hex
from shared.messages import Batch, Receipt, UploadLevel
from shared.samples import ManoeuvreEnd, Picture
from shared.signing import SigningKey, open_envelope, payload_budget, seal
from shared.topics import BATCH
from tests.device.records import BOOT, manoeuvre_end, sample

SECOND = 1_000_000


def picture(sequence: int, size_bytes: int = 3_000) -> Picture:
    jpeg = bytes(size_bytes)
    return Picture(device="car-1", boot=BOOT, sequence=sequence, sha256=sha256_hex(jpeg), jpeg=jpeg)


def page(pairs: int, *, size_bytes: int = 3_000, manoeuvres: Sequence[ManoeuvreEnd] = ()) -> Page:
    return Page(
        samples=[sample(n) for n in range(pairs)],
        manoeuvres=manoeuvres,
        pictures=[picture(n, size_bytes) for n in range(pairs)],
    )


def session(
    level: UploadLevel = "pictures", *, limits: Limits | None = None, seed: int = 1
) -> SyncSession:
    made = SyncSession(
        device="car-1", seal=msgspec.msgpack.encode, rng=random.Random(seed), limits=limits
    )
    made.allow(level)
    made.connect(0)
    return made


def sends(actions: Sequence[Send | Mark]) -> list[Send]:
    return [action for action in actions if isinstance(action, Send)]


def content(send: Send) -> Batch:
    return msgspec.msgpack.decode(send.payload, type=Batch)


def answer(send: Send, outcome: str = "stored", reason: str = "") -> Receipt:
    return msgspec.convert(
        {"device": "car-1", "batch": send.digest, "outcome": outcome, "reason": reason}, Receipt
    )


def test_a_sample_travels_beside_its_picture_and_the_manoeuvres_end() -> None:
    (send,) = sends(session().fill(page(3, manoeuvres=[manoeuvre_end()]), 0))
    batch = content(send)
    assert [s.sequence for s in batch.samples] == [0, 1, 2]
    assert [p.sequence for p in batch.pictures] == [0, 1, 2]
    assert [m.manoeuvre for m in batch.manoeuvres] == [1]


def test_messages_stay_within_128_kib_and_the_window_within_two() -> None:
    made = session()
    first, second = sends(made.fill(page(100), 0))
    assert 100 * 1024 < len(first.payload) <= 128 * 1024
    assert not {s.sequence for s in content(first).samples} & {
        s.sequence for s in content(second).samples
    }
    assert not made.wants_rows(0)


def test_the_largest_message_fits_the_topic_after_signing() -> None:
    key = SigningKey(bytes(32))
    topic = BATCH.topic(id="car-1")
    made = SyncSession(
        device="car-1",
        seal=lambda batch: seal(batch, topic=topic, key=key),
        rng=random.Random(0),
    )
    made.allow("pictures")
    made.connect(0)
    for send in sends(made.fill(page(2, size_bytes=96 * 1024), 0)):
        assert len(send.payload) <= BATCH.limit_bytes
        open_envelope(BATCH, send.payload, topic=topic, message_type=Batch, key=key.public)
        assert send.digest == sha256_hex(send.payload)


def test_a_picture_larger_than_any_message_is_put_aside_and_holds_up_nothing() -> None:
    rows = Page(samples=[sample(0)], pictures=[picture(0, payload_budget(BATCH))])
    mark, send = session().fill(rows, 0)
    assert isinstance(mark, Mark)
    assert mark.outcome == "rejected"
    assert "larger than a message" in mark.reason
    assert mark.pictures == (SampleKey("car-1", BOOT, 0),)
    assert isinstance(send, Send)
    assert content(send).samples


@pytest.mark.parametrize(
    ("owner", "desired", "least"),
    [
        ("pictures", "pictures", "pictures"),
        ("pictures", "characteristics", "characteristics"),
        ("none", "pictures", "none"),
        ("characteristics", "none", "none"),
    ],
)
def test_the_least_consent_rules(
    owner: UploadLevel, desired: UploadLevel, least: UploadLevel
) -> None:
    assert allowed(owner, desired) == least


def test_consent_none_sends_nothing() -> None:
    made = session("none")
    assert not made.wants_rows(0)
    assert made.fill(page(3, manoeuvres=[manoeuvre_end()]), 0) == []


def test_consent_characteristics_sends_samples_without_pictures() -> None:
    made = session("characteristics")
    assert made.page_limits[1] == 0
    (send,) = sends(made.fill(page(3), 0))
    assert len(content(send).samples) == 3
    assert content(send).pictures == ()


def test_pictures_in_flight_are_not_repeated_after_consent_was_withdrawn() -> None:
    made = session()
    (send,) = sends(made.fill(page(2), 0))
    made.allow("characteristics")
    assert made.receive(answer(send, "rejected", "bad"), 0) == []
    for again in sends(made.fill(page(2), 0)):
        assert content(again).pictures == ()


@pytest.mark.parametrize("outcome", ["stored", "duplicate"])
def test_a_receipt_marks_exactly_the_rows_of_its_message(outcome: str) -> None:
    made = session()
    (send,) = sends(made.fill(page(2, manoeuvres=[manoeuvre_end(7)]), 0))
    (mark,) = made.receive(answer(send, outcome), 0)
    assert mark.outcome == "sent"
    assert [key.sequence for key in mark.samples] == [0, 1]
    assert [key.sequence for key in mark.pictures] == [0, 1]
    assert mark.manoeuvres == ((BOOT, 7),)
    assert made.in_flight == 0


def test_a_receipt_for_an_unknown_message_marks_nothing() -> None:
    made = session()
    made.fill(page(1), 0)
    stranger = Receipt(device="car-1", batch="f" * 64, outcome="stored")
    assert made.receive(stranger, 0) == []
    assert made.in_flight == 1


def test_a_bad_row_is_isolated_and_the_others_pass() -> None:
    made = session("characteristics")
    bad, rows = 5, {n: sample(n) for n in range(8)}
    sent: list[int] = []
    rejected: list[Mark] = []
    for turn in range(40):
        current = Page(samples=list(rows.values()))
        for send in sends(made.fill(current, turn * SECOND)):
            numbers = [s.sequence for s in content(send).samples]
            outcome = "rejected" if bad in numbers else "stored"
            for mark in made.receive(answer(send, outcome, "label out of range"), 0):
                for key in mark.samples:
                    del rows[key.sequence]
                if mark.outcome == "sent":
                    sent += [key.sequence for key in mark.samples]
                else:
                    rejected.append(mark)
    assert sorted(sent) == [0, 1, 2, 3, 4, 6, 7]
    (mark,) = rejected
    assert mark.samples[0].sequence == bad
    assert mark.reason == "label out of range"


def test_silence_is_answered_by_growing_jittered_waits_up_to_the_cap() -> None:
    limits = Limits()
    made = session(limits=limits)
    now_us, waits = 0, []
    for _ in range(12):
        assert sends(made.fill(page(1), now_us))
        while made.in_flight:
            now_us += SECOND
            made.fill(Page(), now_us)
        start_us = now_us
        while not made.wants_rows(now_us):
            now_us += SECOND // 10
        waits.append(now_us - start_us)
    assert max(waits[:2]) <= 4 * SECOND
    assert max(waits) > 10 * SECOND
    assert max(waits) <= limits.backoff_cap_us + SECOND
    assert len(set(waits)) > 6


def test_a_slow_link_gets_smaller_messages_and_more_patience() -> None:
    made = session(limits=Limits(window=1))
    now_us, sizes, patience = 0, [], []
    for _ in range(5):
        (send,) = sends(made.fill(page(100), now_us))
        sizes.append(len(send.payload))
        sent_us = now_us
        while made.in_flight:
            now_us += SECOND
            made.fill(Page(), now_us)
        patience.append((now_us - sent_us) // SECOND)
        now_us += 100 * SECOND
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < 16 * 1024 < 100 * 1024 < sizes[0]
    assert patience == [8, 16, 32, 64, 64]
    made.receive(answer(send), 0)
    (send,) = sends(made.fill(page(100), now_us))
    assert len(send.payload) == sizes[0]


def test_two_cars_do_not_return_at_the_same_moment() -> None:
    def back(seed: int) -> int:
        made = session(seed=seed)
        made.fill(page(1), 0)
        made.disconnect()
        made.connect(0)
        return next(t for t in range(0, 3 * SECOND, 1_000) if made.wants_rows(t))

    assert len({back(seed) for seed in range(10)}) > 5


def test_a_disconnect_returns_everything_in_flight() -> None:
    made = session()
    (send,) = sends(made.fill(page(2), 0))
    made.disconnect()
    assert made.in_flight == 0
    assert not made.is_settled
    made.connect(0)
    (again,) = sends(made.fill(page(2), 60 * SECOND))
    assert again == send


def test_a_late_receipt_still_counts() -> None:
    made = session()
    (send,) = sends(made.fill(page(2), 0))
    assert len(sends(made.fill(Page(), 100 * SECOND))) == 0
    (mark,) = made.receive(answer(send), 0)
    assert len(mark.samples) == 2


def test_it_is_settled_only_when_the_journal_was_seen_empty_and_nothing_is_under_way() -> None:
    made = session()
    seen = [made.is_settled]
    (send,) = sends(made.fill(page(1), 0))
    seen.append(made.is_settled)
    made.receive(answer(send), 0)
    seen.append(made.is_settled)
    made.fill(Page(), 0)
    seen.append(made.is_settled)
    assert seen == [False, False, False, True]


def test_hurry_looks_at_once() -> None:
    made = session()
    made.fill(Page(), 0)
    made.hurry()
    assert made.wants_rows(0)


def test_an_empty_journal_is_looked_at_again_only_after_a_while() -> None:
    made = session()
    made.fill(Page(), 0)
    assert not made.wants_rows(SECOND - 1)
    assert made.wants_rows(SECOND)


def test_what_the_journal_says_goes_first() -> None:
    rows = page(6, manoeuvres=[manoeuvre_end(1), manoeuvre_end(2)])
    first: frozenset[RowKey] = frozenset(
        {("sample", BOOT, 4), ("picture", BOOT, 5), ("manoeuvre", BOOT, 2)}
    )
    made = session(limits=Limits(batch_rows=5))
    (send, *_) = sends(made.fill(replace(rows, first=first), 0))
    batch = content(send)
    assert [end.manoeuvre for end in batch.manoeuvres] == [2]
    assert [s.sequence for s in batch.samples] == [4, 5]
    assert [p.sequence for p in batch.pictures] == [4, 5]


@pytest.mark.parametrize(("level", "on_request"), [("characteristics", False), ("none", True)])
def test_below_pictures_no_picture_leaves(level: UploadLevel, *, on_request: bool) -> None:
    made = session("characteristics")
    made.allow(level, on_request=on_request)
    rows = Page(samples=[sample(1)], pictures=[picture(1)], asked=[picture(2)])
    assert not [p for send in sends(made.fill(rows, 0)) for p in content(send).pictures]


def test_a_picture_asked_for_leaves_below_pictures_where_the_owner_consents() -> None:
    made = session("characteristics")
    made.allow("characteristics", on_request=True)
    rows = Page(samples=[sample(1)], pictures=[picture(1)], asked=[picture(2)])
    (send,) = sends(made.fill(rows, 0))
    assert [p.sequence for p in content(send).pictures] == [2]
    assert made.receive(answer(send, "rejected", "bad"), 0) == []
    first, second = sends(made.fill(rows, 0))
    assert [len(content(each).pictures) for each in (first, second)] == [0, 1]
    (mark,) = made.receive(answer(second, "rejected", "bad"), 0)
    assert (mark.outcome, mark.pictures) == ("rejected", (SampleKey("car-1", BOOT, 2),))


def test_a_message_is_what_the_measured_link_carries_in_two_seconds() -> None:
    made = session(limits=Limits(window=1))
    now_us, sizes = 0, []
    for bytes_per_s in [16_000] * 8 + [1_000_000] * 12:
        (send,) = sends(made.fill(page(100), now_us))
        sizes.append(len(send.payload))
        now_us += len(send.payload) * SECOND // bytes_per_s
        made.receive(answer(send), now_us)
    assert sizes[0] > 100 * 1024
    assert 16 * 1024 < sizes[7] <= 32_000
    assert sizes[-1] > 100 * 1024
