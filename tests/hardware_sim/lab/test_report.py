"""Reports hold what was measured, met or not."""

import json
from pathlib import Path
from typing import Literal

import pytest

from hardware_sim.lab.report import Check, checks_table, write_json


@pytest.mark.parametrize(
    ("value", "better", "met"),
    [(1.0, "lower", True), (3.0, "lower", False), (1.0, "higher", False), (2.0, "higher", True)],
)
def test_a_check_is_met_on_the_right_side_of_its_limit(
    value: float, better: Literal["lower", "higher"], *, met: bool
) -> None:
    check = Check(name="n", value=value, unit="mm", limit=2.0, better=better)
    assert check.met is met


def test_a_figure_that_could_not_be_measured_is_not_met() -> None:
    sides: tuple[Literal["lower", "higher"], ...] = ("lower", "higher")
    for better in sides:
        check = Check(name="n", value=float("nan"), unit="", limit=1.0, better=better)
        assert not check.met


def test_the_report_names_commit_machine_versions_seconds_and_checks(tmp_path: Path) -> None:
    check = Check(name="n", value=1.0, unit="mm", limit=2.0, better="lower")
    write_json(tmp_path / "r" / "report.json", {"extra": 1}, [check], 3.21)
    report = json.loads((tmp_path / "r" / "report.json").read_text())
    assert {"commit", "machine", "versions", "seconds", "checks", "extra"} <= report.keys()
    assert report["checks"] == [
        {"name": "n", "value": 1.0, "unit": "mm", "limit": 2.0, "better": "lower", "met": True}
    ]
    assert "| n | 1 mm | ≤ 2 | yes |" in checks_table([check])
