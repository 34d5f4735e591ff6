"""Recorded data: a folder with images/ and labels.csv."""

from pathlib import Path

import pytest

from shared.errors import UsageError
from shared.task import Task
from tests.trainer.conftest import pair
from trainer.data import recorded
from trainer.data.examples import Example


def _folder(tmp_path: Path, table: str) -> Path:
    (tmp_path / "images").mkdir()
    jpeg = pair(1, manoeuvre=1).jpeg
    assert jpeg is not None
    (tmp_path / "images" / "a.jpg").write_bytes(jpeg)
    (tmp_path / "labels.csv").write_text(table)
    return tmp_path


def test_rows_become_examples_and_others_are_named(tmp_path: Path, task: Task) -> None:
    folder = _folder(
        tmp_path,
        "file,distance_mm,manoeuvre,extra\n"
        "a.jpg,12.5,m1,x\n"
        "a.jpg,,m1,x\n"
        "a.jpg,900,m1,x\n"
        "a.jpg,nan,m1,x\n"
        "b.jpg,12.5,m1,x\n"
        "../labels.csv,12.5,m1,x\n",
    )
    first, *others = recorded.read(folder, task)
    assert isinstance(first, Example)
    assert (first.label, first.manoeuvre) == (12.5, "recorded/recorded/m1")
    assert others == [
        "no_label",
        "label_out_of_range",
        "label_out_of_range",
        "no_picture",
        "bad_file_name",
    ]


def test_rows_without_manoeuvre_are_taken_25_at_a_time(tmp_path: Path, task: Task) -> None:
    folder = _folder(tmp_path, "file,label\n" + "a.jpg,5\n" * 60)
    examples = [each for each in recorded.read(folder, task) if isinstance(each, Example)]
    assert [len({e.manoeuvre for e in examples[at : at + 25]}) for at in (0, 25, 50)] == [1, 1, 1]
    assert len({each.manoeuvre for each in examples}) == 3


@pytest.mark.parametrize("table", ["", "file\na.jpg\n", "distance_mm\n1\n", "\x00\n"])
def test_a_table_without_the_columns_is_named(tmp_path: Path, task: Task, table: str) -> None:
    with pytest.raises(UsageError, match=r"labels\.csv"):
        list(recorded.read(_folder(tmp_path, table), task))


def test_a_missing_table_is_named(tmp_path: Path, task: Task) -> None:
    with pytest.raises(UsageError, match=r"labels\.csv"):
        list(recorded.read(tmp_path, task))


def test_device_deployment_and_time_are_understood(tmp_path: Path, task: Task) -> None:
    table = (
        "file,label,device,deployment,utc_us\na.jpg,5,car-b,garage,1700000000000000\na.jpg,5,,,x\n"
    )
    first, second = recorded.read(_folder(tmp_path, table), task, setting="yard")
    assert isinstance(first, Example)
    assert isinstance(second, Example)
    assert (first.device, first.setting, first.utc_us) == ("car-b", "garage", 1700000000000000)
    assert (second.device, second.setting, second.utc_us) == ("recorded", "yard", 0)
