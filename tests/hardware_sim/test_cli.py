from pathlib import Path

import pytest
from click.testing import CliRunner

from hardware_sim.cli import sim
from shared.errors import UsageError

pytestmark = pytest.mark.slow


def _run(*arguments: str) -> str:
    done = CliRunner().invoke(sim, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_a_sheet_of_every_shipped_scene_is_written(tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    assert str(out) in _run("render", "--out", str(out), "--distance-mm", "50, 200")
    assert out.stat().st_size > 10_000


def test_a_folder_gets_single_pictures(tmp_path: Path) -> None:
    told = _run("render", "--scene", "red", "--out", str(tmp_path / "d"), "--count", "2")
    assert told.startswith("12 pictures")
    assert len(list((tmp_path / "d").glob("*.png"))) == 12


@pytest.mark.parametrize(
    ("option", "value"),
    [("--distance-mm", "50,far"), ("--distance-mm", "-1"), ("--angle-deg", "nan")],
)
def test_a_list_that_is_none_is_named(tmp_path: Path, option: str, value: str) -> None:
    with pytest.raises(UsageError, match=option):
        _run("render", "--out", str(tmp_path / "a.png"), option, value)


def test_a_car_drives_and_ends_after_so_many_manoeuvres(tmp_path: Path) -> None:
    script = tmp_path / "script.toml"
    script.write_text('run = 1\nscene = "beige"\nmanoeuvres = 5\n')
    home = str(tmp_path / "home")
    _run("car", "--home", home, "--script", str(script), "--speed", "0", "--max-manoeuvres", "1")
    assert '"done":1' in (tmp_path / "progress.json").read_text()


@pytest.mark.parametrize("verb", [[], ["car"], ["render"]])
def test_help_shows_an_example(verb: list[str]) -> None:
    assert "Example: parkfleet sim" in _run(*verb, "--help")
