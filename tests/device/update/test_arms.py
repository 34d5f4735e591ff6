"""Who drives the next manoeuvre, and what ends the sharing."""

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.update import arms, trial
from device.update.arms import Arms, Split, Tally
from device.update.probation import LATENCY_LIMIT_US, MOST_SLOW
from shared.samples import Estimate, Latency, Sample
from shared.task import WALL_DISTANCE
from tests.device.records import sample

IN_SERVICE, CANDIDATE = "a" * 64, "b" * 64
BOOT = "00000001-00000000"
BEGUN = arms.begin(IN_SERVICE, CANDIDATE, WALL_DISTANCE)
TRIAL = trial.begin(IN_SERVICE, CANDIDATE, WALL_DISTANCE)
THOMPSON = Split(draw="thompson", share=0.5)


def drawn(known: Arms, split: Split, *, count: int = 400, device: str = "car-1") -> float:
    """Return the share of manoeuvres that the candidate drives."""
    return (
        sum(
            arms.choose(known, split, device=device, boot=BOOT, manoeuvre=number) == "candidate"
            for number in range(count)
        )
        / count
    )


def manoeuvre(
    driver: str, error_mm: float, beside_mm: float, *, inference_us: int = 4_000
) -> list[Sample]:
    """Return a manoeuvre by `driver`; the other model answers beside it."""
    other = CANDIDATE if driver == IN_SERVICE else IN_SERVICE
    label = sample(0).label or 0.0
    estimates = (
        Estimate(model=driver, value=label + error_mm),
        Estimate(model=other, value=label + beside_mm),
    )
    latency = Latency(frame_age_us=0, preprocess_us=0, inference_us=inference_us)
    return [sample(number, estimates=estimates, latency=latency) for number in range(4)]


def learn(known: Arms, samples: list[Sample]) -> Arms:
    return arms.learn(known, samples, trial.compare(samples, TRIAL), cap=TRIAL.cap)


@given(share=st.floats(0.0, 1.0), boot=st.integers(0, 10**6), number=st.integers(0, 10**6))
def test_a_draw_made_again_is_the_same(share: float, boot: int, number: int) -> None:
    split, name = Split(draw="share", share=share), f"{boot:08d}-00000000"
    first, second = (
        arms.choose(BEGUN, split, device="car-1", boot=name, manoeuvre=number) for _ in range(2)
    )
    assert first == second


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 1.0])
def test_the_candidate_drives_its_share(share: float) -> None:
    found = drawn(BEGUN, Split(draw="share", share=share), count=2_000)
    assert found == pytest.approx(share, abs=0.04)


def test_two_cars_draw_apart() -> None:
    split = Split(draw="share", share=0.5)
    one, other = (
        [arms.choose(BEGUN, split, device=car, boot=BOOT, manoeuvre=n) for n in range(64)]
        for car in ("car-1", "car-2")
    )
    assert one != other


def test_a_bandit_lets_each_arm_drive_before_it_believes_anything() -> None:
    known = BEGUN
    for number in range(2 * arms.LEAST):
        arm = arms.choose(known, THOMPSON, device="car-1", boot=BOOT, manoeuvre=number)
        driver = CANDIDATE if arm == "candidate" else IN_SERVICE
        known = learn(known, manoeuvre(driver, 10.0, 10.0))
    assert known.of_incumbent.driven == known.of_candidate.driven == arms.LEAST


def test_a_bandit_comes_to_drive_by_the_better_arm_and_never_quite_stops_to_look() -> None:
    of_equals = Arms(
        incumbent=IN_SERVICE,
        candidate=CANDIDATE,
        floor=0.5,
        of_incumbent=Tally(driven=8, mean=2.0, squares=7 * 0.3**2),
        of_candidate=Tally(driven=8, mean=2.0, squares=7 * 0.3**2),
    )
    assert drawn(of_equals, THOMPSON) == pytest.approx(0.5, abs=0.1)
    better = Tally(driven=8, mean=2.0 - 0.5, squares=7 * 0.3**2)
    share = drawn(msgspec.structs.replace(of_equals, of_candidate=better), THOMPSON)
    assert 0.9 < share < 1.0


def test_a_bandit_loses_little_beside_always_driving_by_the_better_arm() -> None:
    """Over 100 manoeuvres at 13 and 7 mm, fewer than a quarter by the worse arm; median of 21."""
    found = []
    for seed in range(21):
        rng, known, worse = np.random.default_rng(seed), BEGUN, 0
        for number in range(100):
            arm = arms.choose(known, THOMPSON, device=f"car-{seed}", boot=BOOT, manoeuvre=number)
            mean_mm = 7.0 if arm == "candidate" else 13.0
            worse += arm == "incumbent"
            error_mm = float(mean_mm * np.exp(rng.normal(0.0, 0.4)))
            driver = CANDIDATE if arm == "candidate" else IN_SERVICE
            known = learn(known, manoeuvre(driver, error_mm, error_mm))
        found.append(worse)
    assert np.median(found) < 25


def test_only_the_manoeuvres_that_an_arm_drove_are_its_evidence() -> None:
    known = learn(BEGUN, manoeuvre(IN_SERVICE, 12.0, 3.0))
    known = learn(known, manoeuvre(CANDIDATE, 4.0, 12.0))
    told = arms.evidence(known)
    assert (told["driven_in_service"], told["driven_of_candidate"]) == (1.0, 1.0)
    assert told["error_in_service"] == pytest.approx(12.0)
    assert told["error_of_candidate"] == pytest.approx(4.0)


def test_the_spread_is_that_of_the_log_errors() -> None:
    errors_mm = [3.0, 8.0, 5.0, 13.0, 2.0]
    known = BEGUN
    for error_mm in errors_mm:
        known = learn(known, manoeuvre(CANDIDATE, error_mm, error_mm))
    assert known.of_candidate.mean == pytest.approx(np.log(errors_mm).mean())
    assert known.of_candidate.spread == pytest.approx(np.log(errors_mm).std(ddof=1))


def test_a_manoeuvre_by_a_third_model_tells_nothing() -> None:
    third = [sample(n, estimates=(Estimate(model="c" * 64, value=1.0),)) for n in range(4)]
    assert learn(BEGUN, third) == BEGUN


@pytest.mark.parametrize("driver", [IN_SERVICE, CANDIDATE])
def test_a_candidate_that_is_far_worse_once_is_dropped_at_once(driver: str) -> None:
    errors = (5.0, 80.0) if driver == IN_SERVICE else (80.0, 5.0)
    assert "harm in one manoeuvre" in arms.failure(learn(BEGUN, manoeuvre(driver, *errors)), TRIAL)
    assert arms.failure(learn(BEGUN, manoeuvre(driver, *errors[::-1])), TRIAL) == ""


def test_a_candidate_that_loses_the_paired_bets_is_dropped_and_one_that_wins_drives_on() -> None:
    worse = better = TRIAL
    for _ in range(40):
        worse = trial.learn(worse, trial.Pair(6.0, 14.0))
        better = trial.learn(better, trial.Pair(14.0, 6.0))
    assert arms.failure(BEGUN, worse).startswith("worse on this car")
    assert arms.failure(BEGUN, better) == ""


def test_a_candidate_that_is_slow_in_a_row_of_its_manoeuvres_is_dropped() -> None:
    slow = LATENCY_LIMIT_US + 1
    known = BEGUN
    for _ in range(MOST_SLOW - 1):
        known = learn(known, manoeuvre(CANDIDATE, 5.0, 5.0, inference_us=slow))
        known = learn(known, manoeuvre(IN_SERVICE, 5.0, 5.0, inference_us=slow))
    assert arms.failure(known, TRIAL) == ""
    known = learn(known, manoeuvre(CANDIDATE, 5.0, 5.0, inference_us=slow))
    assert "estimates took longer" in arms.failure(known, TRIAL)
