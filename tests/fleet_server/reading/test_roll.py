from dataclasses import replace

import pytest

from fleet_server.reading import diary, flow, roll
from fleet_server.reading.roll import Asked, Order
from fleet_server.telling import alerts
from fleet_server.telling.alerts import Cause
from tests.fleet_server.fleet import MODEL, START_US, Fleet, drive

CARS = ("alpha", "beta", "gamma-10", "gamma-2")


@pytest.fixture
def cars(fleet: Fleet) -> Fleet:
    """Return a fleet of five cars, of which two have driven by a model."""
    for name in CARS:
        fleet.add_car(name)
    fleet.send(drive(1, device="beta", model=MODEL, error=9.0))
    fleet.send(drive(2, device="beta", model=MODEL, error=3.0))
    fleet.send(drive(1, device="alpha", model=MODEL, error=5.0))
    return fleet


def names(fleet: Fleet, asked: Asked) -> list[str]:
    return [each.car.device for each in roll.find(fleet.database, asked).entries]


def test_cars_are_searched_by_text_never_by_pattern(cars: Fleet) -> None:
    assert names(cars, Asked(text="GAMMA")) == ["gamma-10", "gamma-2"]
    assert names(cars, Asked(text="%")) == []
    assert names(cars, Asked(text="_")) == []


@pytest.mark.parametrize(
    ("order", "is_descending", "first"),
    [
        ("name", False, ["alpha", "beta"]),
        ("name", True, ["gamma-2", "gamma-10"]),
        ("error", False, ["beta", "alpha"]),
        ("error", True, ["alpha", "beta"]),
        ("pairs", True, ["beta", "alpha"]),
    ],
)
def test_cars_are_sorted_by_what_they_last_did(
    cars: Fleet, order: Order, first: list[str], *, is_descending: bool
) -> None:
    assert names(cars, Asked(order=order, is_descending=is_descending))[:2] == first


def test_pages_hold_every_car_once(cars: Fleet) -> None:
    asked = Asked(size=2)
    pages = [names(cars, replace(asked, page=number)) for number in (1, 2, 3)]

    assert sorted(name for page in pages for name in page) == sorted([*CARS, "car-1"])
    assert names(cars, replace(asked, page=99)) == pages[-1]
    assert roll.find(cars.database, asked).pages == 3


def test_a_car_comes_with_its_course_and_its_alerts(cars: Fleet) -> None:
    with cars.database.write() as connection:
        cause = Cause(key="k", kind="car-silent", severity="warning", subject="beta", reason="r")
        alerts.raise_alert(connection, cause, utc_us=START_US)
    (entry,) = roll.find(cars.database, Asked(presence="alerts")).entries

    assert entry.car.device == "beta"
    assert entry.alerts == ("car-silent",)
    assert [each.mae for each in entry.recent] == [pytest.approx(9.0), pytest.approx(3.0)]


def test_the_log_book_is_searched_from_its_end(cars: Fleet) -> None:
    every = diary.find(cars.database)
    assert [each.reason for each in every.items] == ["a test"]
    assert every.next_before is None
    assert diary.find(cars.database, text="A TEST").items == every.items
    assert diary.find(cars.database, text="%").items == ()
    assert diary.find(cars.database, before=1).items == ()


def test_what_came_in_is_counted_since_a_moment(cars: Fleet) -> None:
    assert flow.since(cars.database, START_US).samples == 30
    assert flow.since(cars.database, START_US + 1).samples == 0
    assert flow.since(cars.database, START_US + 1).last_utc_us == START_US
