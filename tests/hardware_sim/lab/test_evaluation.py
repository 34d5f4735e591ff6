"""The evaluation's report says what was measured, beside the reference and beside its limits."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from hardware_sim import scene
from hardware_sim.lab import evaluation_report
from hardware_sim.lab.evaluation import PHASES, Done, Measurement
from hardware_sim.lab.measure import Pair
from shared.samples import Estimate
from tests.fleet_server.fleet import MODEL, sample

CAR = "car-1"


def _pairs(run: int, error: float, count: int = 20) -> list[Pair]:
    """Return a manoeuvre whose labels are 2 mm off the truth and whose estimates `error` more."""
    found = []
    for number in range(count):
        label = 300.0 - 10.0 * number
        estimate = Estimate(model=MODEL, value=label + error)
        made = sample(run * 100 + number, manoeuvre=run, label=label, estimates=(estimate,))
        found.append(Pair(sample=made, run=run, truth_mm=label - 2.0))
    return found


def _measured(setting: str, run: int) -> Measurement:
    return Measurement(setting=setting, runs={CAR: run}, model=MODEL)


def _verdict(cause: str) -> dict[str, Any]:
    return {
        "id": 1,
        "kind": "drift",
        "cause": cause,
        "reason": "the floor is red",
        "utc_us": 5_000_000,
        "evidence": {"manoeuvres": [31, 32, 33]},
    }


def _story() -> tuple[list[Done], dict[str, list[Pair]]]:
    first = Done(phase=PHASES[0], after=_measured("1-beige", 1))
    second = Done(
        phase=PHASES[4],
        before=_measured("5-red", 2),
        after=_measured("5-red", 3),
        again=[_measured("1-beige", 4)],
        verdicts=[_verdict("covariate-shift")],
        decisions=[{"kind": "collect", "utc_us": 6}, {"kind": "retrain", "utc_us": 9_000_000}],
        first_manoeuvre=30,
        times_us={"changed": 1_000_000, "loaded": 61_000_000, "registered": 50_000_000},
    )
    focus = Done(phase=PHASES[5], before=_measured("6-beige", 5), decisions=[{"kind": "nothing"}])
    pairs = [
        *_pairs(1, 3.0),
        *_pairs(2, 40.0),
        *_pairs(3, 4.0),
        *_pairs(4, 3.2),
        *_pairs(5, 3.0),
    ]
    return [first, second, focus], {CAR: pairs}


def test_a_phase_tells_errors_cause_delay_and_times() -> None:
    done, pairs = _story()
    row = evaluation_report.row_of(done[1], done, pairs)
    assert row["before"]["mae_sensor_mm"] == pytest.approx(40.0)
    assert row["after"]["mae_truth_mm"] == pytest.approx(6.0)
    assert row["sensor_mm"] == pytest.approx(2.0)
    assert (row["causes"], row["manoeuvres_to_the_cause"]) == (["covariate-shift"], 4)
    assert row["seconds"] == {
        "changed to verdict": 4.0,
        "changed to asked": 8.0,
        "changed to registered": 49.0,
        "changed to loaded": 60.0,
    }
    assert row["old"] == [
        {"setting": "1-beige", "before": pytest.approx(3.0), "after": pytest.approx(3.2)}
    ]


def test_the_limits_are_the_reference_and_the_sensors_own_error() -> None:
    done, pairs = _story()
    checks = {
        each.name: each
        for one in done
        for each in evaluation_report.checks_of(evaluation_report.row_of(one, done, pairs))
    }
    assert all(each.met for each in checks.values())
    assert checks["phase 5, error after"].limit == pytest.approx(math.hypot(2.0, 4.0))
    assert checks["phase 1, error after"].limit == pytest.approx(math.hypot(2.0, 4.0))
    assert checks["phase 6, retrainings"].value == 0.0
    assert checks["phase 5, from the change to the better model"].value == 60.0


def test_a_loop_that_was_not_closed_meets_nothing() -> None:
    done, pairs = _story()
    done[1].after, done[1].verdicts, done[1].times_us = None, [], {}
    checks = evaluation_report.checks_of(evaluation_report.row_of(done[1], done, pairs))
    met = {each.name: each.met for each in checks}
    assert not met["phase 5, error after"]
    assert not met["phase 5, cause named"]
    assert not met["phase 5, from the change to the better model"]


def test_the_report_holds_the_table_the_checks_and_a_plot(tmp_path: Path) -> None:
    done, pairs = _story()
    checks = evaluation_report.build(done, pairs, tmp_path, 12.0)
    report = json.loads((tmp_path / "report.json").read_text())
    assert len(report["checks"]) == len(checks)
    assert [row["phase"] for row in report["phases"]] == [1, 5, 6]
    text = (tmp_path / "report.md").read_text()
    assert "| 5 | red floor, no human hand | 45.5 | 40.0 | 6.2 | 4.0 | 6.0 |" in text
    assert "the floor is red" in text
    assert (tmp_path / "error.png").stat().st_size > 0


def test_every_phase_drives_a_scene_that_ships() -> None:
    assert {each.scene for each in PHASES} <= set(scene.shipped())
    assert [each.number for each in PHASES] == list(range(1, len(PHASES) + 1))
