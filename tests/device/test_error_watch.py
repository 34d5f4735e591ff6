"""The car's own alarm: rare without drift, soon with it, in one small record."""

import random
from statistics import median

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.error_watch import (
    ALPHA,
    REFERENCE_MANOEUVRES,
    Watch,
    begin,
    learn,
)

_MODEL = "a" * 64
_PROMISED_MM = 6.0


def _drive(watch: Watch, errors: list[float]) -> tuple[Watch, list[int]]:
    alarms = []
    for number, error in enumerate(errors, start=1):
        watch, is_alarm = learn(watch, error)
        if is_alarm:
            alarms.append(number)
    return watch, alarms


def _manoeuvres(rng: random.Random, mean_mm: float, number: int) -> list[float]:
    # Between manoeuvres a model's mean error varies by about a quarter of itself.
    return [max(0.0, rng.gauss(mean_mm, mean_mm / 4)) for _ in range(number)]


def test_without_drift_false_alarms_stay_below_the_promised_rate() -> None:
    rng = random.Random(1)
    alarms = 0
    for _ in range(20):
        _, found = _drive(begin(_MODEL, _PROMISED_MM), _manoeuvres(rng, _PROMISED_MM, 500))
        alarms += len(found)
    assert alarms / (20 * 500) <= ALPHA


@pytest.mark.parametrize(("drifted_mm", "delay"), [(30.0, 4), (13.0, 12)])
def test_drift_is_told_within_a_few_manoeuvres(drifted_mm: float, delay: int) -> None:
    delays = []
    for seed in range(40):
        rng = random.Random(seed)
        watch, _ = _drive(begin(_MODEL, _PROMISED_MM), _manoeuvres(rng, _PROMISED_MM, 60))
        _, alarms = _drive(watch, _manoeuvres(rng, drifted_mm, 60))
        delays.append(alarms[0])
    assert median(delays) <= delay


def test_a_car_that_is_worse_than_the_manifest_promised_becomes_its_own_reference() -> None:
    watch, _ = _drive(begin(_MODEL, _PROMISED_MM), [7.5] * REFERENCE_MANOEUVRES)
    assert watch.reference == pytest.approx(7.5)
    _, alarms = _drive(watch, [7.5] * 200)
    assert alarms == []


def test_a_model_without_any_error_can_still_be_watched() -> None:
    watch, alarms = _drive(begin(_MODEL, _PROMISED_MM), [0.0] * 100)
    assert alarms == []
    assert watch.reference > 0


def test_drift_from_the_first_manoeuvre_does_not_become_the_reference() -> None:
    watch, alarms = _drive(begin(_MODEL, _PROMISED_MM), [60.0] * REFERENCE_MANOEUVRES)
    assert alarms
    assert watch.reference <= 2 * _PROMISED_MM


@pytest.mark.slow
@given(st.lists(st.floats(min_value=0, max_value=1e6), max_size=200))
def test_the_evidence_is_finite_positive_and_below_the_alarm(errors: list[float]) -> None:
    watch, _ = _drive(begin(_MODEL, _PROMISED_MM), errors)
    assert all(0 <= held < float("inf") for held in watch.sums)
    assert watch.evidence < 1 / ALPHA


def test_the_record_stays_small_and_survives_being_stored() -> None:
    watch, _ = _drive(begin(_MODEL, _PROMISED_MM), [5.0] * 10_000)
    stored = msgspec.msgpack.encode(watch)
    assert len(stored) < 300
    assert msgspec.msgpack.decode(stored, type=Watch) == watch


@pytest.mark.parametrize("error", [-1.0, float("nan")])
def test_nonsense_is_refused(error: float) -> None:
    with pytest.raises(ValueError, match="mean error"):
        learn(begin(_MODEL, 1.0), error)
    with pytest.raises(ValueError, match="promised"):
        begin(_MODEL, error)
