"""A database restored from an older copy: cars hold later wishes than it knows."""

import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import func, select

from fleet_server import logbook
from fleet_server.cars.twin import Twin
from fleet_server.storage.tables import desired, devices
from shared import codec
from shared.topics import STATUS
from tests.fleet_server.fleet import DEPLOYMENT, START_US, Fleet, status

Wish = tuple[int, int]


def _wish(fleet: Fleet) -> Wish:
    query = select(desired.c.epoch, desired.c.revision).join(
        devices, devices.c.desired == desired.c.id
    )
    with fleet.database.read() as connection:
        row = connection.execute(query.where(devices.c.name == "car-1")).one()
    return row.epoch, row.revision


def _set(fleet: Fleet, deployment: str) -> None:
    with fleet.database.write() as connection:
        logbook.set_desired(
            connection, "car-1", deployment=deployment, decision=1, utc_us=fleet.clock.now_us
        )


def _report(fleet: Fleet, wish: Wish) -> None:
    said = status(desired_epoch=wish[0], desired_revision=wish[1])
    Twin(fleet.database, fleet.clock).take(STATUS, "car-1", codec.encode(said))


@pytest.fixture
def restored(fleet: Fleet, tmp_path: Path) -> Iterator[Fleet]:
    """Return the fleet as of yesterday; its car holds the wish (epoch, 3) of today."""
    _set(fleet, DEPLOYMENT)
    folder = tmp_path / "restored"
    folder.mkdir()
    with sqlite3.connect(fleet.state / "server.sqlite") as live:
        live.execute("VACUUM INTO ?", (str(folder / "server.sqlite"),))
    live.close()
    for deployment in ("other", DEPLOYMENT):
        _set(fleet, deployment)
    made = Fleet(folder)
    made.clock.now_us = START_US + 86_400_000_000
    yield made
    made.close()


def test_a_car_that_holds_a_later_wish_is_told_one_that_it_takes(restored: Fleet) -> None:
    epoch, revision = _wish(restored)
    held = (epoch, revision + 2)
    _report(restored, held)
    assert _wish(restored) > held
    after = _wish(restored)
    _report(restored, after)
    _report(restored, (epoch, revision))
    assert _wish(restored) == after
    _set(restored, "other")
    assert _wish(restored) > after


@pytest.mark.parametrize("held", [(2**53 - 1, 1), (2**53 - 1, 2**53 - 1)])
def test_a_claim_out_of_reach_changes_nothing(restored: Fleet, held: Wish) -> None:
    before = _wish(restored)
    _report(restored, held)
    assert _wish(restored) == before


def test_a_car_that_claims_without_end_is_answered_once_a_minute(restored: Fleet) -> None:
    for _ in range(120):
        restored.clock.now_us += 1_000_000
        epoch, _revision = _wish(restored)
        _report(restored, (epoch, 2**53 - 1))
    with restored.database.read() as connection:
        count = connection.scalar(select(func.count()).select_from(desired)) or 0
    assert count <= 1 + 3
