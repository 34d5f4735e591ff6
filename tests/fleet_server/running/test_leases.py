"""Leases on SQLite: numbers, a killed holder, parts that end together; tests/contracts has more."""

import os
import threading
import time
from collections.abc import Iterator

import pytest

from fleet_server.broker.users import INGESTS
from fleet_server.running import leases
from fleet_server.running.leases import LeaseLostError
from fleet_server.running.parts import run_together
from fleet_server.storage.database import Database
from tests.fleet_server.fleet import Fleet


@pytest.fixture
def other(fleet: Fleet) -> Iterator[Database]:
    """Give the same database as another process would open it."""
    database = Database.open(fleet.state / "server.sqlite", fleet.clock)
    yield database
    database.close()


def test_ingest_processes_are_numbered_and_a_free_number_is_used_again(
    fleet: Fleet, other: Database
) -> None:
    taken = [leases.take_ingest(other, fleet.clock) for _ in range(3)]
    assert [each and each[0] for each in taken] == [1, 2, 3]
    assert taken[1] is not None
    taken[1][1].claim.release()
    again = leases.take_ingest(fleet.database, fleet.clock)
    assert again is not None
    assert again[0] == 2


def test_there_is_a_last_number(fleet: Fleet) -> None:
    held = [leases.take_ingest(fleet.database, fleet.clock) for _ in range(INGESTS)]
    assert None not in held
    assert leases.take_ingest(fleet.database, fleet.clock) is None


def test_the_lease_of_a_killed_process_is_free_at_once(fleet: Fleet) -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        own = Database.open(fleet.state / "server.sqlite", fleet.clock)
        held = leases.take(own, "control", fleet.clock)
        os.write(writing, b"held" if held else b"free")
        time.sleep(60)
        os._exit(0)
    assert os.read(reading, 4) == b"held"
    assert leases.take(fleet.database, "control", fleet.clock) is None
    os.kill(child, 9)
    os.waitpid(child, 0)
    assert leases.take(fleet.database, "control", fleet.clock) is not None


def test_whoever_waits_is_told_to_stop(fleet: Fleet, other: Database) -> None:
    assert leases.take(fleet.database, "control", fleet.clock) is not None
    stop = threading.Event()
    threading.Timer(0.05, stop.set).start()
    assert leases.wait(other, "control", fleet.clock, stop) is None


def test_parts_end_together_and_the_first_failure_is_raised() -> None:
    ended: list[str] = []

    def patient(stop: threading.Event) -> None:
        stop.wait()
        ended.append("patient")

    def failing(_stop: threading.Event) -> None:
        raise LeaseLostError("gone")

    with pytest.raises(LeaseLostError, match="gone"):
        run_together([("a", patient), ("b", failing)], threading.Event())
    assert ended == ["patient"]
