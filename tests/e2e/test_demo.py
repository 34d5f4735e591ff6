"""The demonstration tells its whole story, and its report holds what the story claims."""

import json
import subprocess
import sys
from typing import Any

import pytest

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(420)]


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The report of one demonstration, run as a newcomer runs it."""
    folder = tmp_path_factory.mktemp("demo")
    done = subprocess.run(
        [sys.executable, "-m", "shared", "demo", "--exit", "--port", "0"],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        timeout=400,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    written = folder / "out" / "demo"
    assert (written / "error.png").stat().st_size > 10_000
    assert "| phase | floor |" in (written / "report.md").read_text()
    found: dict[str, Any] = json.loads((written / "report.json").read_text())
    return found


def _phase(report: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(phase for phase in report["phases"] if phase["name"] == name)
    return found


def test_every_acceptance_figure_is_met(report: dict[str, Any]) -> None:
    assert [check["name"] for check in report["checks"] if not check["met"]] == []
    assert len(report["checks"]) >= 5


def test_pairs_logged_on_the_cars_are_stored_on_the_server_to_the_pair(
    report: dict[str, Any],
) -> None:
    assert report["pairs"]["logged_on_cars"] == report["pairs"]["stored_on_server"]
    told = sum(phase["pairs"] for phase in report["phases"])
    assert told == sum(report["pairs"]["logged_on_cars"].values())


def test_no_model_is_there_at_first(report: dict[str, Any]) -> None:
    phase = _phase(report, "learning by sensor")
    assert [car["loaded"] for car in phase["cars"].values()] == [None, None]
    assert phase["mae_sensor_mm"] is None


def test_each_phase_ran_the_model_that_the_cars_had_loaded(report: dict[str, Any]) -> None:
    models = [model["sha256"] for model in report["models"]]
    assert [model["version"] for model in report["models"]] == [1, 2]
    for name, digest in [("first model", models[0]), ("floor turns red", models[0])]:
        for car in _phase(report, name)["cars"].values():
            assert car["loaded"] == digest
            assert car["models"] == [digest]
    for name in ("retrained", "old floor again", "caught up"):
        for car in _phase(report, name)["cars"].values():
            assert car["loaded"] == models[1]
            assert car["models"] == [models[1]]


def test_error_against_truth_tells_the_same_story_as_error_against_the_sensor(
    report: dict[str, Any],
) -> None:
    first = _phase(report, "first model")
    red = _phase(report, "floor turns red")
    caught_up = _phase(report, "caught up")
    for against in ("mae_sensor_mm", "mae_truth_mm"):
        assert red[against] > 2 * first[against]
        assert caught_up[against] < 1.3 * first[against]


def test_every_training_has_a_decision_with_a_reason(report: dict[str, Any]) -> None:
    kinds = [decision["kind"] for decision in report["decisions"]]
    assert kinds.index("train-first") < kinds.index("retrain")
    assert all(decision["reason"] for decision in report["decisions"])
