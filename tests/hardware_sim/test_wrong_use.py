"""What a person gets wrong with `sim` and `evaluate` is one line, and makes nothing."""

from pathlib import Path

import pytest

from shared import cli

FILES = {
    "nowhere.toml": 'run = 1\nscene = "nowhere"\nmanoeuvres = 1\n',
    "script.toml": 'run = 1\nscene = "beige"\nmanoeuvres = 1\n',
    "alone.tflite": "no model, and no manifest beside it",
    "token": "a token",
    "empty/labels.csv": "file,distance_mm\n",
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with what the mistakes name."""
    for name, text in FILES.items():
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def _lying(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("sim car --home home --script nowhere.toml", "no scene 'nowhere'"),
        ("sim car --home home --script script.toml --fault rain@1", "names: frozen_camera"),
        ("sim fleet --cars 1 --model alone.tflite", "manifest.json beside it"),
        ("sim fleet --cars 1 --server localhost --token-file token", "try http://127.0.0.1:8080"),
        ("sim park --model alone.tflite --out out", "manifest.json beside it"),
        ("sim park --known beige,red --unknown red,green --out out", "red: either --known or"),
        ("sim render --scene beige --out sheet.jpg", "a sheet is a .png"),
        ("sim replay --data empty --deployment d --home home", "has no rows"),
        ("sim replay --data nowhere --deployment d --home home", "give a folder with images/"),
        ("sim world --scene nowhere", "no scene 'nowhere'"),
        ("sim world --script nowhere-else.toml", "cannot read nowhere-else.toml"),
        ("sim world --listen token", "something else lies there"),
        ("evaluate --recorded nowhere-else", "does not exist"),
        ("evaluate --recorded .", "give a folder with images/"),
        ("evaluate --until 12", "--until"),
        ("demo --speed 0", "--speed"),
        ("demo --seed -1", "--seed"),
    ],
)
def test_a_mistake_is_one_line_with_the_remedy_and_makes_nothing(
    folder: Path, capsys: pytest.CaptureFixture[str], words: str, said: str
) -> None:
    before = _lying(folder)
    assert cli.run(words.split()) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert said in line
    assert _lying(folder) == before
