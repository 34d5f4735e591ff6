"""How trials of known models end: rates and medians over 200 of each."""

from statistics import median

import numpy as np
import pytest

from device.update.trial import Pair
from tests.device.update.trials import Outcome, many, pairs, run

pytestmark = pytest.mark.slow


def promoted(found: list[Outcome]) -> list[int]:
    return [each.manoeuvres for each in found if each.promoted]


@pytest.mark.parametrize("error_mm", [6.2, 13.0, 45.0])
def test_of_two_equal_models_fewer_than_one_in_twenty_is_promoted(error_mm: float) -> None:
    found = many(1, in_service_mm=error_mm, candidate_mm=error_mm)
    assert len(promoted(found)) < 0.05 * len(found)


@pytest.mark.parametrize(
    ("in_service_mm", "candidate_mm", "within"), [(45.0, 6.0, 12), (13.0, 7.0, 30)]
)
def test_a_better_model_is_promoted_soon(
    in_service_mm: float, candidate_mm: float, within: int
) -> None:
    found = promoted(many(2, in_service_mm=in_service_mm, candidate_mm=candidate_mm))
    assert len(found) == 200
    assert median(found) <= within


def test_after_declared_harm_a_much_better_model_is_promoted_within_a_few_manoeuvres() -> None:
    found = promoted(many(3, in_service_mm=45.0, candidate_mm=6.0, harmed=True))
    assert len(found) == 200
    assert median(found) <= 5


def test_after_declared_harm_an_equal_model_is_promoted_at_most_as_often_as_the_gate_says() -> None:
    found = many(4, in_service_mm=45.0, candidate_mm=45.0, harmed=True)
    assert len(promoted(found)) <= len(found) / 3


@pytest.mark.parametrize("harmed", [False, True])
def test_a_model_that_is_good_elsewhere_and_bad_on_this_floor_is_not_promoted_here(
    harmed: bool,
) -> None:
    """On the floor that it was trained for it would be promoted, at 4 mm after 8."""
    there = promoted(many(5, in_service_mm=8.0, candidate_mm=4.0))
    assert there
    here = many(5, in_service_mm=8.0, candidate_mm=30.0, harmed=harmed)
    assert promoted(here) == []
    assert median(each.manoeuvres for each in here) <= 15


def test_a_model_that_is_good_on_one_floor_is_judged_by_the_floors_that_the_car_drives_on() -> None:
    """Two manoeuvres in three on the bad floor, in any order: never; one in ten: it gains."""

    def mixed(seed: int, bad_share: float) -> Outcome:
        rng = np.random.default_rng(seed)
        good = pairs(rng, in_service_mm=14.0, candidate_mm=6.0)
        bad = pairs(rng, in_service_mm=14.0, candidate_mm=40.0)

        def drive() -> Pair:
            return next(bad if rng.random() < bad_share else good)

        return run(iter(drive, None))

    assert not any(mixed(seed, 2 / 3).promoted for seed in range(50))
    assert sum(mixed(seed, 0.1).promoted for seed in range(50)) > 25
