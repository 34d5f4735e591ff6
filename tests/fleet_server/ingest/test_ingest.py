"""Batches taken in: all or nothing, once, and never on anyone else's word."""

import dataclasses
import gc
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select

from fleet_server.storage.received import Received
from fleet_server.storage.records import TALLY_COLUMNS, TALLY_SUMS, tally
from fleet_server.storage.tables import batches, quarantine, samples
from shared.errors import RetryLaterError
from shared.ids import sha256_hex
from shared.messages import Batch, Receipt
from shared.samples import Estimate, content_hash
from shared.signing import SigningKey, open_envelope, seal
from shared.topics import BATCH, RECEIPT
from tests.fleet_server.fleet import MODEL, Fleet, drive, end, jpeg, picture, sample

TOPIC = BATCH.topic(id="car-1")


def _count(fleet: Fleet) -> tuple[int, int, int, int]:
    totals = fleet.queries.totals()
    return totals.pairs_stored, totals.pictures, totals.manoeuvres, totals.batches


def test_a_stored_batch_is_receipted_under_its_digest_by_the_servers_key(fleet: Fleet) -> None:
    body = fleet.sealed(drive(0))
    reply = fleet.ingest.take(TOPIC, body)
    assert reply is not None
    receipt = open_envelope(
        RECEIPT,
        reply.body,
        topic=RECEIPT.topic(id="car-1"),
        message_type=Receipt,
        key=fleet.server_key.public,
    )
    assert receipt.outcome == "stored"
    assert receipt.batch == sha256_hex(body)
    assert receipt.new_samples == 10
    assert _count(fleet) == (10, 10, 1, 1)


def test_what_was_stored_reads_back_as_it_was_recorded(fleet: Fleet) -> None:
    batch = drive(3, model=MODEL, error=2.0)
    fleet.send(batch)
    stored = fleet.queries.samples(device="car-1")
    assert [msgspec.convert(each.record, type(batch.samples[0])) for each in stored] == list(
        batch.samples
    )
    assert all(each.has_picture for each in stored)
    assert fleet.queries.picture("car-1", stored[4].boot, stored[4].sequence) == jpeg(34)
    with fleet.database.read() as connection:
        hashes = connection.scalars(select(samples.c.content_hash)).all()
    assert list(hashes) == [content_hash(each) for each in batch.samples]


def test_the_received_bytes_are_kept_unchanged(fleet: Fleet) -> None:
    body = fleet.sealed(drive(0))
    fleet.ingest.take(TOPIC, body)
    with fleet.database.read() as connection:
        assert connection.scalar(select(batches.c.body)) == body


def test_a_repeat_is_a_duplicate_and_stores_nothing(fleet: Fleet) -> None:
    fleet.send(drive(0))
    reply = fleet.send(drive(0))
    assert reply is not None
    assert reply.receipt.outcome == "duplicate"
    assert _count(fleet) == (10, 10, 1, 1)


def test_the_same_rows_in_another_batch_are_a_duplicate(fleet: Fleet) -> None:
    whole = drive(0)
    fleet.send(whole)
    reply = fleet.send(Batch(device="car-1", samples=whole.samples[2:5]))
    assert reply is not None
    assert reply.receipt.outcome == "duplicate"
    assert _count(fleet) == (10, 10, 1, 1)


def test_of_a_partly_known_batch_only_the_new_rows_are_counted(fleet: Fleet) -> None:
    whole = drive(0, model=MODEL, error=3.0)
    fleet.send(Batch(device="car-1", samples=whole.samples[:6]))
    reply = fleet.send(whole)
    assert reply is not None
    assert (reply.receipt.outcome, reply.receipt.new_samples) == ("stored", 4)
    assert _count(fleet) == (10, 10, 1, 2)
    assert fleet.queries.manoeuvres()[0].mae == pytest.approx(3.0)
    assert fleet.queries.manoeuvres()[0].pairs_stored == 10


def test_a_picture_that_comes_later_joins_its_sample(fleet: Fleet) -> None:
    whole = drive(0)
    fleet.send(Batch(device="car-1", samples=whole.samples))
    assert not fleet.queries.samples()[0].has_picture
    fleet.send(Batch(device="car-1", pictures=whole.pictures))
    assert all(each.has_picture for each in fleet.queries.samples())
    assert fleet.queries.device("car-1") is not None


@pytest.mark.parametrize("later", ["sample", "manoeuvre", "picture"])
def test_a_key_with_other_content_is_refused_kept_and_changes_nothing(
    fleet: Fleet, later: str
) -> None:
    fleet.send(drive(0))
    other = jpeg(77)
    changed = {
        "sample": Batch(device="car-1", samples=(sample(50), sample(3, label=11.0))),
        "manoeuvre": Batch(device="car-1", manoeuvres=(end(0, pairs=9),)),
        "picture": Batch(
            device="car-1",
            pictures=(msgspec.structs.replace(picture(3), sha256=sha256_hex(other), jpeg=other),),
        ),
    }[later]
    reply = fleet.send(changed)
    assert reply is not None
    assert reply.receipt.outcome == "rejected"
    assert reply.receipt.reason.startswith("conflict")
    assert _count(fleet) == (10, 10, 1, 1)
    assert fleet.queries.quarantine()[0].reason == reply.receipt.reason


def test_one_key_twice_in_a_batch_with_other_content_is_a_conflict(fleet: Fleet) -> None:
    reply = fleet.send(Batch(device="car-1", samples=(sample(1), sample(1, label=5.0))))
    assert reply is not None
    assert reply.receipt.outcome == "rejected"
    assert _count(fleet) == (0, 0, 0, 0)


def test_another_key_than_the_cars_is_not_answered_and_put_aside(fleet: Fleet) -> None:
    forged = seal(drive(0), topic=TOPIC, key=SigningKey(b"x" * 32))
    assert fleet.ingest.take(TOPIC, forged) is None
    assert "signed by key" in fleet.queries.quarantine()[0].reason
    assert _count(fleet) == (0, 0, 0, 0)


def test_a_batch_moved_to_another_cars_topic_is_not_taken(fleet: Fleet) -> None:
    fleet.add_car("car-2")
    assert fleet.ingest.take(BATCH.topic(id="car-2"), fleet.sealed(drive(0))) is None
    assert _count(fleet) == (0, 0, 0, 0)


def test_a_changed_byte_is_not_taken(fleet: Fleet) -> None:
    body = bytearray(fleet.sealed(drive(0)))
    body[-100] ^= 1
    assert fleet.ingest.take(TOPIC, bytes(body)) is None
    assert _count(fleet) == (0, 0, 0, 0)


def test_an_unknown_device_is_not_answered(fleet: Fleet) -> None:
    fleet.keys["car-9"] = SigningKey(b"9" * 32)
    assert fleet.send(drive(0, device="car-9")) is None
    assert fleet.queries.quarantine()[0].reason == "unknown device"


@pytest.mark.parametrize(
    ("batch", "reason"),
    [
        (Batch(device="car-1", samples=(sample(1, device="car-2"),)), "car-2"),
        (Batch(device="car-1", samples=(sample(1, label=None),)), "disagree"),
        (Batch(device="car-1", samples=(sample(1, sensor_status="error"),)), "disagree"),
        (Batch(device="car-1", samples=(sample(1, label=1e6),)), "absurd"),
        (Batch(device="car-1", samples=(sample(1, label=-1e6),)), "absurd"),
        (
            Batch(
                device="car-1",
                samples=(sample(1, estimates=(Estimate(model=MODEL, value=1e308),)),),
            ),
            "absurd estimate",
        ),
        (Batch(device="car-1", samples=(sample(1, label_unit="m"),)), "'m'"),
        (Batch(device="car-1", samples=(sample(1, task="weather"),)), "weather"),
        (
            Batch(device="car-1", pictures=(msgspec.structs.replace(picture(1), sha256="0" * 64),)),
            "digest",
        ),
        (
            Batch(
                device="car-1",
                pictures=(
                    msgspec.structs.replace(picture(1), jpeg=b"GIF", sha256=sha256_hex(b"GIF")),
                ),
            ),
            "JPEG",
        ),
        (
            Batch(
                device="car-1",
                samples=(sample(1, picture_sha256="0" * 64),),
                pictures=(picture(1),),
            ),
            "another picture",
        ),
    ],
)
def test_poison_is_rejected_with_its_reason_and_the_next_batch_is_served(
    fleet: Fleet, batch: Batch, reason: str
) -> None:
    reply = fleet.send(batch)
    assert reply is not None
    assert reply.receipt.outcome == "rejected"
    assert reason in reply.receipt.reason
    assert reason in fleet.queries.quarantine()[0].reason
    following = fleet.send(drive(0))
    assert following is not None
    assert following.receipt.outcome == "stored"


def test_a_picture_that_claims_a_giant_size_is_rejected(fleet: Fleet) -> None:
    body = bytearray(jpeg(1))
    at = body.index(b"\xff\xc0")
    body[at + 5 : at + 9] = b"\xff\xff\xff\xff"
    bomb = msgspec.structs.replace(picture(1), jpeg=bytes(body), sha256=sha256_hex(bytes(body)))
    reply = fleet.send(Batch(device="car-1", pictures=(bomb,)))
    assert reply is not None
    assert reply.receipt.outcome == "rejected"


def test_repeated_poison_is_kept_once_and_counted(fleet: Fleet) -> None:
    for _ in range(3):
        fleet.send(Batch(device="car-1", samples=(sample(1, label=1e6),)))
    (kept,) = fleet.queries.quarantine()
    assert kept.repeats == 2


def _conflicting(fleet: Fleet, number: int) -> bytes:
    return fleet.sealed(Batch(device="car-1", samples=(sample(0, label=100.0 + number),)))


@pytest.mark.slow
@pytest.mark.parametrize(
    "make",
    [
        lambda fleet, n: fleet.sealed(Batch(device="car-1", samples=(sample(n, label=1e9),))),
        lambda fleet, n: fleet.sealed(drive(n))[:-1],
        _conflicting,
        lambda _fleet, n: n.to_bytes(4, "big"),
    ],
    ids=["absurd", "truncated", "conflict", "rubbish"],
)
def test_a_refused_message_is_let_go_at_once_and_not_when_the_garbage_collector_comes(
    fleet: Fleet, make: Callable[[Fleet, int], bytes]
) -> None:
    fleet.send(drive(0))
    messages = [make(fleet, number) for number in range(10)]
    fleet.ingest.take(TOPIC, messages.pop())  # what is made once is made
    gc.collect()
    gc.disable()
    try:
        for body in messages:
            fleet.ingest.take(TOPIC, body)
        held = sum(isinstance(each, Received) for each in gc.get_objects())
        assert held == 0
        assert gc.collect() < 20 * len(messages), "statements made anew leave rings of objects"
    finally:
        gc.enable()
    assert len(_quarantined(fleet)) == 10


def _quarantined(fleet: Fleet) -> list[str]:
    with fleet.database.read() as connection:
        return list(connection.scalars(select(quarantine.c.reason)))


def test_an_oversized_message_is_rejected_and_kept_only_in_part(fleet: Fleet) -> None:
    reply = fleet.ingest.take(TOPIC, b"\0" * (BATCH.limit_bytes + 1))
    assert reply is not None
    assert reply.receipt.outcome == "rejected"
    with fleet.database.read() as connection:
        assert connection.scalar(select(func.length(quarantine.c.body))) == BATCH.limit_bytes


@given(body=st.binary(max_size=300))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_bytes_whatever_stop_ingest(fleet: Fleet, body: bytes) -> None:
    fleet.ingest.take(TOPIC, body)
    assert _count(fleet)[0] == 0


def test_a_clock_in_1970_is_no_fault(fleet: Fleet) -> None:
    reply = fleet.send(Batch(device="car-1", samples=(sample(1, utc_us=0, clock_synced=False),)))
    assert reply is not None
    assert reply.receipt.outcome == "stored"


def test_a_database_that_cannot_store_raises_and_answers_nothing(fleet: Fleet) -> None:
    with fleet.database.write() as connection:
        connection.exec_driver_sql("DROP TABLE pictures")
    with pytest.raises(RetryLaterError):
        fleet.send(drive(0))
    assert fleet.queries.batches() == ()


def test_tallies_tell_the_leading_estimate_from_a_shadow(fleet: Fleet) -> None:
    other = "cd" * 32
    both = tuple(
        sample(i, estimates=(Estimate(model=MODEL, value=0.0), Estimate(model=other, value=1.0)))
        for i in range(3)
    )
    rows = {
        row["model"]: row
        for row in (dict(zip(TALLY_COLUMNS, each, strict=True)) for each in tally(both))
    }
    assert (rows[MODEL]["led"], rows[other]["led"]) == (3, 0)
    assert rows[other]["error_sum"] == pytest.approx(sum((each.label or 0) - 1 for each in both))
    fleet.send(Batch(device="car-1", samples=both, manoeuvres=(end(0, pairs=3),)))
    assert fleet.queries.manoeuvres()[0].model == MODEL


_scattered = st.lists(
    st.tuples(
        st.integers(0, 2),
        st.none() | st.floats(0, 350),
        st.lists(st.tuples(st.sampled_from([MODEL, "cd" * 32]), st.floats(-50, 400)), max_size=3),
    ),
    max_size=30,
)


@pytest.mark.slow
@given(_scattered)
def test_tallies_add_up_to_what_a_plain_count_says(
    found: list[tuple[int, float | None, list[tuple[str, float]]]],
) -> None:
    samples = [
        sample(
            number,
            manoeuvre=manoeuvre,
            label=label,
            sensor_status="ok" if label is not None else "no_reading",
            estimates=tuple(Estimate(model=model, value=value) for model, value in estimates),
        )
        for number, (manoeuvre, label, estimates) in enumerate(found)
    ]
    added: dict[tuple[int, str], list[float]] = {}
    for row in (dict(zip(TALLY_COLUMNS, each, strict=True)) for each in tally(samples)):
        sums = added.setdefault((row["manoeuvre"], row["model"]), [0.0] * len(TALLY_SUMS))
        added[row["manoeuvre"], row["model"]] = [
            sum(two) for two in zip(sums, (row[name] for name in TALLY_SUMS), strict=True)
        ]
        first = samples[row["since_sample"]]
        assert first.manoeuvre == row["manoeuvre"]
    plain: dict[tuple[int, str], list[float]] = {}
    for each in samples:
        pair = [("", None), *((one.model, one.value) for one in each.estimates)]
        for place, (model, value) in enumerate(pair):
            sums = plain.setdefault((each.manoeuvre, model), [0.0] * len(TALLY_SUMS))
            label = each.label
            sums[0] += 1
            sums[1] += place == 1
            if label is not None:
                sums[2] += 1
                sums[3] += label
                sums[4] += 0.0 if value is None else abs(value - label)
    assert added.keys() == plain.keys()
    for key, sums in plain.items():
        assert added[key] == pytest.approx(sums)


_CHILD = """
import sys
from pathlib import Path
from tests.fleet_server.fleet import Fleet, drive
from shared.signing import SigningKey
fleet = Fleet(Path(sys.argv[1]))
fleet.keys["car-1"] = SigningKey(b"car-1".ljust(32, b"."))
for manoeuvre in range(100000):
    fleet.send(drive(manoeuvre % 200 + 200 * int(sys.argv[2])))
    print(manoeuvre, flush=True)
"""


@pytest.mark.e2e
def test_a_kill_at_any_instant_leaves_no_half_batch(fleet: Fleet) -> None:
    for cycle in range(5):
        child = subprocess.Popen(
            [sys.executable, "-c", _CHILD, str(fleet.state), str(cycle)],
            stdout=subprocess.PIPE,
            env=os.environ | {"PYTHONPATH": str(Path.cwd())},
        )
        assert child.stdout is not None
        acknowledged = 0
        for acknowledged, _ in enumerate(child.stdout, 1):
            if acknowledged == 5 + 7 * cycle:
                break
        child.send_signal(signal.SIGKILL)
        child.wait()
        child.stdout.close()
        pairs, pictures, manoeuvres, received = _count(fleet)
        assert pairs == pictures == 10 * manoeuvres == 10 * received
        with fleet.database.read() as connection:
            assert connection.scalar(select(func.count()).select_from(samples)) == pairs
        assert acknowledged >= 5
    assert dataclasses.astuple(fleet.queries.totals())[2] >= sum(50 + 70 * c for c in range(5))
