"""`python -m tests.chaos` refuses what it cannot use before it starts anything, and reports."""

from pathlib import Path

import msgspec
import pytest

from hardware_sim.lab.report import Check
from shared import cli
from shared.clock import SystemClock
from shared.errors import RetryLaterError
from tests.chaos import report
from tests.chaos.__main__ import CHAPTERS, chaos
from tests.chaos.chapter import Chapter, Stage, Told
from tests.chaos.report import Page


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


def _page(name: str, value: float) -> Page:
    check = Check(name=f"{name}: pairs lost", value=value, unit="", limit=0, better="lower")
    return Page(commit="c0", seconds=1.5, checks=(check,), text=f"Words of {name}.", found={})


def test_the_report_holds_what_the_contract_asks_for(tmp_path: Path) -> None:
    checks = report.write({"kills": _page("kills", 1)}, CHAPTERS, tmp_path, is_quick=False)
    told = msgspec.json.decode((tmp_path / "report.json").read_bytes())
    assert {"commit", "machine", "versions", "seconds", "checks", "is_quick"} <= told.keys()
    assert told["checks"] == [checks[0].as_dict()]
    assert told["checks"][0]["met"] is False
    text = (tmp_path / "report.md").read_text()
    assert "## Drive and agent killed at random\n\nWords of kills." in text
    assert f"| {CHAPTERS[1].title} | not run | | |" in text


def test_a_chapter_that_is_run_alone_keeps_the_figures_of_the_others(tmp_path: Path) -> None:
    pages = {name: _page(name, 0) for name in ("kills", "herd")}
    report.write(pages, CHAPTERS, tmp_path, is_quick=False)
    assert report.last(tmp_path, is_quick=False) == pages
    assert report.last(tmp_path, is_quick=True) == {}
    assert report.last(tmp_path / "nowhere", is_quick=False) == {}


def test_a_chapter_that_breaks_is_not_met_and_says_where(tmp_path: Path) -> None:
    def run(_stage: Stage) -> Told:
        raise RetryLaterError("the server is gone")

    stage = Stage(folder=tmp_path, out=tmp_path, clock=SystemClock(), seed=1, is_quick=True)
    page = report.page_of(Chapter(name="kills", title="Kills", run=run), stage)
    assert [(check.name, check.met) for check in page.checks] == [
        ("kills: chapters that broke", False)
    ]
    assert "the server is gone" in page.text
    assert "test_command.py" in page.text
