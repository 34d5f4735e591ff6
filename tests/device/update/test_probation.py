"""A committed model on probation."""

import pytest

from device.update import probation
from device.update.probation import (
    LATENCY_LIMIT_US,
    MANOEUVRES,
    MANOEUVRES_OF_FIRST,
    Manoeuvre,
    Probation,
)
from device.update.starts import Starts
from device.update.trial import Pair
from shared.task import WALL_DISTANCE

NEW, FORMER = "b" * 64, "a" * 64
TARGET = f"wall-distance/beige/{NEW}.tflite"
CALM = Manoeuvre(pair=Pair(6.0, 6.5), latency_us=4_000.0, alarmed=False)
BEGUN = probation.begin(TARGET, NEW, former=FORMER, task=WALL_DISTANCE)
FIRST = probation.begin(TARGET, NEW, former=None, task=WALL_DISTANCE)


def driven(begun: Probation, *found: Manoeuvre) -> Probation:
    for each in found:
        begun = probation.learn(begun, each)
    return begun


def changed(**changes: object) -> Manoeuvre:
    return Manoeuvre(**{**{f: getattr(CALM, f) for f in CALM.__dataclass_fields__}, **changes})


@pytest.mark.parametrize(("begun", "needed"), [(BEGUN, MANOEUVRES), (FIRST, MANOEUVRES_OF_FIRST)])
def test_a_model_that_does_as_well_passes(begun: Probation, needed: int) -> None:
    assert not probation.is_over(driven(begun, *[CALM] * (needed - 1)))
    passed = driven(begun, *[CALM] * needed)
    assert probation.is_over(passed)
    assert probation.failure(passed) == ""


def test_a_model_that_is_worse_than_the_former_fails() -> None:
    worse = changed(pair=Pair(45.0, 6.0))
    known = driven(BEGUN, *[worse] * 9)
    assert "the former model is better" in probation.failure(known)
    assert not probation.is_over(known)
    assert probation.evidence(known)["error_of_former"] == 6.0


def test_a_floor_on_which_both_are_bad_is_no_reason_to_go_back() -> None:
    both = changed(pair=Pair(60.0, 80.0), alarmed=True)
    assert probation.failure(driven(BEGUN, *[both] * MANOEUVRES)) == ""


def test_a_first_model_is_held_to_its_promise_at_first() -> None:
    assert probation.failure(driven(FIRST, CALM, changed(alarmed=True, pair=None)))
    assert probation.is_over(driven(FIRST, *[CALM] * MANOEUVRES_OF_FIRST))


def test_a_blown_budget_fails_the_second_time_in_a_row() -> None:
    slow = changed(latency_us=LATENCY_LIMIT_US + 1.0)
    assert probation.failure(driven(BEGUN, slow, CALM, slow)) == ""
    assert "took longer" in probation.failure(driven(BEGUN, slow, slow))


def test_three_starts_that_came_to_nothing_are_a_crash_loop() -> None:
    assert [Starts().seen(number).is_loop for number in range(5)] == [False] * 3 + [True] * 2


def test_starts_from_before_the_model_came_do_not_count() -> None:
    known = Starts(unclean=7)
    assert known.seen(8).crashes == 1
    # An orderly end sets the journal's count back.
    assert known.seen(2).crashes == 2
    assert known.seen(2).seen(3).crashes == 3
