"""A manoeuvre in a few numbers, whatever its length."""

import math

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fleet_server.drift import health
from fleet_server.drift.summaries import CELLS, SIDE, Summary, Sums, by_estimate, by_label
from tests.fleet_server.drift import drives

(REEL,) = drives.made_up(1, seed=1)


def _summary(sensor: drives.Sensor = drives.healthy) -> Summary:
    return drives.summary(drives.samples(REEL, np.random.default_rng(0), sensor=sensor))


def test_errors_labels_and_sigmas_are_those_of_the_samples() -> None:
    found = drives.samples(REEL, np.random.default_rng(0))
    made = drives.summary(found)
    residuals = [each.estimates[0].value - (each.label or 0.0) for each in found]
    assert made.samples == len(found)
    assert made.errors.mean == pytest.approx(np.mean(np.abs(residuals)))
    assert made.residuals.mean == pytest.approx(np.mean(residuals))
    assert made.labels.high == max(each.label or 0.0 for each in found)
    assert made.sigmas.mean == pytest.approx(4.0)


def test_cells_by_label_and_by_estimate_hold_every_picture_once() -> None:
    made = _summary()
    for part in (by_label(made), by_estimate(made)):
        assert sum(cell.samples for cell in part.values()) == made.samples
        assert sum(cell.seen for cell in part.values()) == made.samples
        assert sum(cell.error for cell in part.values()) == pytest.approx(made.errors.total)


def test_a_car_without_a_sensor_has_cells_by_estimate_only() -> None:
    made = _summary(drives.absent)
    assert (made.absent, made.silent, made.errors.samples) == (made.samples, 0, 0)
    assert by_label(made) == {}
    assert sum(cell.samples for cell in by_estimate(made).values()) == made.samples


def test_a_longer_manoeuvre_takes_no_more_memory() -> None:
    found = drives.samples(REEL, np.random.default_rng(0))
    once, often = drives.summary(found), drives.summary(found * 50)
    assert often.samples == 50 * once.samples
    assert set(often.cells) == set(once.cells)
    assert len(often.cells) <= SIDE * SIDE


def test_a_summary_reads_back_as_it_was_written() -> None:
    made = _summary(drives.dropping(0.3))
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(made), type=Summary) == made


@given(st.lists(st.floats(-1e3, 1e3), min_size=2, max_size=40))
def test_sums_give_mean_spread_and_ends(values: list[float]) -> None:
    sums = Sums()
    for each in values:
        sums.add(each)
    assert sums.mean == pytest.approx(np.mean(values), abs=1e-6)
    assert sums.variance == pytest.approx(np.var(values), abs=1e-2)
    assert (sums.low, sums.high) == (min(values), max(values))


def test_labels_beyond_the_range_lie_in_the_cells_at_its_ends() -> None:
    made = _summary(drives.offset(500.0))
    assert set(by_label(made)) == {CELLS - 1}
    assert set(by_label(_summary(drives.offset(-500.0)))) == {0}


@pytest.mark.parametrize(
    ("sensor", "symptom", "least"),
    [(drives.stuck, "stuck", 0.5), (drives.noisy(20.0), "noisy", 10.0)],
)
def test_a_symptom_is_measured_without_any_model(
    sensor: drives.Sensor, symptom: str, least: float
) -> None:
    assert health.measure(_summary())[symptom] < health.HEALTHY[symptom]
    assert health.measure(_summary(sensor))[symptom] > least


def test_pictures_without_a_label_are_a_symptom_only_of_a_sensor_that_is_there() -> None:
    assert health.measure(_summary(drives.dropping(0.5)))["dropping"] > 0.2
    assert "dropping" not in health.measure(_summary(drives.absent))


def test_an_empty_manoeuvre_measures_nothing() -> None:
    made = drives.summary([])
    assert health.measure(made) == {}
    assert math.isnan(made.errors.mean)
