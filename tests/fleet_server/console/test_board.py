from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from fleet_server.console.board import COLOURS, Board, Mark, compose
from fleet_server.console.charts import error_chart
from tests.fleet_server.console.fleets import (
    CAR,
    EMPTY,
    GARAGE,
    NOW_US,
    V1,
    manoeuvre,
    running_fleet,
)


def board() -> Board:
    return compose(running_fleet(), NOW_US)


def test_an_empty_fleet_claims_nothing() -> None:
    shown = compose(EMPTY, NOW_US)

    assert [each.value for each in shown.figures] == ["0", "none", "\u2013", "\u2013", "idle"]
    assert (shown.cars, shown.lines, shown.marks, shown.log) == ((), (), (), ())
    assert shown.unit == "mm"


def test_a_car_shows_what_it_runs_and_what_is_to_come() -> None:
    first, second = board().cars

    assert (first.model, first.model_note, first.presence) == ("v2", "", "online")
    assert (second.model, second.model_note, second.presence) == ("v1", "v2 is to come", "away")
    assert (second.queue, second.seen) == ("96", "3 min ago")
    assert (first.error, first.error_note) == ("5.0 mm", "with v2")


def test_a_car_without_a_model_parks_by_its_sensor() -> None:
    bare = replace(CAR, loaded=None, loaded_version=None, desired_version=None)
    row = compose(replace(EMPTY, devices=(bare,)), NOW_US).cars[0]

    assert (row.model, row.model_note, row.error) == ("\u2013", "parks by its sensor", "\u2013")


def test_a_manoeuvre_that_ended_badly_says_how() -> None:
    ended = replace(manoeuvre(1, model=V1, mae=30.0), reason="contradiction")
    row = compose(replace(EMPTY, devices=(CAR,), manoeuvres=(ended,)), NOW_US).cars[0]

    assert row.error_note == "with v1, ended: contradiction"


def test_a_line_counts_every_manoeuvre_and_shows_those_with_an_error() -> None:
    first, second = board().lines

    assert [(p.number, p.error) for p in first.points] == [(2, 4.0), (3, 20.0), (4, 5.0)]
    assert [(p.number, p.error) for p in second.points] == [(2, 6.0)]


def test_a_cars_order_is_that_of_its_boots_not_of_arrival() -> None:
    late = manoeuvre(9, model=V1, mae=1.0, heard=2, boot="00000001-ffffffff")
    early = manoeuvre(1, model=V1, mae=2.0, heard=1, boot="00000002-00000000")
    fleet = replace(EMPTY, devices=(CAR,), manoeuvres=(early, late))

    assert [p.error for p in compose(fleet, NOW_US).lines[0].points] == [1.0, 2.0]


def test_marks_stand_where_a_version_was_first_driven_and_a_training_decided() -> None:
    assert board().marks == (
        Mark(number=2, text="v1", is_version=True),
        Mark(number=4, text="v2", is_version=True),
        Mark(number=1, text="first training", is_version=False),
        Mark(number=3, text="retraining", is_version=False),
    )


def test_the_log_shows_the_newest_first() -> None:
    assert [row.kind for row in board().log] == ["retraining", "new version", "first training"]


def test_the_chart_is_told_in_words_too() -> None:
    assert board().chart_summary == ("Last manoeuvres: car-1 5.0 mm with v2; car-2 6.0 mm with v1.")


def test_the_unit_is_the_tasks() -> None:
    metres = replace(running_fleet(), deployments=(replace(GARAGE, task={"unit": "m"}),))
    options = error_chart(compose(metres, NOW_US))

    assert options["yAxis"]["name"] == "mean error (m)"
    assert compose(metres, NOW_US).cars[0].error == "5.0 m"


def test_the_chart_has_a_series_for_each_car_and_a_line_for_each_mark() -> None:
    options = error_chart(board())
    marks, *series = options["series"]

    assert [each["name"] for each in series] == ["car-1", "car-2"]
    assert [each["xAxis"] for each in marks["markLine"]["data"]] == [2, 4, 1, 3]
    assert series[0]["data"][0] == {"name": "manoeuvre 2 with v1", "value": [2, 4.0]}
    assert series[0]["symbol"] != series[1]["symbol"]


@given(st.integers(min_value=0, max_value=40))
def test_any_number_of_cars_has_a_row_a_line_and_a_colour_each(number: int) -> None:
    cars = tuple(replace(CAR, id=i, device=f"car-{i}") for i in range(number))
    shown = compose(replace(EMPTY, devices=cars), NOW_US)

    assert len(shown.cars) == len(shown.lines) == number
    assert all(0 <= car.colour < COLOURS for car in shown.cars)
