"""One suite for every store of the fleet server: SQLite alone, and PostgreSQL with S3."""

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import msgspec
import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import func, insert, select

from fleet_server import logbook
from fleet_server.ingest.taking import Ingest
from fleet_server.reading.lineage import Lineage
from fleet_server.rollout import registration
from fleet_server.running.control import Control
from fleet_server.settings import ServerSettings
from fleet_server.storage import bodies, quarantine, tables
from fleet_server.storage.columns import metadata
from fleet_server.storage.database import Database
from fleet_server.storage.objects import open_objects
from fleet_server.storage.quarantine import Budget
from fleet_server.storage.received import Received
from fleet_server.training import jobs, pairs
from shared.errors import RetryLaterError, UsageError
from shared.ids import sha256_hex
from shared.messages import Batch
from shared.samples import Sample
from shared.topics import BATCH
from tests.contracts import stores
from tests.contracts.conftest import Store
from tests.contracts.stores import Cluster
from tests.fleet_server.fleet import (
    DEPLOYMENT,
    MODEL,
    START_US,
    Fleet,
    VirtualClock,
    drive,
    jpeg,
    manifest,
    sample,
)

TOPIC = BATCH.topic(id="car-1")


def _count(fleet: Fleet) -> tuple[int, int, int, int]:
    totals = fleet.queries.totals()
    return totals.pairs_stored, totals.pictures, totals.manoeuvres, totals.batches


def _outcomes(fleet: Fleet, *batches: Batch) -> list[str]:
    replies = fleet.ingest.take_all([(TOPIC, fleet.sealed(each)) for each in batches])
    return [reply.receipt.outcome if reply else "unanswered" for reply in replies]


def test_the_migrations_build_exactly_the_tables_that_the_code_uses(fleet: Fleet) -> None:
    with fleet.database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []


def test_what_was_stored_is_there_when_the_store_is_opened_again(
    store: Store, fleet: Fleet
) -> None:
    fleet.send(drive(0, model=MODEL, error=2.0))
    again = Fleet(store.state, opened=store.open())
    assert _count(again) == (10, 10, 1, 1)
    assert again.queries.manoeuvres()[0].mae == pytest.approx(2.0)
    again.close()


def test_what_was_stored_reads_back_as_it_was_recorded(fleet: Fleet) -> None:
    batch = drive(3, model=MODEL, error=2.0)
    fleet.send(batch)
    stored = fleet.queries.samples(device="car-1")
    assert [msgspec.convert(each.record, Sample) for each in stored] == list(batch.samples)
    assert all(each.has_picture for each in stored)
    assert fleet.queries.picture("car-1", stored[4].boot, stored[4].sequence) == jpeg(34)
    assert fleet.queries.picture("car-1", stored[4].boot, 99) is None


def test_the_received_bytes_are_kept_unchanged_under_their_digest(fleet: Fleet) -> None:
    body = fleet.sealed(drive(0))
    fleet.ingest.take(TOPIC, body)
    (kept,) = fleet.queries.batches()
    assert (kept.sha256, kept.size_bytes) == (sha256_hex(body), len(body))
    with fleet.database.read() as connection:
        assert bodies.read(connection, fleet.database.objects, kept.id) == body
        assert bodies.read(connection, fleet.database.objects, kept.id + 1) is None


def test_a_repeat_stores_nothing_a_part_is_completed_and_a_conflict_changes_nothing(
    fleet: Fleet,
) -> None:
    whole = drive(0, model=MODEL, error=3.0)
    part = Batch(device="car-1", samples=whole.samples[:6])
    assert _outcomes(fleet, part) == ["stored"]
    assert _outcomes(fleet, whole, part) == ["stored", "duplicate"]
    other = Batch(device="car-1", samples=(sample(50), sample(3, label=11.0)))
    assert _outcomes(fleet, other) == ["rejected"]
    assert _count(fleet) == (10, 10, 1, 2)
    assert fleet.queries.manoeuvres()[0].mae == pytest.approx(3.0)
    assert fleet.queries.manoeuvres()[0].pairs_stored == 10
    assert fleet.queries.quarantine()[0].reason.startswith("conflict")


def test_of_batches_taken_together_each_is_stored_or_refused_by_itself(fleet: Fleet) -> None:
    fleet.send(drive(0))
    found = _outcomes(
        fleet,
        drive(1),
        Batch(device="car-1", samples=(sample(3, label=11.0),)),  # a conflict
        drive(2),
        Batch(device="car-1"),  # nothing in it
        drive(1),  # twice in one go
        Batch(device="car-1", samples=(sample(70, label=1e9),)),  # absurd
        drive(0),
    )
    assert found == [
        *("stored", "rejected", "stored", "duplicate", "duplicate", "rejected", "duplicate")
    ]
    assert _count(fleet) == (30, 30, 3, 3)
    assert fleet.ingest.outcomes == {"stored": 3, "rejected": 2, "duplicate": 3}
    assert len(fleet.queries.quarantine()) == 2


def test_batches_taken_together_count_as_much_as_one_after_the_other(
    fleet: Fleet,
) -> None:
    fleet.add_car("car-2")
    batches = [drive(n, device=f"car-{n % 2 + 1}", model=MODEL, error=n) for n in range(6)]
    topics = [BATCH.topic(id=each.device) for each in batches]
    fleet.ingest.take_all(
        [(topic, fleet.sealed(each)) for topic, each in zip(topics, batches, strict=True)]
    )
    assert _count(fleet) == (60, 60, 6, 6)
    assert [car.pairs_stored for car in fleet.queries.devices()] == [30, 30]
    assert [each.mae for each in fleet.queries.manoeuvres()] == pytest.approx([0, 1, 2, 3, 4, 5])
    with fleet.database.read() as connection:
        first = select(tables.samples.c.manoeuvre, func.min(tables.samples.c.id).label("id"))
        ids = {
            row.manoeuvre: row.id
            for row in connection.execute(first.group_by(tables.samples.c.manoeuvre))
        }
        tallies = select(tables.tallies.c.manoeuvre, tables.tallies.c.since_sample)
        assert {row[0]: row[1] for row in connection.execute(tallies)} == ids


def test_a_picture_that_comes_later_joins_its_sample(fleet: Fleet) -> None:
    whole = drive(0)
    fleet.send(Batch(device="car-1", samples=whole.samples))
    assert not fleet.queries.samples()[0].has_picture
    fleet.send(Batch(device="car-1", pictures=whole.pictures))
    assert all(each.has_picture for each in fleet.queries.samples())


def test_numbers_as_large_as_a_message_may_hold_are_stored(fleet: Fleet) -> None:
    largest = 2**53 - 1
    far = sample(largest, manoeuvre=largest, utc_us=largest, monotonic_us=largest)
    assert _outcomes(fleet, Batch(device="car-1", samples=(far,))) == ["stored"]
    assert fleet.queries.samples()[0].sequence == largest


def test_row_ids_are_given_in_the_order_of_the_commits(fleet: Fleet) -> None:
    begun, ids = threading.Event(), dict[str, int]()

    def enter(name: str) -> None:
        with fleet.database.write() as connection:
            begun.set()
            ids[name] = logbook.write(
                connection, utc_us=START_US, deployment=DEPLOYMENT, kind=name, reason=name
            )

    with fleet.database.write() as connection:
        ids["first"] = logbook.write(
            connection, utc_us=START_US, deployment=DEPLOYMENT, kind="a", reason="a"
        )
        other = threading.Thread(target=enter, args=("second",))
        other.start()
        assert not begun.wait(0.2)  # it waits for us
    other.join()
    assert ids["first"] < ids["second"]


def test_a_reader_sees_one_state(fleet: Fleet) -> None:
    with fleet.database.read() as connection:
        before = connection.scalar(select(func.count()).select_from(tables.samples))
        fleet.send(drive(0))
        assert connection.scalar(select(func.count()).select_from(tables.samples)) == before
    assert _count(fleet)[0] == 10


def test_a_failed_block_changes_nothing(fleet: Fleet) -> None:
    def fail() -> None:
        with fleet.database.write() as connection:
            connection.execute(insert(tables.meta).values(key="a", value="b"))
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    with fleet.database.read() as connection:
        assert connection.scalar(select(tables.meta.c.value).filter_by(key="a")) is None


def test_two_processes_that_take_the_same_batches_store_them_once(
    store: Store, fleet: Fleet
) -> None:
    other = store.open()
    takers = [fleet.ingest, Ingest(other, fleet.server_key, fleet.clock)]
    messages = [(TOPIC, fleet.sealed(drive(n))) for n in range(12)]

    def take(ingest: Ingest) -> list[str]:
        found: list[str] = []
        while len(found) < len(messages):
            # As a car does, until it is answered: moto fails where two write one object at once.
            with suppress(RetryLaterError):
                replies = ingest.take_all(messages[len(found) : len(found) + 3])
                found += [reply.receipt.outcome for reply in replies if reply]
        return found

    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(take, takers)
    assert [set(pair) for pair in zip(first, second, strict=True)] == [{"stored", "duplicate"}] * 12
    assert _count(fleet) == (120, 120, 12, 12)
    other.close()


def test_a_training_job_reads_its_pairs_with_their_pictures(fleet: Fleet) -> None:
    whole = drive(0)
    fleet.send(Batch(device="car-1", samples=whole.samples, manoeuvres=whole.manoeuvres))
    fleet.send(Batch(device="car-1", pictures=whole.pictures))
    fleet.send(drive(1))
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
    fleet.send(drive(2))
    with fleet.database.read() as connection:
        job = connection.execute(select(tables.training_jobs)).one()
        body = pairs.page(connection, job, objects=fleet.database.objects, after=0)
    items = msgspec.msgpack.decode(body)["items"]
    assert [each["jpeg"] for each in items] == [jpeg(n) for n in range(20)]
    assert [each["sample"]["sequence"] for each in items] == list(range(20))


def test_every_list_and_the_control_loop_run_over_a_fleet_with_a_past(fleet: Fleet) -> None:
    registered = manifest()
    for number in range(12):
        fleet.send(drive(number, model=registered.sha256, error=1.0 if number < 6 else 90.0))
    with fleet.database.write() as connection:
        registration.register(connection, registered, utc_us=START_US)
    for number in range(12, 24):
        is_red = number >= 18
        error, looks = (90.0, 160.0) if is_red else (1.0, 100.0)
        fleet.send(drive(number, model=registered.sha256, error=error, looks=looks))
    settings = ServerSettings(retrain_pairs=10, reference_manoeuvres=5)
    Control(fleet.database, settings, fleet.clock).settle(threading.Event())
    queries = fleet.queries
    assert [each.state for each in queries.training_jobs()] == ["queued"]
    assert len(queries.verdicts()) == 1
    assert {"promote", "rollout", "retrain"} <= {each.kind for each in queries.decisions()}
    assert [each.wanted for each in queries.rollouts()] == [1]
    assert queries.models()[0].latest
    assert queries.deployments()[0].devices == 1
    assert queries.devices()[0].desired_version == 1
    assert queries.history("car-1") == ()
    assert len(queries.manoeuvres(newest=True, limit=5)) == 5
    assert Lineage(fleet.database).of_model(registered.sha256) is not None


def test_a_reason_with_a_zero_in_it_is_kept(fleet: Fleet) -> None:
    received = Received(device="car-1", topic=TOPIC, body=b"x", sha256="0" * 64, utc_us=START_US)
    with fleet.database.write() as connection:
        quarantine.put_aside(connection, received, "a\0b", Budget())
    assert fleet.queries.quarantine()[0].reason == "a\\0b"


def _refuse(fleet: Fleet, device: str, number: int, size_bytes: int, budget: Budget) -> None:
    body = number.to_bytes(4, "big") * (size_bytes // 4)
    received = Received(
        device=device,
        topic=BATCH.topic(id=device),
        body=body,
        sha256=sha256_hex(body),
        utc_us=START_US + number,
    )
    with fleet.database.write() as connection:
        quarantine.put_aside(connection, received, "poison", budget)


def test_quarantine_keeps_to_its_budgets_and_counts_what_made_room(fleet: Fleet) -> None:
    budget = Budget(car_bytes=4000, all_bytes=6000)
    for number in range(200):
        _refuse(fleet, "car-1", number, 1000, budget)
    assert len(fleet.queries.quarantine()) == 4
    for number in range(200, 204):
        _refuse(fleet, "car-2", number, 1000, budget)
    kept = fleet.queries.quarantine()
    assert [each.device for each in kept] == ["car-1"] * 2 + ["car-2"] * 4
    with fleet.database.read() as connection:
        tallies = {
            row.device: (row.kept_bytes, row.dropped, row.dropped_bytes)
            for row in connection.execute(select(tables.quarantine_tallies))
        }
    assert tallies == {"car-1": (2000, 198, 198_000), "car-2": (4000, 0, 0)}
    with fleet.database.write() as connection:
        assert quarantine.take_out(connection, [each.id for each in kept]) == 6
    assert fleet.queries.quarantine() == ()


@pytest.mark.e2e
def test_a_batch_whose_bytes_cannot_be_written_is_not_receipted(tmp_path: Path) -> None:
    with stores.s3() as own, pytest.MonkeyPatch.context() as environment:
        for name, value in own.environment.items():
            environment.setenv(name, value)
        objects = open_objects(own.prefix())
        opened = Database.open(tmp_path / "server.sqlite", VirtualClock(), objects)
        fleet = Fleet(tmp_path, opened=opened)
        fleet.add_car()
        with pytest.raises(UsageError, match="cannot use s3://elsewhere/x"):
            open_objects("s3://elsewhere/x")
    with pytest.raises(RetryLaterError):
        fleet.send(drive(0))
    assert _count(fleet) == (0, 0, 0, 0)
    fleet.close()


@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("mysql://fleet@host/x", "is not postgresql"),
        ("nonsense", "not an address"),
        ("postgresql://fleet:secret@host/x", "password"),
        ("postgresql://fleet@/nowhere?host=/nowhere", "cannot use"),
    ],
)
def test_a_wrong_address_is_one_line_without_secrets(url: str, problem: str) -> None:
    with pytest.raises(UsageError, match=problem) as caught:
        Database.connect(url, VirtualClock())
    assert "\n" not in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.e2e
def test_a_session_that_the_database_ended_is_a_passing_fault(
    cluster: Cluster, template: str
) -> None:
    database = Database.connect(cluster.url(cluster.create(template)), VirtualClock())

    def end_all(database: Database) -> None:
        with database.write() as connection:
            connection.exec_driver_sql("SELECT pg_terminate_backend(pg_backend_pid())")

    with pytest.raises(RetryLaterError):
        end_all(database)
    with database.read() as connection:
        assert connection.scalar(select(tables.meta.c.value).filter_by(key="epoch"))
    database.close()
