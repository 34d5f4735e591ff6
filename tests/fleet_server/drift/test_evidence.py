"""Evidence that adds up, and what it costs in false alarms."""

from statistics import fmean, median

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet_server.drift import evidence, families, watch
from fleet_server.drift.families import Draws
from fleet_server.drift.summaries import Summary, Sums
from fleet_server.drift.watch import Settings, Watch

SETTINGS = Settings()
POSITIVE = st.floats(0.01, 1e4)


@given(st.lists(POSITIVE, min_size=2, max_size=30))
def test_over_all_places_of_a_value_the_soft_rank_is_one_on_average(values: list[float]) -> None:
    ranks = [
        evidence.soft_rank(each, values[:place] + values[place + 1 :], 1.0)
        for place, each in enumerate(values)
    ]
    assert fmean(ranks) == pytest.approx(1.0)


@given(POSITIVE, st.lists(POSITIVE, min_size=1, max_size=30))
def test_slack_only_ever_weakens_the_evidence(value: float, reference: list[float]) -> None:
    plain = evidence.soft_rank(value, reference, 1.0)
    assert evidence.soft_rank(value, reference, 1.2) <= plain <= len(reference) + 1


def test_what_cannot_be_compared_is_no_evidence() -> None:
    assert evidence.soft_rank(float("nan"), [1.0], 1.0) == 1.0
    assert evidence.soft_rank(5.0, [], 1.0) == 1.0


def test_a_uniform_p_value_is_at_most_one_on_average_as_an_e_value() -> None:
    grid = (np.arange(100_000) + 0.5) / 100_000
    assert fmean(evidence.calibrated(float(each)) for each in grid) == pytest.approx(1.0, abs=0.01)


def _manoeuvre(error: float) -> Summary:
    made = Summary(device="c", deployment="d", model="m", low=0.0, span=350.0)
    made.errors = Sums(samples=20, total=20.0 * max(error, 0.1))
    return made


def _watched(rng: np.random.Generator, reference: float) -> Watch:
    watched = Watch(promised=reference)
    for _ in range(SETTINGS.reference):
        watch.learn(watched, _manoeuvre(rng.normal(reference, reference / 4)), SETTINGS, ratio=1.0)
    return watched


@pytest.mark.parametrize(
    ("reference", "risen", "most"), [(7.0, 30.0, 3), (6.0, 30.0, 3), (7.0, 13.0, 12)]
)
def test_a_risen_error_is_alarmed_within_a_few_manoeuvres(
    reference: float, risen: float, most: int
) -> None:
    delays = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        watched = _watched(rng, reference)
        for number in range(1, 60):
            made = _manoeuvre(rng.normal(risen, risen / 4))
            if "harm" in watch.learn(watched, made, SETTINGS, ratio=1.0).began:
                delays.append(number)
                break
    assert len(delays) == 30
    assert median(delays) <= most


def test_a_car_a_little_worse_than_its_reference_raises_no_alarm() -> None:
    rng = np.random.default_rng(1)
    watched = _watched(rng, 6.0)
    for _ in range(300):
        made = _manoeuvre(rng.normal(6.9, 1.7))
        assert watch.learn(watched, made, SETTINGS, ratio=1.0).began == ()


def test_an_alarm_is_told_once_and_is_over_after_a_quiet_window() -> None:
    watched = _watched(np.random.default_rng(1), 6.0)
    told = [watch.learn(watched, _manoeuvre(40.0), SETTINGS, ratio=1.0) for _ in range(30)]
    assert sum(each.began.count("harm") for each in told) == 1
    quiet = [watch.learn(watched, _manoeuvre(6.0), SETTINGS, ratio=1.0) for _ in range(8)]
    assert [each.ended for each in quiet] == [()] * 7 + [("harm",)]


@pytest.mark.parametrize(("errors", "over"), [((6.0, 9.0) * 4, True), ((8.5, 9.0) * 4, False)])
def test_harm_is_over_once_a_window_as_a_whole_is_as_usual(
    errors: tuple[float, ...], over: bool
) -> None:
    watched = _watched(np.random.default_rng(5), 7.0)
    for _ in range(6):
        watch.learn(watched, _manoeuvre(40.0), SETTINGS, ratio=1.0)
    for error in errors:
        watch.learn(watched, _manoeuvre(error), SETTINGS, ratio=1.0)
    assert ("harm" not in watched.alarmed) is over


def test_what_looks_like_drift_never_becomes_the_reference() -> None:
    watched = Watch(promised=4.0)
    for _ in range(40):
        watch.learn(watched, _manoeuvre(30.0), SETTINGS, ratio=1.0)
    assert watched.errors == []
    assert watched.reference == 4.0


def test_without_a_sensor_the_error_is_an_estimate_made_of_sigma() -> None:
    made = Summary(device="c", deployment="d", model="m", low=0.0, span=350.0, absent=20)
    made.sigmas = Sums(samples=20, total=100.0)
    assert watch.error_of(made, ratio=0.8) == (4.0, True)
    assert watch.error_of(_manoeuvre(7.0), ratio=0.8) == (7.0, False)
    made.absent, made.silent = 0, 20
    assert watch.error_of(made, ratio=0.8) == (None, False)


@pytest.mark.parametrize("columns", [1, 9])
def test_a_permutation_test_keeps_its_level_whatever_the_number_of_columns(columns: int) -> None:
    rng = np.random.default_rng(5)
    found = [
        families.permuted(
            rng.exponential(size=(20, columns)),
            rng.exponential(size=(8, columns)),
            Draws(seed),
        )
        for seed in range(100)
    ]
    assert np.mean([(each.p_value or 1.0) <= 0.1 for each in found]) <= 0.2


def test_a_shift_of_one_column_is_found_and_sized() -> None:
    rng = np.random.default_rng(5)
    window = rng.normal(size=(8, 4))
    window[:, 2] += 6.0
    found = families.permuted(rng.normal(size=(20, 4)), window, Draws(5))
    assert found.p_value == pytest.approx(0.001)
    assert int(np.argmax(np.abs(found.differences))) == 2
    assert found.size == pytest.approx(6.0, abs=2.0)


def test_the_same_manoeuvres_and_seed_give_the_same_p_value() -> None:
    tables = np.random.default_rng(1).normal(size=(30, 3))
    first, second = (families.permuted(tables[:20], tables[20:], Draws(9)) for _ in range(2))
    assert first == second


def test_too_few_manoeuvres_and_missing_columns_say_nothing() -> None:
    rng, draws = np.random.default_rng(1), Draws(1)
    plenty, nothing = rng.normal(size=(20, 2)), np.full((20, 2), np.nan)
    assert families.permuted(plenty[:7], plenty, draws).p_value is None
    assert families.permuted(plenty, plenty[:2], draws).p_value is None
    assert families.permuted(plenty, nothing, draws).p_value is None
