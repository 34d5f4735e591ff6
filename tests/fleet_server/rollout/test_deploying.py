"""Deployments: `latest` or a pinned version, in use or retired, and how many pairs they hold."""

import pytest
from sqlalchemy import insert, select, update

from fleet_server.cars import membership
from fleet_server.erasure import erasure
from fleet_server.erasure.erasure import Request
from fleet_server.reading.views import DeploymentView, DeviceView
from fleet_server.rollout import deploying, registration
from fleet_server.rollout.steering import AT_ONCE
from fleet_server.running.control import Control
from fleet_server.settings import ServerSettings
from fleet_server.storage.tables import devices
from shared.errors import RefusedError
from shared.signing import SigningKey
from shared.task import WALL_DISTANCE
from tests.fleet_server.fleet import DEPLOYMENT, START_US, Fleet, drive, manifest


def register(fleet: Fleet, version: int) -> str:
    made = manifest(f"model {version}".encode(), release_seq=version)
    with fleet.database.write() as connection:
        registration.register(connection, made, utc_us=START_US)
    return made.sha256


def pin(fleet: Fleet, version: int | None) -> None:
    with fleet.database.write() as connection:
        deploying.pin(
            connection,
            name=DEPLOYMENT,
            version=version,
            actor="anna",
            reason="it brakes too late",
            utc_us=START_US,
        )


def set_status(fleet: Fleet, status: deploying.Status) -> None:
    with fleet.database.write() as connection:
        deploying.set_status(
            connection,
            name=DEPLOYMENT,
            status=status,
            actor="anna",
            reason="the garage is gone",
            utc_us=START_US,
        )


def settle(fleet: Fleet) -> DeviceView:
    control = Control(fleet.database, ServerSettings(rollout_strategy="direct"), fleet.clock)
    while control.look():
        pass
    car = fleet.queries.device("car-1")
    assert car is not None
    return car


def shown(fleet: Fleet) -> DeploymentView:
    return fleet.queries.deployments(name=DEPLOYMENT)[0]


def test_cars_run_the_pinned_version_while_latest_moves_on(fleet: Fleet) -> None:
    register(fleet, 1)
    second = register(fleet, 2)
    assert settle(fleet).desired_version == 2
    pin(fleet, 1)
    assert settle(fleet).desired_version == 1
    third = register(fleet, 3)
    assert settle(fleet).desired_version == 1
    assert (shown(fleet).latest, shown(fleet).pinned_version) == (third, 1)
    assert second != third
    pin(fleet, None)
    assert settle(fleet).desired_version == 3
    kinds = [each.kind for each in fleet.queries.decisions()]
    assert (kinds.count("pin"), kinds.count("unpin")) == (1, 1)


def test_a_version_that_is_not_there_cannot_be_pinned(fleet: Fleet) -> None:
    register(fleet, 1)
    with pytest.raises(RefusedError, match="no version 2"):
        pin(fleet, 2)


def test_only_a_deployment_without_cars_is_retired_and_then_gets_none(fleet: Fleet) -> None:
    with pytest.raises(RefusedError, match="1 cars belong"):
        set_status(fleet, "retired")
    with fleet.database.write() as connection:
        connection.execute(update(devices).values(state="revoked"))
    set_status(fleet, "retired")
    assert shown(fleet).status == "retired"
    code = {"server_key_id": "0" * 16, "root_sha256": "0" * 64, "utc_us": 0, "valid_us": 1}
    with fleet.database.write() as connection:
        with pytest.raises(RefusedError, match="retired"):
            membership.move(connection, "car-1", DEPLOYMENT)
        with pytest.raises(RefusedError, match="retired"):
            membership.create_code(connection, device="car-2", deployment=DEPLOYMENT, **code)  # type: ignore[arg-type]  # by name
    set_status(fleet, "active")
    with fleet.database.write() as connection:
        membership.move(connection, "car-1", DEPLOYMENT)


def test_nothing_is_done_for_a_retired_deployment(fleet: Fleet) -> None:
    with fleet.database.write() as connection:
        connection.execute(update(devices).values(state="revoked"))
    set_status(fleet, "retired")
    register(fleet, 1)
    settle(fleet)
    assert shown(fleet).latest is None


def test_pairs_are_counted_where_they_are_filed_and_repeats_are_not(fleet: Fleet) -> None:
    with fleet.database.write() as connection:
        membership.create_deployment(
            connection,
            name="yard",
            task=WALL_DISTANCE,
            actor="anna",
            reason="another one",
            utc_us=START_US,
        )
    for _ in range(2):
        fleet.send(drive(0))
    fleet.send(drive(1, pairs=4))
    assert shown(fleet).pairs_stored == 14
    assert fleet.queries.deployments(name="yard")[0].pairs_stored == 0


def test_erased_pairs_are_counted_no_more(fleet: Fleet) -> None:
    fleet.send(drive(0))
    fleet.add_car("car-2")
    fleet.send(drive(0, device="car-2"))
    assert shown(fleet).pairs_stored == 20
    request = Request(actor="anna", reason="asked for", device="car-1")
    erasure.erase(fleet.database, request, fleet.clock)
    assert shown(fleet).pairs_stored == 10


def test_a_large_fleet_is_told_in_turns_that_hold_up_nobody_for_long(fleet: Fleet) -> None:
    cars = [f"wagon-{number}" for number in range(AT_ONCE + 200)]
    key = SigningKey.generate().public.raw
    rows = [
        {"name": car, "public_key": key, "deployment": DEPLOYMENT, "enrolled_utc_us": START_US}
        for car in cars
    ]
    with fleet.database.write() as connection:
        connection.execute(insert(devices), rows)
    register(fleet, 1)
    settle(fleet)
    told = [each.evidence for each in fleet.queries.decisions() if each.kind == "rollout"]
    turns = [len(each["cars"]) for each in told if isinstance(each["cars"], list)]
    assert turns == [AT_ONCE, len(cars) + 1 - AT_ONCE]
    with fleet.database.read() as connection:
        untold = connection.scalars(select(devices.c.name).where(devices.c.desired.is_(None))).all()
    assert not untold
