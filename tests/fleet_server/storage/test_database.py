"""The database: migrated on opening, durable, and honest about foreign files."""

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, func, insert, select, update
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from fleet_server.reading.queries import Queries
from fleet_server.storage import database as database_module
from fleet_server.storage import (
    drift_tables,
    erasure_tables,
    fleet_tables,
    report_tables,
    tables,
)
from fleet_server.storage.columns import metadata
from fleet_server.storage.database import Database
from shared.clock import SystemClock
from shared.errors import RetryLaterError, UsageError

CLOCK = SystemClock()
MIGRATIONS = Path(database_module.__file__).parent / "migrations"


def test_the_migrations_build_exactly_the_tables_that_the_code_uses(tmp_path: Path) -> None:
    database = Database.open(tmp_path / "server.sqlite", CLOCK)
    with database.read() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
        assert erasure_tables.erasures.metadata is tables.meta.metadata is metadata
        assert report_tables.alerts.metadata is metadata
        assert fleet_tables.leases.metadata is metadata
        assert drift_tables.verdicts.metadata is metadata
    database.close()


def test_opening_twice_keeps_the_epoch(tmp_path: Path) -> None:
    epochs = set()
    for _ in range(2):
        database = Database.open(tmp_path / "server.sqlite", CLOCK)
        with database.read() as connection:
            epochs.add(connection.scalar(select(tables.meta.c.value).filter_by(key="epoch")))
        database.close()
    assert len(epochs) == 1


def test_what_is_committed_is_written_through_to_the_disk(tmp_path: Path) -> None:
    database = Database.open(tmp_path / "server.sqlite", CLOCK)
    with database.write() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
    database.close()


def test_a_failed_block_changes_nothing(tmp_path: Path) -> None:
    database = Database.open(tmp_path / "server.sqlite", CLOCK)

    def fail() -> None:
        with database.write() as connection:
            connection.execute(insert(tables.meta).values(key="a", value="b"))
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    with database.read() as connection:
        assert connection.scalar(select(func.count()).select_from(tables.meta)) == 1
    database.close()


@pytest.mark.parametrize("content", [b"not a database" * 100, b"SQLite format 3\0" + b"\1" * 200])
def test_a_file_that_is_no_database_is_named_in_one_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "server.sqlite").write_bytes(content)
    with pytest.raises(UsageError, match=r"server\.sqlite is not a database") as caught:
        Database.open(tmp_path / "server.sqlite", CLOCK)
    assert "\n" not in str(caught.value)


def test_a_database_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    database = Database.open(tmp_path / "server.sqlite", CLOCK)
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    database.close()
    with pytest.raises(UsageError, match="newer version"):
        Database.open(tmp_path / "server.sqlite", CLOCK)


def test_what_is_up_to_date_is_what_the_last_step_leaves(tmp_path: Path) -> None:
    database = Database.open(tmp_path / "server.sqlite", CLOCK)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with database.read() as connection:
        found = MigrationContext.configure(connection).get_current_revision()
    database.close()
    assert found == ScriptDirectory.from_config(config).get_current_head() == database_module._HEAD


def test_an_empty_fleet_has_views(tmp_path: Path) -> None:
    database = Database.open(tmp_path / "server.sqlite", CLOCK)
    queries = Queries(database)
    lists = (
        *(queries.devices, queries.deployments, queries.manoeuvres, queries.samples),
        *(queries.batches, queries.models, queries.rollouts, queries.training_jobs),
        *(queries.decisions, queries.verdicts, queries.quarantine),
    )
    assert [len(each()) for each in lists] == [0] * len(lists)
    assert queries.history("car-1") == ()
    assert queries.device("car-1") is None
    assert queries.picture("car-1", "00000001-00000000", 1) is None
    assert queries.totals().pairs_stored == 0
    with database.write() as connection:
        connection.execute(update(tables.meta).values(value="1"))
    database.close()


def test_a_new_database_is_its_owners_alone(tmp_path: Path) -> None:
    database = Database.open(tmp_path / "server.sqlite", SystemClock())
    with database.write() as connection:
        connection.execute(insert(tables.meta).values(key="k", value="v"))
    modes = {
        path.name: path.stat().st_mode & 0o777
        for path in tmp_path.iterdir()
        if path.suffix != ".lock"
    }
    database.close()
    assert set(modes) == {"server.sqlite", "server.sqlite-wal", "server.sqlite-shm"}
    assert set(modes.values()) == {0o600}


def test_that_all_connections_are_in_use_is_a_passing_fault(tmp_path: Path) -> None:
    database = Database.open(tmp_path / "server.sqlite", CLOCK)
    with pytest.raises(RetryLaterError, match="in use"), database.read():
        raise PoolTimeoutError
    database.close()


def test_verdicts_of_before_keep_their_ids_and_count_as_drift(tmp_path: Path) -> None:
    path = tmp_path / "server.sqlite"
    engine = create_engine(f"sqlite:///{path}")
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0007")
        connection.exec_driver_sql(
            "INSERT INTO verdicts VALUES (7, 5, 'garage', 'm', "
            "'measured-error-risen', 'why', '{}', 3)"
        )
    engine.dispose()
    database = Database.open(path, CLOCK)
    (found,) = Queries(database).verdicts()
    assert (found.id, found.kind, found.cause, found.hurts) == (7, "drift", "unnamed", True)
    assert (found.device, found.cleared_utc_us) == ("", None)
    with database.write() as connection:
        assert (
            connection.scalar(
                insert(drift_tables.verdicts)
                .values(
                    utc_us=6,
                    deployment="garage",
                    model="n",
                    kind="drift",
                    reason="",
                    evidence="{}",
                    since_sample=1,
                )
                .returning(drift_tables.verdicts.c.id)
            )
            == 8
        )
    database.close()


def _pages_kib(connection: Connection) -> int:
    return -int(connection.exec_driver_sql("PRAGMA cache_size").scalar_one())


def test_a_connection_that_reads_keeps_a_quarter_of_what_the_one_that_writes_may(
    tmp_path: Path,
) -> None:
    database = Database.open(tmp_path / "server.sqlite", CLOCK, cache_mib=8)
    with database.write() as connection:
        assert _pages_kib(connection) == 8 * 1024
    with database.read() as connection:
        assert _pages_kib(connection) == 2 * 1024
    database.close()


def test_threads_that_write_take_turns_on_one_connection_whose_pages_stay_good(
    tmp_path: Path,
) -> None:
    database = Database.open(tmp_path / "server.sqlite", CLOCK)

    def write(number: int) -> int:
        with database.write() as connection:
            connection.execute(insert(tables.meta).values(key=f"n{number}", value="1"))
            return id(connection.connection.driver_connection)

    with ThreadPoolExecutor(4) as threads:
        used = set(threads.map(write, range(40)))
    assert len(used) == 1
    with database.read() as connection:
        written = select(func.count()).where(tables.meta.c.key.like("n%"))
        assert connection.scalar(written) == 40
    database.close()


def test_a_thread_that_writes_without_a_pause_leaves_others_their_turn(tmp_path: Path) -> None:
    database = Database.open(tmp_path / "server.sqlite", CLOCK)
    begun, over, done = threading.Event(), threading.Event(), list[int]()

    def write_on() -> None:
        while not over.is_set():
            with database.write() as connection:
                key = f"n{len(done)}"
                connection.execute(insert(tables.meta).values(key=key, value="1"))
            done.append(1)
            begun.set()

    busy = threading.Thread(target=write_on)
    busy.start()
    begun.wait()
    waited = []
    for number in range(20):
        before = len(done)
        with database.write() as connection:
            connection.execute(insert(tables.meta).values(key=f"w{number}", value="1"))
            waited.append(len(done) - before)
    over.set()
    busy.join()
    # The one that was under way, and one that had asked before.
    assert max(waited) <= 2
    database.close()
