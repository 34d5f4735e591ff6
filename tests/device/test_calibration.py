"""A calibration is measured once, numbered, named by every sample, and taken off every label."""

import json
from pathlib import Path
from statistics import mean

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.calibration import Calibration, calibrate, load_newest, next_number, store
from device.hardware import RangeReading
from device.home import Home
from shared import cli
from shared.errors import RefusedError, UsageError
from tests.device.fakes import Car


def readings(*ranges: float | None) -> list[RangeReading]:
    return [
        RangeReading(range_mm=mm, status="out_of_range" if mm is None else "ok", measured_us=n)
        for n, mm in enumerate(ranges)
    ]


def made(taken: list[RangeReading], *, distance: float = 100.0, behind: float = 0.0) -> Calibration:
    return calibrate(taken, number=1, distance_mm=distance, sensor_to_bumper_mm=behind, utc_us=1)


@given(st.floats(-50, 50), st.floats(30, 300), st.floats(-100, 100), st.lists(st.floats(-4, 4)))
def test_corrected_readings_of_the_wall_are_its_distance(
    offset: float, distance: float, behind: float, noise: list[float]
) -> None:
    # Noise on both sides, and one wild reading, of which the median knows nothing.
    ranges = [
        distance + behind + offset + n for each in (*noise, *range(12)) for n in (each, -each)
    ]
    found = made(readings(*ranges, 1200.0), distance=distance, behind=behind)
    assert found.correction_mm == pytest.approx(offset + behind, abs=1.5)
    assert found.sensor_to_bumper_mm == behind


@pytest.mark.parametrize(
    ("ranges", "line"),
    [
        ([100.0] * 19, "19 of 19"),
        ([100.0] * 30 + [None] * 40, "30 of 70"),
        ([60.0, 140.0] * 20, "hold the car still"),
        ([180.0] * 40, r"\+80 mm off"),
    ],
)
def test_what_cannot_be_a_calibration_is_refused_with_what_to_look_at(
    ranges: list[float | None], line: str
) -> None:
    with pytest.raises(RefusedError, match=line):
        made(readings(*ranges))


def test_calibrations_are_numbered_and_the_newest_is_in_force(tmp_path: Path) -> None:
    home = Home(tmp_path)
    assert (load_newest(home), next_number(home)) == (None, 1)
    first = made(readings(*[105.0] * 40))
    file = store(home, first)
    assert (load_newest(home), next_number(home)) == (first, 2)
    (home.calibrations / "0002.json.new").write_text("half")
    assert load_newest(home) == first
    file.write_text("{")
    with pytest.raises(UsageError, match=r"0001\.json.*calibrate again"):
        load_newest(home)
    # Samples may name it: its number is not used again.
    file.rename(file.with_name("0001.json.damaged"))
    assert (load_newest(home), next_number(home)) == (None, 2)


def test_every_sample_names_its_calibration_and_its_label_is_corrected(tmp_path: Path) -> None:
    car = Car(tmp_path)
    car.drive(3.0, {0.2: "park", 0.9: "stop"})
    store(car.home, made(readings(*[112.0] * 40)))
    car.world.distance_mm = 330.0
    car.drive(3.0, {0.2: "park", 0.9: "stop"})
    labels: dict[str, list[float]] = {"none": [], "calibration-1": []}
    for sample in car.samples():
        if sample.label is not None:
            labels[sample.calibration].append(sample.label)
    assert mean(labels["none"]) - mean(labels["calibration-1"]) == pytest.approx(12.0, abs=2.0)


@pytest.mark.slow
def test_the_command_finds_the_offset_of_a_simulated_sensor(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARKFLEET_SIM_SPEED", "0")
    wrong = ["device", "calibrate", "--home", str(tmp_path), "--backend", "sim", "--distance"]
    assert cli.run([*wrong, "900"]) == 1
    assert "measure again" in capsys.readouterr().err
    assert cli.run([*wrong, "345", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["number"], found["readings"]) == (1, pytest.approx(100, abs=30))
    assert abs(found["range_offset_mm"]) < 30
