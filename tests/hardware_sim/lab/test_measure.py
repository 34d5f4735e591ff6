"""Error by phase: pairs joined with the simulator's truth."""

from pathlib import Path

import pytest

from hardware_sim.lab.measure import by_manoeuvre, join, measure, read_truth
from shared.samples import Estimate, Latency, Sample

_MODEL = "a" * 64


def _sample(moment: int, *, label: float | None, estimate: float | None, manoeuvre: int) -> Sample:
    return Sample(
        task="wall-distance",
        device="car-1",
        boot="00000001-00000000",
        sequence=moment,
        monotonic_us=moment,
        utc_us=moment,
        clock_synced=False,
        manoeuvre=manoeuvre,
        source="model",
        deployment="yard",
        desired_revision=1,
        camera="rear",
        calibration="none",
        label=label,
        label_unit="mm",
        sensor_status="ok" if label is not None else "no_reading",
        skew_us=0,
        estimates=() if estimate is None else (Estimate(model=_MODEL, value=estimate),),
        characteristics=None,
        latency=Latency(frame_age_us=0, preprocess_us=0, inference_us=0),
        picture_sha256=None,
    )


def test_truth_is_read_by_moment_of_exposure(tmp_path: Path) -> None:
    path = tmp_path / "truth.csv"
    path.write_text("exposed_us,true_mm,run\n5,101.5,2\n")
    assert read_truth(path) == {5: (2, 101.5)}
    assert read_truth(tmp_path / "missing.csv") == {}


def test_error_is_measured_against_sensor_and_truth_apart() -> None:
    samples = [
        _sample(1, label=100.0, estimate=104.0, manoeuvre=1),
        _sample(2, label=90.0, estimate=88.0, manoeuvre=1),
        _sample(3, label=None, estimate=70.0, manoeuvre=2),
    ]
    measured = measure(join(samples, {1: (1, 101.0), 2: (1, 90.0), 3: (1, 80.0)}))
    assert measured.mae_sensor_mm == pytest.approx(3.0)
    assert measured.mae_truth_mm == pytest.approx((3 + 2 + 10) / 3)
    assert (measured.manoeuvres, measured.pairs, measured.models) == (2, 3, (_MODEL,))


def test_pairs_without_a_model_have_no_error() -> None:
    measured = measure(join([_sample(1, label=1.0, estimate=None, manoeuvre=1)], {1: (1, 1.0)}))
    assert measured.mae_sensor_mm is None
    assert measured.pairs == 1


def test_samples_that_the_simulator_does_not_know_are_left_out() -> None:
    assert join([_sample(9, label=1.0, estimate=1.0, manoeuvre=1)], {8: (1, 1.0)}) == []


def test_manoeuvres_come_in_the_order_in_which_they_were_driven() -> None:
    samples = [
        _sample(4, label=10.0, estimate=20.0, manoeuvre=2),
        _sample(1, label=10.0, estimate=11.0, manoeuvre=1),
    ]
    truth = {1: (1, 10.0), 4: (1, 10.0)}
    assert [m.mae_sensor_mm for m in by_manoeuvre(join(samples, truth))] == [1.0, 10.0]
