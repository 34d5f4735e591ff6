"""A rollout in the database: begun, offered, judged, promoted or stopped, with its reasons."""

import math

import pytest
from sqlalchemy import select

from fleet_server.rollout import ruling
from fleet_server.rollout.stages import Strategy
from fleet_server.storage.tables import desired, devices
from shared.errors import RefusedError
from shared.messages import Batch
from tests.fleet_server.fleet import DEPLOYMENT, Fleet, sample
from tests.fleet_server.rolling import load, refuse, register, report, settle, state, told


@pytest.fixture
def cars(fleet: Fleet) -> list[str]:
    names = [f"car-{number}" for number in range(1, 5)]
    for name in names[1:]:
        fleet.add_car(name)
    return names


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


def measured(in_service_mm: float, candidate_mm: float, driven: int) -> dict[str, float]:
    """Return what a car reports of two arms, each of which drove `driven` manoeuvres."""
    found: dict[str, float] = {}
    for name, error_mm in (("in_service", in_service_mm), ("of_candidate", candidate_mm)):
        found[f"driven_{name}"] = float(driven)
        found[f"error_{name}"] = error_mm
        found[f"log_error_{name}"] = math.log(error_mm)
        found[f"log_spread_{name}"] = 0.3
    return found


def arms(fleet: Fleet) -> set[tuple[float | None, str | None]]:
    """Return how the cars are told to share their driving."""
    query = select(desired.c.share, desired.c.draw).join(devices, desired.c.id == devices.c.desired)
    with fleet.database.read() as connection:
        return {(row.share, row.draw) for row in connection.execute(query)}


@pytest.mark.parametrize(("strategy", "draw"), [("ab", "share"), ("bandit", "thompson")])
def test_two_arms_share_the_driving_until_one_is_proven_better(
    fleet: Fleet, cars: list[str], strategy: Strategy, draw: str
) -> None:
    _, first = register(fleet, 1)
    settle(fleet, strategy, rollout_share=0.3)
    digest, second = register(fleet, 2)
    settle(fleet, strategy, rollout_share=0.3)
    assert told(fleet) == dict.fromkeys(cars, (first, second))
    assert arms(fleet) == {(0.3, draw)}
    for car in cars:
        report(fleet, car, second, "choosing", measured(13.0, 7.0, driven=2))
    settle(fleet, strategy)
    assert state(fleet) == ("running", 0)
    for car in cars:
        report(fleet, car, second, "choosing", measured(13.0, 7.0, driven=8))
    assert view(fleet).arms is not None
    settle(fleet, strategy)
    assert state(fleet) == ("ended", 0)
    assert told(fleet) == dict.fromkeys(cars, (second, None))
    assert arms(fleet) == {(None, None)}
    entry = [each for each in fleet.queries.decisions() if each.kind == "promote"][-1]
    assert entry.model == digest
    assert entry.evidence["error_of_candidate"] == pytest.approx(7.0)
    assert entry.evidence["driven_by_candidate"] == 32


def sharing(fleet: Fleet) -> tuple[str, str]:
    """Begin an A/B rollout; return the paths of the two arms."""
    _, first = register(fleet, 1)
    settle(fleet, "ab")
    _, second = register(fleet, 2)
    settle(fleet, "ab")
    return first, second


def test_an_arm_that_is_proven_worse_is_dropped_and_the_next_model_may_come(
    fleet: Fleet, cars: list[str]
) -> None:
    first, second = sharing(fleet)
    for car in cars:
        report(fleet, car, second, "choosing", measured(7.0, 13.0, driven=8))
    settle(fleet, "ab")
    assert state(fleet) == ("dropped", 0)
    assert kinds(fleet).count("rollout-drop") == 1
    assert told(fleet) == dict.fromkeys(cars, (first, None))
    settle(fleet, "direct")
    assert told(fleet) == dict.fromkeys(cars, (first, None))
    _, third = register(fleet, 3)
    settle(fleet, "ab")
    assert told(fleet) == dict.fromkeys(cars, (first, third))


def test_arms_that_fail_on_too_many_cars_are_paused_even_where_the_others_do_better(
    fleet: Fleet, cars: list[str]
) -> None:
    _, second = sharing(fleet)
    refuse(fleet, cars[0], second)
    for car in cars[1:]:
        report(fleet, car, second, "choosing", measured(13.0, 7.0, driven=9))
    settle(fleet, "ab")
    assert state(fleet) == ("paused", 0)


def test_cars_that_say_nothing_of_a_second_arm_have_failed_it_by_the_deadline(
    fleet: Fleet, cars: list[str]
) -> None:
    _, second = sharing(fleet)
    for car in cars[1:]:
        report(fleet, car, second, "choosing", measured(9.0, 9.0, driven=5))
    fleet.clock.now_us += 3_600_000_000
    settle(fleet, "ab", rollout_deadline_s=7_200.0)
    assert state(fleet) == ("running", 0)
    settle(fleet, "ab", rollout_deadline_s=3_600.0)
    assert state(fleet) == ("paused", 0)


def test_arms_between_which_nothing_is_proven_by_the_deadline_leave_the_old_model(
    fleet: Fleet, cars: list[str]
) -> None:
    first, second = sharing(fleet)
    for car in cars:
        report(fleet, car, second, "choosing", measured(9.0, 9.0, driven=50))
    fleet.clock.now_us += 3_600_000_000
    settle(fleet, "ab", rollout_deadline_s=3_600.0)
    assert state(fleet) == ("dropped", 0)
    assert told(fleet) == dict.fromkeys(cars, (first, None))
