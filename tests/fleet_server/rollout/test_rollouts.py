"""A rollout in the database: begun, offered, judged, promoted or stopped, with its reasons."""

import threading

import pytest
from sqlalchemy import select

from fleet_server.cars.twin import Twin
from fleet_server.rollout import registration, ruling
from fleet_server.rollout.stages import Strategy
from fleet_server.running.control import Control
from fleet_server.settings import ServerSettings
from fleet_server.storage.rollout_tables import rollouts
from fleet_server.storage.tables import desired, devices
from shared import codec
from shared.errors import RefusedError
from shared.messages import Batch, Status, UpdateEvent
from shared.releases import target_path
from shared.topics import STATUS, UPDATE
from tests.fleet_server.fleet import BOOT, DEPLOYMENT, START_US, Fleet, manifest, sample


@pytest.fixture
def cars(fleet: Fleet) -> list[str]:
    names = [f"car-{number}" for number in range(1, 5)]
    for name in names[1:]:
        fleet.add_car(name)
    return names


def settle(fleet: Fleet, strategy: Strategy = "shadow") -> None:
    settings = ServerSettings(rollout_strategy=strategy)
    Control(fleet.database, settings, fleet.clock).settle(threading.Event())


def register(fleet: Fleet, number: int) -> tuple[str, str]:
    made = manifest(b"model %d" % number, release_seq=number)
    with fleet.database.write() as connection:
        registration.register(connection, made, utc_us=START_US)
    return made.sha256, target_path(made.task.name, made.deployment, made.sha256)


def told(fleet: Fleet) -> dict[str, tuple[str | None, str | None]]:
    """Return what each car is told: target and candidate."""
    query = select(devices.c.name, desired.c.target, desired.c.candidate)
    with fleet.database.read() as connection:
        rows = connection.execute(query.join(desired, desired.c.id == devices.c.desired)).all()
    return {row.name: (row.target, row.candidate) for row in rows}


def state(fleet: Fleet) -> tuple[str, int]:
    with fleet.database.read() as connection:
        row = connection.execute(select(rollouts).order_by(rollouts.c.id.desc())).first()
    assert row is not None
    return row.state, row.stage


def load(fleet: Fleet, car: str, digest: str) -> None:
    said = Status(
        device=car,
        boot=BOOT,
        utc_us=START_US,
        clock_synced=True,
        loaded=digest,
        loaded_release_seq=1,
        slots=(),
        deployment=DEPLOYMENT,
        desired_epoch=0,
        desired_revision=0,
        upload="pictures",
        queue_depth=0,
        pairs_logged=0,
        pairs_dropped=0,
        disk_free_bytes=1,
        temperature_c=None,
        versions={},
    )
    Twin(fleet.database, fleet.clock).take(STATUS, car, codec.encode(said))


def refuse(fleet: Fleet, car: str, path: str, how: str = "refused") -> None:
    said = UpdateEvent(
        device=car,
        boot=BOOT,
        utc_us=START_US,
        number=9,
        target=path,
        model=None,
        state=how,  # type: ignore[arg-type]  # one of its states
        reason="worse on this car",
    )
    Twin(fleet.database, fleet.clock).take(UPDATE, car, codec.encode(said))


def kinds(fleet: Fleet) -> list[str]:
    return [each.kind for each in fleet.queries.decisions()]


def test_the_first_model_is_what_all_cars_drive_by(fleet: Fleet, cars: list[str]) -> None:
    _, path = register(fleet, 1)
    settle(fleet)
    assert told(fleet) == dict.fromkeys(cars, (path, None))


def test_a_newer_one_is_a_candidate_until_enough_cars_keep_it(
    fleet: Fleet, cars: list[str]
) -> None:
    _, first = register(fleet, 1)
    settle(fleet)
    digest, second = register(fleet, 2)
    settle(fleet)
    assert told(fleet) == dict.fromkeys(cars, (first, second))
    load(fleet, cars[0], digest)
    refuse(fleet, cars[1], second)
    settle(fleet)
    assert state(fleet) == ("running", 0)
    load(fleet, cars[2], digest)
    settle(fleet)
    assert state(fleet) == ("ended", 0)
    assert told(fleet) == dict.fromkeys(cars, (second, None))
    decision = fleet.queries.decisions()[-2]
    assert (decision.kind, decision.model) == ("promote", digest)
    assert {"keep": 2, "failed": 1}.items() <= decision.evidence.items()


@pytest.mark.parametrize("how", ["refused", "rolled_back"])
def test_a_rollout_that_fails_is_paused_and_nothing_new_is_trained_or_begun(
    fleet: Fleet, cars: list[str], how: str
) -> None:
    _, first = register(fleet, 1)
    settle(fleet)
    _, second = register(fleet, 2)
    settle(fleet)
    for car in cars[:3]:
        refuse(fleet, car, second, how)
    settle(fleet)
    assert state(fleet) == ("paused", 0)
    assert kinds(fleet)[-1] == "rollout-pause"
    assert told(fleet)[cars[3]] == (first, second)
    before = kinds(fleet)
    settle(fleet)
    assert kinds(fleet) == before


def test_a_canary_grows_stage_by_stage(fleet: Fleet, cars: list[str]) -> None:
    register(fleet, 1)
    settle(fleet, "canary")
    digest, second = register(fleet, 2)
    grown = []
    for _ in range(2):
        settle(fleet, "canary")
        offered = [car for car, (_, candidate) in told(fleet).items() if candidate == second]
        grown.append(len(offered))
        for car in offered:
            load(fleet, car, digest)
    settle(fleet, "canary")
    # A quarter of four cars is the one that is in the first stage already.
    assert grown == [1, len(cars)]
    assert state(fleet)[0] == "ended"
    assert kinds(fleet).count("rollout-advance") == 2


def test_a_direct_rollout_tells_all_cars_at_once(fleet: Fleet, cars: list[str]) -> None:
    register(fleet, 1)
    settle(fleet, "direct")
    _, second = register(fleet, 2)
    settle(fleet, "direct")
    assert told(fleet) == dict.fromkeys(cars, (second, None))


def begun(fleet: Fleet) -> tuple[str, str, str]:
    _, first = register(fleet, 1)
    settle(fleet)
    digest, second = register(fleet, 2)
    settle(fleet)
    return first, second, digest


def order(fleet: Fleet, what: ruling.Order) -> None:
    with fleet.database.write() as connection:
        ruling.order(
            connection,
            deployment=DEPLOYMENT,
            state=what,
            actor="anna",
            reason="the garage is painted",
            utc_us=fleet.clock.utc_us(),
        )
    settle(fleet)


def view(fleet: Fleet) -> ruling.RolloutView:
    with fleet.database.read() as connection:
        found = ruling.last(connection, DEPLOYMENT)
    assert found is not None
    return found


def test_a_paused_rollout_goes_on_when_a_person_says_so(fleet: Fleet, cars: list[str]) -> None:
    first, second, digest = begun(fleet)
    order(fleet, "paused")
    for car in cars:
        load(fleet, car, digest)
    settle(fleet)
    assert (view(fleet).state, view(fleet).keep) == ("paused", 4)
    assert told(fleet)[cars[0]] == (first, second)
    order(fleet, "running")
    assert view(fleet).state == "ended"
    assert told(fleet)[cars[0]] == (second, None)


def test_an_aborted_rollout_is_offered_no_more_and_not_begun_again(
    fleet: Fleet, cars: list[str]
) -> None:
    first, _, _ = begun(fleet)
    order(fleet, "aborted")
    assert told(fleet) == dict.fromkeys(cars, (first, None))
    assert state(fleet) == ("aborted", 0)
    with pytest.raises(RefusedError, match="nothing is being rolled out"):
        order(fleet, "paused")
    third, path = register(fleet, 3)
    settle(fleet)
    assert view(fleet).model == third
    assert told(fleet)[cars[0]] == (first, path)


def test_a_person_may_promote_what_the_gates_did_not(fleet: Fleet, cars: list[str]) -> None:
    _, second, digest = begun(fleet)
    order(fleet, "ended")
    assert told(fleet) == dict.fromkeys(cars, (second, None))
    entry = [each for each in fleet.queries.decisions() if each.kind == "promote"][-1]
    assert (entry.actor, entry.reason, entry.model) == ("anna", "the garage is painted", digest)


def test_a_car_without_a_reference_sensor_waits_until_five_others_drive_by_the_model(
    fleet: Fleet, cars: list[str]
) -> None:
    for name in (*cars, "car-5", "blind-1"):
        if name not in cars:
            fleet.add_car(name)
        seen = {} if name != "blind-1" else {"label": None, "sensor_status": "absent"}
        fleet.send(Batch(device=name, samples=(sample(1, device=name, **seen),)))
    _, first = register(fleet, 1)
    settle(fleet, "direct")
    digest, second = register(fleet, 2)
    settle(fleet, "direct")
    assert told(fleet)["blind-1"] == (first, None)
    assert told(fleet)["car-5"] == (second, None)
    for name in (*cars, "car-5"):
        assert told(fleet)["blind-1"] == (first, None)
        load(fleet, name, digest)
        settle(fleet, "direct")
    assert told(fleet)["blind-1"] == (second, None)
