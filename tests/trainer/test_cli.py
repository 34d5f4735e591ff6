"""The verb `trainer`: a mistake costs one line and no seconds."""

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.cli import run


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    """The command line sends log events to the standard error of its test, which then closes."""
    before = logging.root.handlers[:]
    yield
    logging.root.handlers[:] = before


def _refused(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> str:
    assert run([str(each) for each in ("trainer", *arguments)]) == 2
    lines = capsys.readouterr().err.strip().splitlines()
    assert len(lines) == 1
    return lines[0]


def test_a_missing_folder_is_named(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    said = _refused(capsys, "run", "--data", tmp_path / "nowhere", "--out", tmp_path / "out")
    assert "nowhere" in said
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_cannot_be_written_is_named_before_pictures_are_read(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.touch()
    said = _refused(capsys, "run", "--data", tmp_path / "nowhere", "--out", file / "a" / "b")
    assert f"{file} is no folder" in said


def test_a_task_that_makes_no_sense_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    task = tmp_path / "task.toml"
    task.write_text(
        'name = "t"\nlabel = "x"\nunit = "mm"\nlow = 5.0\nhigh = 5.0\n'
        "picture_width = 100\npicture_height = 75\n"
    )
    said = _refused(capsys, "run", "--data", tmp_path, "--out", tmp_path / "o", "--task", task)
    assert "low < high" in said


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"--server": "nonsense"}, "nonsense"),
        ({"--token-file": "nowhere"}, "nowhere"),
        ({"--name": "no name"}, "no name"),
        ({"--settings": "nowhere.toml"}, "nowhere.toml"),
        ({}, "release.key"),
    ],
)
def test_a_wrong_option_of_work_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, change: dict[str, str], named: str
) -> None:
    token = tmp_path / "token"
    token.write_text("secret-token\n")
    options = {
        "--server": "http://127.0.0.1:1",
        "--token-file": str(token),
        "--state": str(tmp_path / "state"),
        **change,
    }
    said = _refused(capsys, "work", *(part for option in options.items() for part in option))
    assert named in said
    assert "secret-token" not in said


def test_an_empty_token_file_says_how_to_get_a_token(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "token").write_text("\n")
    said = _refused(
        capsys, "work", "--server", "http://127.0.0.1:1", "--token-file", tmp_path / "token"
    )
    assert "parkfleet token create" in said


@pytest.mark.parametrize("command", ["work", "run"])
def test_help_shows_an_example(capsys: pytest.CaptureFixture[str], command: str) -> None:
    assert run(["trainer", command, "--help"]) == 0
    assert f"Example: parkfleet trainer {command}" in " ".join(capsys.readouterr().out.split())


_RUN = "0123456789abcdef0123456789abcdef"


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["reproduce", "nonsense"], "32 hexadecimal digits"),
        (["reproduce", _RUN], f"there is no run {_RUN}"),
        (["again", _RUN, "--step", "fit"], f"there is no run {_RUN}"),
        (["run", "--set", "batch"], "give NAME=VALUE"),
        (["run", "--set", "bach=1"], "no setting 'bach'"),
        (["run", "--set", "batch=0"], "batch"),
        (["run", "--set", "batch=x"], "--set: batch: expected int, got str"),
        (["run", "--over", "batch=8"], "give --trials"),
        (["run", "--trials", "2", "--over", "batch"], "give NAME=VALUE,VALUE"),
        (["run", "--trials", "2", "--over", "batch=x"], "--over batch=x: batch: expected int"),
        (["run", "--since", "yesterday"], "--since"),
        (["run", "--gates", "nowhere.toml"], "nowhere.toml"),
        (["run", "--in-service", "nowhere.tflite"], "nowhere.tflite"),
        (["run", "--deployment", "a b"], "'a b' cannot name a deployment"),
    ],
)
def test_a_mistake_in_looking_back_or_training_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str], named: str
) -> None:
    data = (
        ["--data", str(tmp_path), "--out", str(tmp_path / "out")] if arguments[0] == "run" else []
    )
    state = [] if data else ["--state", str(tmp_path)]
    assert named in _refused(capsys, *arguments, *data, *state)


def test_too_little_to_learn_from_is_said_before_anything_heavy_is_imported(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "labels.csv").write_text("file,distance_mm\na.jpg,5\nb.jpg,900\n")
    said = _refused(capsys, "run", "--data", tmp_path, "--out", tmp_path / "out")
    assert "0 usable pairs" in said or "labels lie outside" in said
    assert not (tmp_path / "out").exists()


def test_a_key_without_its_public_half_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text("secret-token\n")
    said = _refused(
        capsys, "work", "--server", "http://x", "--token-file", token, "--key", "file2:key.pem"
    )
    assert "--public-key" in said
