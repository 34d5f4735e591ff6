"""What is shown of the fleet: lines that fit, the right cars, a plot that tells its lines apart."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet_server.terminal import plot, render
from fleet_server.terminal.model import Fleet
from fleet_server.terminal.render import Now
from fleet_server.terminal.trace import Point, Trace
from tests.fleet_server.fleet import VirtualClock
from tests.fleet_server.terminal.fleets import (
    FakeLine,
    make_session,
    some_cars,
    telemetry,
)

SECOND = 1_000_000


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def fleet(clock: VirtualClock) -> Fleet:
    """Give eight cars of the garage and one that nobody vouches for."""
    line = FakeLine()
    session = make_session(line, clock)
    session.start()
    some_cars(line)
    line.brings(telemetry("car-1"))
    session.poll()
    return session.fleet


def names(fleet: Fleet, words: str, now_us: int, *, by_trouble: bool = False) -> list[str]:
    found = render.chosen_cars(fleet, words, by_trouble=by_trouble, now_us=now_us)
    return [car.name for car in found]


def test_a_filter_finds_names_deployments_presence_states_and_faults(
    fleet: Fleet, clock: VirtualClock
) -> None:
    assert names(fleet, "car-2", clock.now_us) == ["car-2"]
    assert names(fleet, "ELSEWHERE", clock.now_us) == ["stranger"]
    assert names(fleet, "offline garage", clock.now_us) == ["car-5"]
    assert names(fleet, "reversing", clock.now_us) == ["car-1"]
    assert names(fleet, "fault", clock.now_us) == ["car-4"]
    assert names(fleet, "unvouched", clock.now_us) == ["stranger"]
    assert names(fleet, "nothing like it", clock.now_us) == []
    assert names(fleet, "", clock.now_us, by_trouble=True)[:2] == ["car-4", "car-5"]


def test_the_table_says_in_words_what_it_says_in_colours(fleet: Fleet, clock: VirtualClock) -> None:
    now = Now(utc_us=clock.now_us, now_us=clock.now_us)
    cars = render.chosen_cars(fleet, "", by_trouble=False, now_us=clock.now_us)
    shown = render.table(cars, fleet, selected=1, width=80, height=12, now=now).plain.splitlines()
    lines = {line.split()[0]: line for line in shown if not line.startswith(">")}
    assert shown[2].startswith("> car-2 ")
    assert lines["car-1"].split()[1:] == [
        *("online", "garage", "4", "010101", "same", "+3.2", "12", "reversing", "95")
    ]
    assert lines["car-3"].split()[3:7] == ["4", "010101", "?", "020202"]
    assert "online!" in lines["car-4"]
    assert "offline" in lines["car-5"]
    assert lines["stranger"].split()[1] == "?"


@pytest.mark.parametrize("width", [20, 40, 80, 200])
def test_every_line_fits_whatever_the_width(fleet: Fleet, clock: VirtualClock, width: int) -> None:
    now = Now(utc_us=clock.now_us, now_us=clock.now_us)
    cars = render.chosen_cars(fleet, "", by_trouble=False, now_us=clock.now_us)
    parts = [
        render.header(fleet, place="a.long.host.name:8883", words="x" * 50, width=width, now=now),
        render.table(cars, fleet, selected=0, width=width, height=12, now=now),
        render.stream(fleet.events.last(10), width=width),
        *(render.gauges(car, fleet, width=width, now=now) for car in cars),
        *(render.trace(car, width=width, height=8, now=now) for car in cars),
    ]
    for part in parts:
        assert all(len(line) <= width for line in part.plain.splitlines())


@given(number=st.integers(1, 10_000), at=st.integers(0, 9_999), height=st.integers(1, 60))
def test_the_chosen_car_is_always_on_the_screen(number: int, at: int, height: int) -> None:
    selected = min(at, number - 1)
    rows = render.window(number, selected, height)
    assert selected in rows
    assert len(rows) == min(number, height)
    assert rows.start >= 0
    assert rows.stop <= number


def drawn(*points: Point, height: int = 5) -> plot.Plot:
    return plot.draw(
        Trace(points), now_us=20 * SECOND, span_us=20 * SECOND, width=28, height=height
    )


def point(age_s: float, label: float | None, estimate: float | None, state: str = "idle") -> Point:
    at_us = round((20 - age_s) * SECOND)
    return Point(at_us=at_us, label=label, estimate=estimate, speed_mm_s=-50.0, state=state)


def test_the_plot_shows_the_newest_at_the_right_and_tells_its_lines_apart() -> None:
    made = drawn(
        point(20, 100.0, 140.0, "reversing"), point(10, 120.0, 120.0), point(0, 140.0, 100.0)
    )
    assert [line[8] for line in made.distance] == ["x", " ", " ", " ", "-"]
    assert [line[-1] for line in made.distance] == ["-", " ", " ", " ", "x"]
    assert made.distance[2].count("*") == 1
    assert made.distance[0].startswith("    140|")
    assert made.error[:8] == "err  40|"
    assert made.error[8] == made.error[-1] == "█"
    assert made.speed[:8] == "spd  50|"
    assert made.state[8] + made.state[-1] == "ri"
    assert "estimate" in drawn(height=2).times or len(made.times) <= 28


@given(
    points=st.lists(
        st.builds(
            point,
            st.floats(0, 30),
            st.none() | st.floats(allow_nan=False, allow_infinity=False),
            st.none() | st.floats(-1e6, 1e6),
            st.sampled_from(["", "idle", "x" * 200]),
        ),
        max_size=8,
    ),
    width=st.sampled_from([1, 28, 200]),
    height=st.sampled_from([2, 5, 40]),
)
def test_any_trace_is_drawn_in_its_own_height(points: list[Point], width: int, height: int) -> None:
    ordered = sorted(points, key=lambda each: each.at_us)
    made = plot.draw(
        Trace(tuple(ordered)),
        now_us=20 * SECOND,
        span_us=20 * SECOND,
        width=width,
        height=height,
    )
    assert len(made.distance) == height
    assert len({len(line) for line in made.distance}) == 1
