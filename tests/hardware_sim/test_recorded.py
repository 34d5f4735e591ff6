"""What counts of a folder of recorded data, and what is said of the rest."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hardware_sim import recorded
from shared.errors import RefusedError, UsageError
from shared.task import WALL_DISTANCE
from tests.hardware_sim.recordings import HEADER, write_labels, write_picture


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a.jpg", "b.jpg", "c.jpg"):
        write_picture(tmp_path, name)
    return tmp_path


def test_rows_of_a_manoeuvre_belong_together_in_order_of_their_times(folder: Path) -> None:
    rows = ["b.jpg,200,one,1300,", "c.jpg,90,two,5,", "a.jpg,250.5,one,1050,dry"]
    write_labels(folder, rows)
    recording = recorded.read(folder, WALL_DISTANCE)
    one, two = recording.manoeuvres
    assert (one.name, two.name) == ("one", "two")
    assert [(s.file.name, s.label, s.at_us) for s in one.shots] == [
        ("a.jpg", 250.5, 0),
        ("b.jpg", 200.0, 250_000),
    ]
    assert (recording.pictures, recording.skipped) == (3, ())


def test_without_times_pictures_are_four_a_second_and_25_a_manoeuvre(folder: Path) -> None:
    write_labels(folder, ["a.jpg,100"] * 30, header="file,distance_mm")
    first, second = recorded.read(folder, WALL_DISTANCE).manoeuvres
    assert (len(first.shots), len(second.shots)) == (25, 5)
    assert [shot.at_us for shot in second.shots] == [0, 250_000, 500_000, 750_000, 1_000_000]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ("a.jpg,far,m,0,", "'far' is not a number"),
        ("a.jpg,,m,0,", "is not a number"),
        ("a.jpg,nan,m,0,", "'nan' is not a number"),
        ("a.jpg,351,m,0,", "outside 0 to 350 mm"),
        ("a.jpg,100,m,soon,", "t_ms 'soon'"),
        ("a.jpg,100,m", "3 fields, the header has 5"),
        ("a.jpg,100,m,0,dry,extra", "6 fields"),
        (",100,m,0,", "not the name of a picture"),
        ("../a.jpg,100,m,0,", "not the name of a picture"),
        ("gone.jpg,100,m,0,", "No such file"),
        ("text.jpg,100,m,0,", "not a JPEG"),
    ],
)
def test_a_malformed_row_is_named_by_its_line_and_the_others_count(
    folder: Path, row: str, reason: str
) -> None:
    (folder / "images" / "text.jpg").write_text("hello")
    write_labels(folder, ["a.jpg,100,m,0,", row, "", "b.jpg,90,m,200,"])
    recording = recorded.read(folder, WALL_DISTANCE)
    assert recording.pictures == 2
    assert [skipped.line for skipped in recording.skipped] == [3]
    assert reason in recording.skipped[0].reason


def test_a_byte_that_is_no_text_spoils_its_own_row_only(folder: Path) -> None:
    body = f"{HEADER}\na.jpg,100,m,0,\n".encode() + b"\xff\xfe.jpg,100,m,1,\nb.jpg,90,m,200,\n"
    (folder / "labels.csv").write_bytes(body)
    recording = recorded.read(folder, WALL_DISTANCE)
    assert (recording.pictures, [skipped.line for skipped in recording.skipped]) == (2, [3])


def test_a_grey_picture_counts_and_comes_with_three_channels(folder: Path) -> None:
    write_picture(folder, "grey.jpg", 77, grey=True)
    write_labels(folder, ["grey.jpg,100,m,0,"])
    shot = recorded.read(folder, WALL_DISTANCE).manoeuvres[0].shots[0]
    picture = recorded.load(shot)
    assert picture.shape == (120, 160, 3)
    assert np.abs(picture.astype(int) - 77).max() <= 1


def test_a_picture_that_vanished_since_is_refused(folder: Path) -> None:
    write_labels(folder, ["a.jpg,100,m,0,"])
    shot = recorded.read(folder, WALL_DISTANCE).manoeuvres[0].shots[0]
    shot.file.unlink()
    with pytest.raises(RefusedError, match=r"a\.jpg"):
        recorded.load(shot)


@pytest.mark.parametrize(
    ("header", "rows", "named"),
    [
        ("file,label", ["a.jpg,100"], "distance_mm"),
        ("file,file,distance_mm", ["a.jpg,a.jpg,100"], "'file' once"),
        ("file,distance_mm", [], "has no rows"),
        ("file,distance_mm", ["a.jpg,3383"], "line 2: distance_mm 3383 lies outside"),
        (HEADER, ["a.jpg,1,m,0,", "a.jpg,1,m,99999999999,"], "milliseconds"),
    ],
)
def test_a_recording_of_no_use_is_told_in_one_line(
    folder: Path, header: str, rows: list[str], named: str
) -> None:
    write_labels(folder, rows, header)
    with pytest.raises(UsageError, match=named):
        recorded.read(folder, WALL_DISTANCE)


def test_a_folder_without_labels_is_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"labels\.csv: No such file"):
        recorded.read(tmp_path, WALL_DISTANCE)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(garbage=st.binary(max_size=200))
def test_any_bytes_after_a_good_row_cost_no_more_than_their_own_rows(
    folder: Path, garbage: bytes
) -> None:
    (folder / "labels.csv").write_bytes(f"{HEADER}\na.jpg,100,m,0,\n".encode() + garbage)
    recording = recorded.read(folder, WALL_DISTANCE)
    assert recording.pictures >= 1
    assert all(skipped.line > 2 for skipped in recording.skipped)
