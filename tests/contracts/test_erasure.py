"""Erasure on every store: what was named is gone, the rest is whole, and nothing comes back."""

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec
import pytest
from sqlalchemy import Connection, func, select, update

from fleet_server import logbook
from fleet_server.erasure import erasing, erasure
from fleet_server.erasure.erasure import Erasure, Request
from fleet_server.ingest.taking import Ingest
from fleet_server.reading import annotations
from fleet_server.storage import bodies, report_tables, rewriting, tables
from fleet_server.storage.database import Database
from fleet_server.storage.erasure_tables import doomed, erasures, tombstones
from fleet_server.training import jobs
from shared.errors import RefusedError, RetryLaterError
from shared.ids import SampleKey, sha256_hex
from shared.messages import Batch
from shared.topics import BATCH
from tests.contracts.conftest import Store
from tests.fleet_server.fleet import (
    DEPLOYMENT,
    MODEL,
    START_US,
    Fleet,
    drive,
    end,
    jpeg,
    picture,
    sample,
)

STEP_US = 250_000
"""How far samples lie apart in time, in `tests.fleet_server.fleet`."""


def _request(**changes: object) -> Request:
    fields: dict[str, object] = {"actor": "anna", "reason": "asked by the owner"}
    return Request(**(fields | changes))  # type: ignore[arg-type]  # fields by name


def _between(first: int, last: int, **changes: object) -> Request:
    """Return the request to erase samples `first` to `last`, by their time."""
    since, until = START_US + first * STEP_US, START_US + last * STEP_US + 1
    return _request(since_utc_us=since, until_utc_us=until, **changes)


def _sequences(fleet: Fleet, device: str = "car-1") -> list[int]:
    return [each.sequence for each in fleet.queries.samples(device=device, limit=1000)]


def _held(fleet: Fleet) -> list[Batch]:
    """Return what every stored batch holds, and see that it is what its rows say."""
    objects, found = fleet.database.objects, []
    with fleet.database.read() as connection:
        for row in connection.execute(select(tables.batches).order_by(tables.batches.c.id)).all():
            body = bodies.read(connection, objects, row.id)
            assert body is not None
            assert sha256_hex(body) == row.sha256
            assert len(body) == row.size_bytes
            batch = rewriting.opened(row, body)
            assert len(batch.samples) == row.samples
            assert len(batch.pictures) == row.pictures
            found.append(batch)
    return found


def _erase(fleet: Fleet, request: Request) -> Erasure:
    done = erasure.erase(fleet.database, request, fleet.clock)
    assert done.finished_utc_us is not None
    assert erasing.step(fleet.database, fleet.clock) is False
    return done


def test_everything_of_a_car_goes_and_nothing_of_another(fleet: Fleet) -> None:
    fleet.add_car("car-2")
    for number in range(3):
        fleet.send(drive(number, model=MODEL))
        fleet.send(drive(number, device="car-2", model=MODEL))
    before = fleet.queries.samples(device="car-2", limit=1000)
    done = _erase(fleet, _request(device="car-1"))
    assert (done.samples, done.pictures, done.manoeuvres, done.batches) == (30, 30, 3, 3)
    assert _sequences(fleet) == []
    assert fleet.queries.samples(device="car-2", limit=1000) == before
    assert [each.device for each in fleet.queries.manoeuvres()] == ["car-2"] * 3
    assert [each.device for each in _held(fleet)] == ["car-2"] * 3
    car = fleet.queries.device("car-1")
    assert car is not None
    assert car.pairs_stored == 0
    with fleet.database.read() as connection:
        of_car = select(func.count()).select_from(tables.tallies).filter_by(device="car-1")
        assert connection.scalar(of_car) == 0
        kept = connection.scalars(select(tombstones.c.last - tombstones.c.first + 1))
        assert sum(kept) == 30 + 3


def test_of_a_stretch_of_time_the_rest_is_left_whole(fleet: Fleet) -> None:
    fleet.send(drive(0, model=MODEL, error=2.0))
    fleet.send(drive(1, model=MODEL, error=2.0))
    done = _erase(fleet, _between(7, 12))
    assert (done.samples, done.pictures) == (6, 6)
    assert _sequences(fleet) == [*range(7), *range(13, 20)]
    for number in (*range(7), *range(13, 20)):
        stored = fleet.queries.samples(device="car-1", limit=100)[0]
        assert fleet.queries.picture("car-1", stored.boot, number) == jpeg(number)
    first, second = _held(fleet)
    assert [each.sequence for each in first.samples] == list(range(7))
    assert [each.sequence for each in second.pictures] == list(range(13, 20))
    with fleet.database.read() as connection:
        sums = connection.execute(
            select(tables.tallies).filter_by(model=MODEL).order_by(tables.tallies.c.manoeuvre)
        ).all()
    assert [(row.manoeuvre, row.samples, row.led) for row in sums] == [(0, 7, 7), (1, 7, 7)]
    assert [row.error_sum for row in sums] == pytest.approx([14.0, 14.0])


def test_an_erased_key_cannot_come_back_and_its_neighbours_can(fleet: Fleet) -> None:
    whole = drive(0)
    fleet.send(whole)
    _erase(fleet, _between(3, 4))
    for back in (
        whole,
        Batch(device="car-1", samples=(sample(3),)),
        Batch(device="car-1", pictures=(picture(4),)),
    ):
        reply = fleet.send(back)
        assert reply is not None
        assert (reply.receipt.outcome, reply.receipt.reason) == ("rejected", "erased")
    assert fleet.queries.quarantine() == ()  # Nobody may keep it, not even here.
    reply = fleet.send(Batch(device="car-1", samples=(sample(2), sample(10))))
    assert reply is not None
    assert (reply.receipt.outcome, reply.receipt.new_samples) == ("stored", 1)
    assert _sequences(fleet) == [0, 1, 2, 5, 6, 7, 8, 9, 10]


def test_what_came_in_two_batches_goes_from_both(fleet: Fleet) -> None:
    whole = drive(0)
    fleet.send(Batch(device="car-1", samples=whole.samples[:6]))
    fleet.send(Batch(device="car-1", pictures=whole.pictures))
    fleet.send(whole)
    _erase(fleet, _between(5, 5))
    for batch in _held(fleet):
        assert all(each.sequence != 5 for each in batch.samples)
        assert all(each.sequence != 5 for each in batch.pictures)
    assert _sequences(fleet) == [0, 1, 2, 3, 4, 6, 7, 8, 9]


def test_a_clock_that_was_not_synced_is_judged_by_the_time_of_receipt(fleet: Fleet) -> None:
    in_1970 = sample(1, utc_us=5, clock_synced=False)
    fleet.send(Batch(device="car-1", samples=(in_1970, sample(2))))
    fleet.clock.now_us += 10_000_000
    fleet.send(Batch(device="car-1", samples=(sample(3, utc_us=5, clock_synced=False),)))
    _erase(fleet, _request(since_utc_us=fleet.clock.now_us))
    assert _sequences(fleet) == [1, 2]
    _erase(fleet, _request(until_utc_us=1000))
    assert _sequences(fleet) == [1, 2]


def test_a_manoeuvre_goes_with_any_of_its_time(fleet: Fleet) -> None:
    ends = tuple(
        end(
            number,
            pairs=0,
            started_utc_us=START_US + started,
            ended_utc_us=START_US + 1000,
        )
        for number, started in enumerate((0, 500, 900))
    )
    fleet.send(Batch(device="car-1", manoeuvres=ends))
    _erase(fleet, _request(until_utc_us=START_US + 600))
    assert [each.manoeuvre for each in fleet.queries.manoeuvres()] == [2]


def test_refused_messages_and_annotations_go_too(fleet: Fleet) -> None:
    fleet.send(drive(0))
    fleet.send(Batch(device="car-1", samples=(sample(50, label=1e9),)))
    boot = fleet.queries.samples()[0].boot
    for sequence in (1, 9):
        annotations.write(
            fleet.database,
            SampleKey("car-1", boot, sequence),
            author="anna",
            kind="note",
            text="a cat",
            label=None,
            utc_us=START_US,
        )
    done = _erase(fleet, _between(0, 4, device="car-1"))
    assert (done.samples, done.refused) == (5, 1)
    assert fleet.queries.quarantine() == ()
    with fleet.database.read() as connection:
        left = connection.scalars(select(report_tables.annotations.c.sequence)).all()
    assert list(left) == [9]


def test_jobs_and_models_that_learned_from_it_are_named(fleet: Fleet) -> None:
    fleet.send(drive(0))
    fleet.send(Batch(device="car-1", samples=drive(1).samples))  # without pictures: no pairs
    with fleet.database.write() as connection:
        decision = logbook.write(
            connection, utc_us=START_US, deployment=DEPLOYMENT, kind="train", reason="test"
        )
        jobs.open_job(
            connection,
            deployment=DEPLOYMENT,
            reason="test",
            decision=decision,
            verdict=None,
            utc_us=START_US,
        )
        claimed = jobs.claim(connection, worker="w", utc_us=START_US, lease_us=1)
        assert claimed is not None
        connection.execute(update(tables.training_jobs).values(state="done", model=MODEL))
    fleet.send(drive(2))
    done = _erase(fleet, _between(8, 25))
    (learned,) = done.learned
    assert (learned.job, learned.model, learned.pairs) == (claimed.id, MODEL, 2)
    assert _erase(fleet, _between(26, 29)).learned == ()


class _Killed(Exception):  # noqa: N818 - no error: the machine lost its power
    pass


class _Dying(Database):
    """A database whose process dies as it begins to write once more than it is `allowed`."""

    allowed = 0

    @contextmanager
    def write(self) -> Iterator[Connection]:
        if not self.allowed:
            raise _Killed
        self.allowed -= 1
        with super().write() as connection:
            yield connection


@pytest.mark.slow
def test_after_a_kill_before_any_commit_it_goes_on_and_ends_the_same(
    store: Store, fleet: Fleet
) -> None:
    for number in range(40):
        fleet.send(drive(number))
    number = erasure.begin(fleet.database, _between(5, 394), fleet.clock)
    deaths = 0
    while (seen := erasure.find(fleet.database, number)) and seen.finished_utc_us is None:
        for allowed in range(3):
            dying = _Dying(fleet.database._readers, fleet.database._writers, fleet.database.objects)
            dying.allowed = allowed
            try:
                while erasing.step(dying, fleet.clock):
                    pass
            except _Killed:
                deaths += 1
    assert deaths >= 4
    assert seen is not None
    assert (seen.samples, seen.pictures, seen.fraction) == (390, 390, 1.0)
    assert _sequences(fleet) == [0, 1, 2, 3, 4, 395, 396, 397, 398, 399]
    assert len(_held(fleet)) == 2
    again = Fleet(store.state, opened=store.open())
    assert _sequences(again) == _sequences(fleet)
    again.close()


def test_no_byte_of_an_erased_picture_is_left_in_the_store(store: Store, fleet: Fleet) -> None:
    fleet.send(drive(0))
    _erase(fleet, _between(0, 4))
    if fleet.database.objects is None:
        content = b"".join(path.read_bytes() for path in store.state.iterdir() if path.is_file())
        assert jpeg(7)[-200:] in content
        assert jpeg(3)[-200:] not in content
    else:
        listed = [each.sha256 for some in fleet.database.objects.every() for each in some]
        assert listed == [batch.sha256 for batch in fleet.queries.batches()]


def test_objects_without_a_row_are_swept_after_their_grace(fleet: Fleet) -> None:
    objects = fleet.database.objects
    fleet.send(drive(0))
    if objects is None:
        assert erasing.sweep(fleet.database, fleet.clock) == 0
        return
    orphan = b"a batch whose server died before the commit"
    objects.put({sha256_hex(orphan): orphan})
    real_us = max(each.written_utc_us for some in objects.every() for each in some)
    fleet.clock.now_us = real_us + 1_000_000
    assert erasing.sweep(fleet.database, fleet.clock) == 0
    fleet.clock.now_us = real_us + 3_700_000_000
    assert erasing.sweep(fleet.database, fleet.clock) == 1
    with pytest.raises(RetryLaterError):
        objects.get(sha256_hex(orphan))
    assert len(_held(fleet)) == 1
    fleet.clock.now_us += 3_700_000_000
    assert erasing.sweep(fleet.database, fleet.clock) == 0
    with fleet.database.read() as connection:
        assert connection.scalar(select(func.count()).select_from(doomed)) == 0
        assert not connection.scalars(select(erasures.c.id)).all()


def test_bytes_that_are_about_to_be_deleted_are_not_stored_anew(fleet: Fleet) -> None:
    if fleet.database.objects is None:
        pytest.skip("only objects are deleted apart from their rows")
    body = fleet.sealed(drive(0))
    with fleet.database.write() as connection:
        connection.execute(doomed.insert().values(sha256=sha256_hex(body), utc_us=START_US))
    ingest = Ingest(fleet.database, fleet.server_key, fleet.clock)
    with pytest.raises(RetryLaterError):
        ingest.take(BATCH.topic(id="car-1"), body)
    assert fleet.queries.batches() == ()


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({}, "name a car"),
        ({"device": "car-9"}, "no car car-9"),
        ({"since_utc_us": 5, "until_utc_us": 5}, "empty"),
    ],
)
def test_a_request_for_nothing_is_refused_and_not_entered(
    fleet: Fleet, changes: dict[str, object], problem: str
) -> None:
    before = len(fleet.queries.decisions())
    with pytest.raises(RefusedError, match=problem):
        erasure.begin(fleet.database, _request(**changes), fleet.clock)
    assert erasure.listed(fleet.database) == ()
    assert len(fleet.queries.decisions()) == before


def test_an_erasure_stands_in_the_log_book_before_anything_is_gone(fleet: Fleet) -> None:
    fleet.send(drive(0))
    number = erasure.begin(fleet.database, _request(device="car-1"), fleet.clock)
    entry = fleet.queries.decisions(newest=True, limit=1)[0]
    assert (entry.kind, entry.actor, entry.reason) == ("erase", "anna", "asked by the owner")
    seen = erasure.find(fleet.database, number)
    assert seen is not None
    assert (seen.decision, seen.fraction, seen.samples) == (entry.id, 0.0, 0)
    assert _sequences(fleet) == list(range(10))
    assert dataclasses.is_dataclass(seen)
    assert msgspec.json.decode(msgspec.json.encode(seen))["device"] == "car-1"
