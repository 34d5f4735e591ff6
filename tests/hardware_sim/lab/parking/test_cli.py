import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from hardware_sim.cli import sim
from shared.errors import UsageError

DATA = Path(__file__).parents[3] / "device" / "data"


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    shutil.copy(DATA / "tiny.json", tmp_path / "manifest.json")
    shutil.copy(DATA / "tiny.tflite", tmp_path / "model.tflite")
    return tmp_path / "model.tflite"


def _run(*arguments: str) -> Any:
    return sim.main(["park", *arguments], standalone_mode=False)


@pytest.mark.slow
def test_a_model_that_misses_a_figure_ends_with_status_1_and_a_report(
    model_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    status = _run(
        *("--model", str(model_file), "--known", "beige", "--unknown", "red"),
        *("--manoeuvres", "1", "--out", str(out), "--json"),
    )
    assert status == 1
    told = json.loads(capsys.readouterr().out)
    assert told["report"] == str(out / "report.json")
    report = json.loads((out / "report.json").read_text())
    assert set(report["groups"]) == {
        f"{kind} scenes, {sensor} a range sensor"
        for kind in ("known", "unknown")
        for sensor in ("with", "without")
    }
    assert report["checks"] == told["checks"]
    guarded, unguarded = (
        report["manoeuvres"][f"known scenes, {sensor} a range sensor"][0]
        for sensor in ("with", "without")
    )
    assert guarded["start_mm"] == unguarded["start_mm"]
    assert all(each["reason"] for each in (guarded, unguarded))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--known", "nosuch"], "nosuch"),
        (["--known", ","], "--known names no scene"),
        (["--known", "beige", "--unknown", "nosuch"], "nosuch"),
        (["--known", "beige", "--out", "/proc/nosuch"], "cannot make the folder"),
    ],
)
def test_wrong_use_is_told(model_file: Path, arguments: list[str], named: str) -> None:
    with pytest.raises(UsageError, match=named):
        _run("--model", str(model_file), *arguments)


def test_help_shows_an_example() -> None:
    done = CliRunner().invoke(sim, ["park", "--help"])
    assert "Example: parkfleet sim park" in done.stdout
