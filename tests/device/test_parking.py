"""The rules of parking: what the car never does, whatever it sees."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.belief import Fix
from device.parking import (
    TABLE,
    Observation,
    Parking,
    Rules,
    Step,
    buzzer_is_on,
    speed_law,
    step,
)

RULES = Rules()
NEAR_MM = RULES.target_mm + RULES.near_mm
TURN_US = 33_333
MANOEUVRE = ("armed", "reversing", "holding")


def fix(distance_mm: float, at_us: int, *, travelled_mm: float = 0.0, sigma: float = 5.0) -> Fix:
    return Fix(distance_mm, at_us, travelled_mm, sigma)


def play(seen: list[Observation], parking: Parking | None = None) -> list[Step]:
    """Return the steps that follow from `seen`, one after the other."""
    steps = []
    parking = parking or Parking()
    for observation in seen:
        steps.append(step(parking, observation, RULES))
        parking = steps[-1].parking
    return steps


def reversing(source: str, *, distance_mm: float = 200.0, at_us: int = 1_000_000) -> Parking:
    """Return a car that reverses since half a second, driven by `source`."""
    parking = Parking()
    for turn in range(15):
        now_us = at_us - (15 - turn) * TURN_US
        seen = fix(distance_mm, now_us - 1_000)
        parking = step(
            parking,
            Observation(
                now_us=now_us,
                start="model" if source == "model" else "sensor",
                estimate=seen,
                reading=seen,
                speed_mm_s=20.0,
            ),
            RULES,
        ).parking
    assert parking.state == "reversing"
    return parking


distances = st.floats(-50, 1200)
fixes = st.one_of(
    st.none(),
    st.builds(
        fix,
        distances,
        st.integers(-500_000, 0),
        travelled_mm=st.floats(0, 400),
        sigma=st.floats(0, 200),
    ),
)
moments = st.lists(
    st.fixed_dictionaries(
        {
            "dt_us": st.integers(1, 400_000),
            "start": st.sampled_from([None, None, "model", "sensor"]),
            "stop": st.sampled_from([False] * 9 + [True]),
            "estimate": fixes,
            "reading": fixes,
            "travelled_mm": st.floats(0, 400),
            "speed_mm_s": st.floats(0, 400),
            "is_stalled": st.sampled_from([False] * 9 + [True]),
            "problem": st.sampled_from([""] * 9 + ["camera_failed"]),
        }
    ),
    max_size=60,
)


def observations(raw: list[dict[str, object]]) -> list[Observation]:
    now_us = 1_000_000
    seen = []
    for moment in raw:
        values = dict(moment)
        now_us += int(str(values.pop("dt_us")))
        for name in ("estimate", "reading"):
            held = values[name]
            if isinstance(held, Fix):
                values[name] = replace(held, at_us=held.at_us + now_us)
        seen.append(Observation(now_us=now_us, **values))  # type: ignore[arg-type] # drawn by name
    return seen


@pytest.mark.slow
@given(moments)
def test_the_car_moves_only_while_reversing_never_forward_and_never_above_the_law(
    raw: list[dict[str, object]],
) -> None:
    for seen, taken in zip(observations(raw), play(observations(raw)), strict=True):
        assert 0.0 <= taken.speed_mm_s <= RULES.far_speed
        if taken.parking.state != "reversing":
            assert taken.speed_mm_s == 0.0
        elif taken.parking.belief.wall_mm is not None:
            left_mm = taken.parking.belief.wall_mm - seen.travelled_mm
            assert taken.speed_mm_s <= speed_law(left_mm, RULES)


@pytest.mark.slow
@given(moments)
def test_every_change_of_state_is_in_the_table(raw: list[dict[str, object]]) -> None:
    allowed = {(before, after) for (before, _), after in TABLE.items()}
    before = "idle"
    for taken in play(observations(raw)):
        if taken.parking.state != before:
            assert (before, taken.parking.state) in allowed
        before = taken.parking.state


@pytest.mark.slow
@given(moments)
def test_a_manoeuvre_that_began_ends_exactly_once_and_with_a_reason(
    raw: list[dict[str, object]],
) -> None:
    is_on = False
    for taken in play(observations(raw)):
        began = taken.parking.state in MANOEUVRE and not is_on
        assert (taken.ended is not None) == (is_on and taken.parking.state not in MANOEUVRE)
        assert taken.ended != ""
        is_on = began or (is_on and taken.ended is None)


@pytest.mark.slow
@given(moments, st.sampled_from(["model", "sensor"]))
def test_any_fault_and_any_stop_cut_the_motors_in_the_same_turn(
    raw: list[dict[str, object]], source: str
) -> None:
    before = reversing(source)
    for seen in observations(raw):
        taken = step(before, seen, RULES)
        if seen.stop:
            assert taken.parking.state == "stopped"
            assert taken.ended == "stop"
        elif seen.problem or seen.is_stalled:
            assert taken.parking.state == "fault"
        if seen.stop or seen.problem or seen.is_stalled:
            assert taken.speed_mm_s == 0.0


@pytest.mark.slow
@given(moments)
def test_nothing_resumes_by_itself(raw: list[dict[str, object]]) -> None:
    silent = [replace(seen, start=None) for seen in observations(raw)]
    for state in ("idle", "stopped", "fault"):
        for taken in play(silent, Parking(state=state)):
            assert taken.speed_mm_s == 0.0
            assert taken.parking.state not in MANOEUVRE


@pytest.mark.parametrize("source", ["model", "sensor"])
def test_the_sensor_below_its_minimum_stops_the_car_whatever_drives_it(source: str) -> None:
    parking = reversing(source)
    close = Observation(
        now_us=1_010_000,
        estimate=fix(200.0, 1_009_000),
        reading=fix(19.0, 1_009_000),
    )
    taken = step(parking, close, RULES)
    assert (taken.speed_mm_s, taken.ended) == (0.0, "too_close")


def steady(apart_mm: float, *, at_mm: float, sigma: float = 5.0) -> list[Observation]:
    """Return a second of a car at `at_mm` whose model says `apart_mm` more than its sensor."""
    return [
        Observation(
            now_us=1_000_000 + turn * TURN_US,
            estimate=fix(at_mm + apart_mm, 1_000_000 + turn * TURN_US - 1_000, sigma=sigma),
            reading=fix(at_mm, 1_000_000 + turn * TURN_US - 500),
        )
        for turn in range(1, 30)
    ]


@given(st.floats(-25, 25), st.floats(70, 330))
def test_an_ordinary_model_error_is_no_contradiction(apart_mm: float, at_mm: float) -> None:
    ended = [taken.ended for taken in play(steady(apart_mm, at_mm=at_mm), reversing("model"))]
    assert set(ended) == {None}


wrong_by = st.floats(70, 200).flatmap(lambda d: st.sampled_from([d, -d]))


@given(wrong_by, st.floats(70.1, 300))
def test_a_contradiction_slows_the_car_at_once_and_stops_it_where_either_sees_the_wall_near(
    apart_mm: float, at_mm: float
) -> None:
    steps = play(steady(apart_mm, at_mm=at_mm), reversing("model", distance_mm=at_mm))
    # What is believed has come to within 1 mm of what the model says after 20 turns: 200 x 0.75^20.
    last = steps[19]
    reasons = [taken.ended for taken in steps[:20] if taken.ended]
    if min(at_mm, at_mm + apart_mm) > NEAR_MM + 5.0:
        assert not reasons
        assert 0.0 < last.speed_mm_s <= RULES.wary_speed
    elif min(at_mm, at_mm + apart_mm) < NEAR_MM - 5.0:
        # One that sees the target already stops there, which is as safe; its holding ends later.
        assert reasons == ["contradiction"] or last.parking.state == "holding"


@given(st.floats(45, 200), st.floats(10, 33))
def test_the_sensor_stops_the_car_behind_the_target_where_the_model_sees_way_to_go(
    model_mm: float, reading_mm: float
) -> None:
    seen = steady(model_mm - reading_mm, at_mm=reading_mm)[:1]
    assert [taken.ended for taken in play(seen, reversing("model"))] == ["too_close"]


def rolling(slope: float, *, has_sensor: bool) -> list[Observation]:
    """Return 150 mm of way by a model that sees only the share `slope` of it."""
    seen = []
    for turn in range(1, 76):
        now_us, rolled_mm = 1_000_000 + turn * TURN_US, 2.0 * turn
        seen.append(
            Observation(
                now_us=now_us,
                estimate=fix(250.0 - slope * rolled_mm, now_us - 1_000, travelled_mm=rolled_mm),
                reading=fix(250.0 - rolled_mm, now_us - 500, travelled_mm=rolled_mm)
                if has_sensor
                else None,
                travelled_mm=rolled_mm,
                speed_mm_s=60.0,
            )
        )
    return seen


@given(st.one_of(st.floats(-0.5, 0.35), st.floats(1.8, 3.0)))
def test_without_a_sensor_a_model_that_does_not_see_the_way_rolled_stops_the_car(
    slope: float,
) -> None:
    steps = play(rolling(slope, has_sensor=False), reversing("model", distance_mm=250.0))
    reasons = [taken.ended for taken in steps if taken.ended]
    assert reasons == ["wandering_wall"] or steps[-1].parking.state == "holding"


@pytest.mark.slow
@given(st.floats(60, 900))
def test_a_sensor_that_is_stuck_stops_the_car_that_parks_by_it(stuck_mm: float) -> None:
    seen = []
    for turn in range(1, 76):
        now_us, rolled_mm = 1_000_000 + turn * TURN_US, 2.0 * turn
        stuck = fix(stuck_mm, now_us - 500, travelled_mm=rolled_mm)
        seen.append(Observation(now_us=now_us, reading=stuck, travelled_mm=rolled_mm))
    steps = play(seen, reversing("sensor", distance_mm=stuck_mm))
    ended = [(seen[at].travelled_mm, taken.ended) for at, taken in enumerate(steps) if taken.ended]
    assert [reason for _, reason in ended] == ["wandering_wall"]
    # Its own memory is 50 mm long; nearer to the wall less is allowed.
    assert ended[0][0] <= min(100.0, 10.0 + 0.4 * stuck_mm)


@given(st.floats(0.8, 1.25), st.booleans())
def test_a_model_that_sees_the_way_rolled_may_go_on(slope: float, has_sensor: bool) -> None:
    steps = play(rolling(slope, has_sensor=has_sensor), reversing("model", distance_mm=250.0))
    assert {taken.ended for taken in steps} == {None}


def test_one_wild_picture_stops_nothing() -> None:
    seen = steady(0.0, at_mm=200.0)
    wild = fix(320.0, seen[3].now_us - 1_000, sigma=200.0)
    seen[3] = replace(seen[3], estimate=wild)
    assert {taken.ended for taken in play(seen, reversing("model"))} == {None}


def test_an_unsure_model_stops_the_car() -> None:
    steps = play(steady(0.0, at_mm=200.0, sigma=150.0), reversing("model"))
    assert [taken.ended for taken in steps if taken.ended] == ["uncertain"]


@pytest.mark.parametrize(
    ("source", "reason"), [("model", "stale_picture"), ("sensor", "no_reading")]
)
def test_a_sense_that_falls_silent_stops_the_car(source: str, reason: str) -> None:
    last = fix(200.0, 1_000_000)
    seen = [
        Observation(now_us=1_000_000 + ms * 1000, estimate=last, reading=last)
        for ms in range(0, 500, 33)
    ]
    ended = [(index * 33, taken.ended) for index, taken in enumerate(play(seen, reversing(source)))]
    when, what = next((at, ended) for at, ended in ended if ended)
    assert what == reason
    assert when <= (198 if source == "model" else 429)


def test_without_any_distance_nothing_moves_and_the_manoeuvre_ends() -> None:
    seen = [Observation(now_us=1_000_000 + turn * TURN_US, start="model") for turn in range(33)]
    steps = play(seen)
    assert [taken.ended for taken in steps if taken.ended] == ["nothing_to_drive_by"]
    assert not any(taken.speed_mm_s for taken in steps)


def test_a_reading_from_before_the_start_is_not_driven_by() -> None:
    old = fix(300.0, 900_000)
    seen = [Observation(now_us=1_000_000 + t, start="sensor", reading=old) for t in (0, 100, 200)]
    assert play(seen)[-1].parking.state == "armed"


@given(st.floats(0, 1200), st.floats(0, 1200))
def test_the_nearer_the_slower_and_at_the_target_not_at_all(one: float, other: float) -> None:
    nearer, farther = sorted((one, other))
    assert speed_law(nearer, RULES) <= speed_law(farther, RULES) <= RULES.far_speed
    assert speed_law(RULES.target_mm, RULES) == 0.0


def test_the_beep_quickens_and_becomes_steady() -> None:
    def beats(distance_mm: float) -> int:
        heard = [buzzer_is_on(distance_mm, ms * 1000, RULES) for ms in range(3000)]
        return sum(now and not before for before, now in pairwise(heard))

    assert 0 < beats(300.0) < beats(150.0) < beats(60.0)
    assert all(buzzer_is_on(40.0, ms * 1000, RULES) for ms in range(100))
