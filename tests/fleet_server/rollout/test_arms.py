"""Which of two arms a fleet keeps, and how sure that is."""

from itertools import islice

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from fleet_server.rollout import arms
from fleet_server.rollout.arms import LEAST_DRIVEN, Told, Weight
from tests.fleet_server.rollout.arms_trials import fleet, report


def rounds_to_prove(seed: int, *, in_service_mm: float, candidate_mm: float) -> int | None:
    """Return after how many manoeuvres of each of five cars the fleet calls the candidate better.

    None where it calls it worse, or nothing within 60.
    """
    everyone = fleet(
        np.random.default_rng(seed), cars=5, in_service_mm=in_service_mm, candidate_mm=candidate_mm
    )
    for rounds, told in enumerate(islice(everyone, 60), start=1):
        found = arms.verdict(arms.weigh(told))
        if found is not None:
            return rounds if found == "better" else None
    return None


def told(in_service_mm: list[float], candidate_mm: list[float]) -> Told:
    return Told(report(in_service_mm), report(candidate_mm))


@pytest.mark.slow
def test_of_two_equal_models_fewer_than_one_in_twenty_is_called_better() -> None:
    found = [rounds_to_prove(seed, in_service_mm=9.0, candidate_mm=9.0) for seed in range(60)]
    assert sum(each is not None for each in found) < 3


def test_a_better_model_is_proven_by_five_cars_within_a_few_manoeuvres_each() -> None:
    found = [rounds_to_prove(seed, in_service_mm=13.0, candidate_mm=7.0) for seed in range(30)]
    assert all(each is not None for each in found)
    assert np.median([each for each in found if each]) <= 10


def test_a_worse_model_is_called_worse() -> None:
    cars = [told([6.0, 7.0, 6.5, 7.5], [12.0, 14.0, 13.0, 15.0])] * 4
    assert arms.verdict(arms.weigh(cars)) == "worse"


def test_few_manoeuvres_prove_nothing_however_clear_they_look() -> None:
    cars = [told([40.0] * (LEAST_DRIVEN - 1), [4.0] * LEAST_DRIVEN)]
    assert arms.verdict(arms.weigh(cars)) is None


def test_that_one_car_has_the_harder_floor_is_no_difference_between_the_models() -> None:
    """It drove mostly by the candidate; over all manoeuvres the candidate looks far worse."""
    easy, hard = told([4.0, 5.0] * 10, [4.0, 5.0]), told([40.0, 50.0], [40.0, 50.0] * 10)
    weight = arms.weigh([easy, hard])
    assert weight.error_of_candidate > 5 * weight.error_in_service
    assert weight.ratio == pytest.approx(1.0)
    assert arms.verdict(weight) is None


def test_one_car_of_many_does_not_decide_for_the_others() -> None:
    honest = [told([9.0, 10.0, 11.0], [10.0, 11.0, 9.0])] * 12
    liar = told([50.0] * 3_000, [1.0] * 3_000)
    weight = arms.weigh([*honest, liar])
    assert weight.ratio > 0.5
    assert arms.verdict(weight) is None


@given(st.dictionaries(st.sampled_from(sorted(arms.read.__annotations__)), st.floats()))
def test_a_report_that_says_nothing_of_arms_is_no_evidence(evidence: dict[str, float]) -> None:
    assert arms.read(evidence) is None


@pytest.mark.parametrize("name", ["driven", "error", "log_error", "log_spread"])
@pytest.mark.parametrize("value", [-1e30, 1e30])
def test_numbers_that_cannot_be_are_no_evidence(name: str, value: float) -> None:
    fair = {
        f"{part}_{arm}": 1.0
        for part in ("driven", "error", "log_error", "log_spread")
        for arm in ("in_service", "of_candidate")
    }
    assert arms.read(fair) is not None
    assert arms.read({**fair, f"{name}_of_candidate": value}) is None


def test_nobody_has_driven_yet() -> None:
    assert arms.verdict(arms.weigh([])) is None
    assert arms.verdict(Weight()) is None
