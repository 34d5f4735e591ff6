from pathlib import Path

import pytest

from hardware_sim.script import Desk, Progress, Truth
from shared.errors import UsageError

_ORDER = 'run = 3\nscene = "beige"\nmanoeuvres = 2\n'


def _desk(folder: Path, text: str = _ORDER) -> Desk:
    script = folder / "script.toml"
    script.write_text(text)
    return Desk(script)


def test_an_order_is_read_with_its_defaults(tmp_path: Path) -> None:
    order = _desk(tmp_path).order()
    assert (order.run, order.by, order.retry_by_sensor) == (3, "park", True)


@pytest.mark.parametrize("text", ["", "= =", _ORDER + 'by = "magic"', _ORDER + "speed = 3"])
def test_a_broken_order_is_named_with_its_file(tmp_path: Path, text: str) -> None:
    with pytest.raises(UsageError, match=r"script\.toml"):
        _desk(tmp_path, text).order()


def test_a_missing_order_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"gone\.toml"):
        Desk(tmp_path / "gone.toml").order()


def test_progress_belongs_to_its_run(tmp_path: Path) -> None:
    desk = _desk(tmp_path)
    desk.tell(Progress(run=3, done=2, parked=1))
    assert desk.progress(3).done == 2
    assert desk.progress(4) == Progress(run=4)


def test_a_broken_progress_is_none(tmp_path: Path) -> None:
    desk = _desk(tmp_path)
    (tmp_path / "progress.json").write_bytes(b'{"run": 3')
    assert desk.progress(3) == Progress(run=3)


def test_truth_has_one_header_and_survives_a_line_cut_short(tmp_path: Path) -> None:
    desk = _desk(tmp_path)
    desk.add_truth([Truth(exposed_us=1, true_mm=300.0)], 3)
    with (tmp_path / "truth.csv").open("a") as file:
        file.write("2,29")
    desk.add_truth([Truth(exposed_us=3, true_mm=298.1234)], 4)
    assert (tmp_path / "truth.csv").read_text().splitlines() == [
        "exposed_us,true_mm,run",
        "1,300.000,3",
        "2,29",
        "3,298.123,4",
    ]


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    desk = _desk(tmp_path)
    (tmp_path / "progress.json").mkdir()
    (tmp_path / "truth.csv").mkdir()
    with pytest.raises(UsageError, match=r"progress\.json"):
        desk.tell(Progress(run=3))
    with pytest.raises(UsageError, match=r"truth\.csv"):
        desk.add_truth([], 3)
