"""The protocol's promise, with the parts that carry it killed one after the other."""

import pytest

from hardware_sim.lab.fleet import Car, Fleet, Floor

pytestmark = [pytest.mark.e2e, pytest.mark.long]

_MANOEUVRES = 8


def _drive(fleet: Fleet, *, manoeuvres: int) -> Car:
    fleet.start_broker()
    fleet.start_server()
    fleet.server.post("deployments", {"name": "yard", "reason": "a test"})
    car = fleet.add_car("car-1", "yard")
    car.tell(Floor(scene="beige", manoeuvres=manoeuvres))
    fleet.start_agent(car)
    fleet.start_drive(car, speed=8.0, seed=3)
    return car


def _stored(fleet: Fleet) -> int:
    devices = list(fleet.server.all("devices"))
    return int(devices[0]["pairs_stored"])


def _await_driven(fleet: Fleet, car: Car, manoeuvres: int) -> None:
    fleet.processes.wait_for(
        f"{manoeuvres} manoeuvres", lambda: car.progress()["done"] >= manoeuvres, timeout_s=120
    )


def _await_all_stored(fleet: Fleet, car: Car) -> tuple[int, int]:
    def settled() -> tuple[int, int] | None:
        counts = fleet.journal_counts(car)
        return (counts["pairs_logged"], _stored(fleet)) if counts["queue_depth"] == 0 else None

    return fleet.processes.wait_for("an empty queue", settled, timeout_s=120, each_s=0.5)


def test_broker_server_and_agent_killed_in_turn_lose_nothing_and_double_nothing(
    fleet: Fleet,
) -> None:
    car = _drive(fleet, manoeuvres=_MANOEUVRES)

    _await_driven(fleet, car, 2)
    fleet.processes.kill("broker")
    fleet.start_broker()
    _await_driven(fleet, car, 4)
    fleet.processes.kill("server")
    fleet.start_server()
    _await_driven(fleet, car, 6)
    fleet.processes.kill("car-1-agent")
    fleet.start_agent(car)
    _await_driven(fleet, car, _MANOEUVRES)

    logged, stored = _await_all_stored(fleet, car)
    assert logged > _MANOEUVRES * 10
    assert stored == logged
    samples = list(fleet.server.all("samples", device="car-1"))
    assert len({(item["boot"], item["sequence"]) for item in samples}) == len(samples) == logged
    assert list(fleet.server.all("quarantine")) == []


def test_a_cut_cable_delays_pairs_and_loses_none(fleet: Fleet) -> None:
    car = _drive(fleet, manoeuvres=3)
    _await_driven(fleet, car, 1)
    car.cable.cut()
    _await_driven(fleet, car, 3)
    assert fleet.journal_counts(car)["queue_depth"] > 0
    car.cable.restore()

    logged, stored = _await_all_stored(fleet, car)
    assert stored == logged


def test_a_fleet_goes_on_where_it_was_after_everything_was_stopped(fleet: Fleet) -> None:
    car = _drive(fleet, manoeuvres=2)
    _await_driven(fleet, car, 2)
    fleet.processes.stop_all()

    fleet.start_broker()
    fleet.start_server()
    again = fleet.add_car("car-1", "yard")
    again.tell(Floor(scene="beige", manoeuvres=2))
    fleet.start_agent(again)
    fleet.start_drive(again, speed=8.0, seed=4)
    _await_driven(fleet, again, 2)

    logged, stored = _await_all_stored(fleet, again)
    assert stored == logged
    boots = {item["boot"] for item in fleet.server.all("samples", device="car-1")}
    assert len(boots) == 2
