"""`python -m tests.chaos` refuses what it cannot use before it starts anything, and reports."""

from pathlib import Path

import msgspec
import pytest

from hardware_sim.lab.report import Check
from shared import cli
from tests.chaos.__main__ import CHAPTERS, chaos, write
from tests.chaos.chapter import Told


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--chapter", "weather"], "weather"),
        (["--cycles", "0"], "0"),
        (["--out", "/proc/nowhere"], "cannot make the folder /proc/nowhere"),
        (["--state", "/proc/nowhere"], "cannot make the folder /proc/nowhere/kills"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(
    arguments: list[str],
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.run(arguments, chaos, "python -m tests.chaos") == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert said in printed.err
    assert printed.err.count("\n") == 1


def test_the_report_holds_what_the_contract_asks_for(tmp_path: Path) -> None:
    missed = Check(name="pairs lost", value=1, unit="", limit=0, better="lower")
    told = {CHAPTERS[0]: Told(checks=[missed], body={"kills": []}, text="Words.")}
    write(told, [missed], tmp_path, seconds=1.5)
    report = msgspec.json.decode((tmp_path / "report.json").read_bytes())
    assert {"commit", "machine", "versions", "seconds", "checks"} <= report.keys()
    assert report["checks"][0] == {
        "name": "pairs lost",
        "value": 1,
        "unit": "",
        "limit": 0,
        "better": "lower",
        "met": False,
    }
    assert report["kills"] == {"kills": []}
    assert "## Drive and agent killed at random\n\nWords." in (tmp_path / "report.md").read_text()
