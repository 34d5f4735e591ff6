"""Leases on every store: one holder at a time, the next at once when it dies, no writes after."""

import threading
import time
from collections.abc import Callable, Iterator

import pytest
from sqlalchemy import text

from fleet_server.broker.users import CONTROL
from fleet_server.rollout import registration
from fleet_server.running import leases
from fleet_server.running.control import Control
from fleet_server.running.leases import LeaseLostError
from fleet_server.settings import ServerSettings
from fleet_server.storage.database import Database
from tests.contracts.conftest import Store
from tests.fleet_server.fleet import DEPLOYMENT, Fleet, manifest


@pytest.fixture
def other(store: Store) -> Iterator[Database]:
    """Give the same database as another process would open it."""
    database = store.open()
    yield database
    database.close()


def _wait_for(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_one_process_at_a_time_holds_a_lease(fleet: Fleet, other: Database) -> None:
    first = leases.take(fleet.database, CONTROL, fleet.clock)
    assert first is not None
    assert first.claim.is_held()
    assert leases.take(other, CONTROL, fleet.clock) is None
    first.claim.release()
    second = leases.take(other, CONTROL, fleet.clock)
    assert second is not None
    assert second.term > first.term
    second.claim.release()


def test_leases_of_other_names_are_free(fleet: Fleet, other: Database) -> None:
    held = [leases.take_ingest(other, fleet.clock) for _ in range(2)]
    assert [each and each[0] for each in held] == [1, 2]
    control = leases.take(fleet.database, CONTROL, fleet.clock)
    assert control is not None
    control.claim.release()
    for each in held:
        assert each is not None
        each[1].claim.release()


@pytest.mark.slow
def test_who_waits_gets_the_lease_as_soon_as_it_is_free(fleet: Fleet, other: Database) -> None:
    held = leases.take(fleet.database, CONTROL, fleet.clock)
    assert held is not None
    stop = threading.Event()
    got: list[leases.Lease | None] = []
    thread = threading.Thread(
        target=lambda: got.append(leases.wait(other, CONTROL, fleet.clock, stop))
    )
    thread.start()
    assert got == []
    held.claim.release()
    thread.join(10.0)
    assert got
    assert got[0] is not None
    got[0].claim.release()


def test_a_control_loop_that_lost_its_lease_writes_nothing(fleet: Fleet, other: Database) -> None:
    lost = leases.take(fleet.database, CONTROL, fleet.clock)
    assert lost is not None
    lost.claim.release()  # as PostgreSQL does with a session that it takes for dead
    next_one = leases.take(other, CONTROL, fleet.clock)
    assert next_one is not None
    with fleet.database.write() as connection:
        registration.register(connection, manifest(), utc_us=fleet.clock.utc_us())
    with pytest.raises(LeaseLostError):
        Control(fleet.database, ServerSettings(), fleet.clock, lost).look()
    assert fleet.queries.deployments(name=DEPLOYMENT)[0].latest is None
    next_one.claim.release()


@pytest.mark.e2e
@pytest.mark.parametrize("store", ["postgresql+s3"], indirect=True)
def test_a_session_that_the_database_ended_has_lost_its_lease(
    fleet: Fleet, other: Database
) -> None:
    held = leases.take(fleet.database, CONTROL, fleet.clock)
    assert held is not None
    with other.write() as connection:
        connection.execute(
            text(
                "SELECT pg_terminate_backend(pid) FROM pg_locks "
                "WHERE locktype = 'advisory' AND objsubid = 2"
            )
        )
    _wait_for(lambda: not held.claim.is_held())
    stop = threading.Event()
    with pytest.raises(LeaseLostError, match="ended with its connection"):
        held.watch(fleet.database, stop)
    taken = leases.take(other, CONTROL, fleet.clock)
    assert taken is not None
    taken.claim.release()
    held.claim.release()
