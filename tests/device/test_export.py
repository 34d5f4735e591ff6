"""An export is the recorded-data contract: what was driven can be replayed and trained on."""

import csv
import json
from pathlib import Path

import pytest
from pyarrow import parquet

from device.journal import Journal
from hardware_sim import recorded
from shared import cli
from shared.picture import encode_jpeg
from shared.task import WALL_DISTANCE
from tests.device.fakes import Car, FakeCamera
from tests.device.records import sample


def exported(home: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, object]:
    assert cli.run(["device", "export", "--home", str(home), "--out", str(out), "--json"]) == 0
    found: dict[str, object] = json.loads(capsys.readouterr().out)
    return found


@pytest.mark.slow
def test_what_was_driven_reads_as_recorded_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    car = Car(tmp_path / "home")
    car.install()
    for _ in range(2):
        car.world.distance_mm = 330.0
        car.drive(9.0, {0.2: "park"})
    samples = car.samples()
    found = exported(car.root, tmp_path / "out", capsys)
    assert (found["pairs"], found["left_out"]) == (len(samples), {})
    recording = recorded.read(tmp_path / "out", WALL_DISTANCE)
    assert recording.skipped == ()
    assert recording.pictures == len(samples)
    labels = [shot.label for manoeuvre in recording.manoeuvres for shot in manoeuvre.shots]
    assert labels == [s.label for s in samples]
    first = recording.manoeuvres[0].shots
    assert [shot.at_us for shot in first[:2]] == [0, pytest.approx(250_000, abs=34_000)]
    table = parquet.read_table(str(found["table"])).to_pylist()
    assert [row["sequence"] for row in table] == [s.sequence for s in samples]
    assert table[0]["estimate"] == samples[0].estimates[0].value


def test_pairs_without_label_or_picture_are_counted_and_stay_in_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    frame = FakeCamera(Car(tmp_path / "other").world).newest()
    assert frame is not None
    jpeg = encode_jpeg(frame.pixels)
    journal = Journal.open(home / "journal.sqlite")
    blind = sample(2, label=None, sensor_status="out_of_range", estimates=())
    journal.append(samples=[(sample(0), jpeg), (sample(1), None), (blind, jpeg)])
    journal.mark(samples=[sample(0).key], pictures=[sample(0).key], outcome="sent")
    journal.close()
    found = exported(home, tmp_path / "out", capsys)
    assert (found["pairs"], found["left_out"]) == (1, {"no label": 1, "no picture": 1})
    with (tmp_path / "out" / "labels.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert (row["file"], row["distance_mm"]) == ("00000001-0a0b0c0d-000000.jpg", "100.0")
    assert len(parquet.read_table(str(found["table"]))) == 3


def test_a_folder_that_holds_something_is_left_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    car = Car(tmp_path / "home")
    car.drive(0.1, {})
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.txt").write_text("mine")
    command = ["device", "export", "--home", str(car.root), "--out"]
    assert cli.run([*command, str(tmp_path / "out")]) == 2
    assert "not empty" in capsys.readouterr().err
    assert cli.run([*command, str(tmp_path / "out" / "thesis.txt" / "x")]) == 2
    assert cli.run(["device", "export", "--home", str(tmp_path), "--out", str(tmp_path / "a")]) == 2
