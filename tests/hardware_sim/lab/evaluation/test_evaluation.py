"""The evaluation's report says what was measured, beside the reference and beside its limits."""

import json
import math
from pathlib import Path
from typing import Any

import pytest

from hardware_sim import scene
from hardware_sim.lab.evaluation import checks as figures
from hardware_sim.lab.evaluation import cli, phases, recorded_phase, report
from hardware_sim.lab.evaluation.phases import PHASES, Plan
from hardware_sim.lab.evaluation.stretches import Done, Measurement, Pairs, chosen
from hardware_sim.lab.measure import Pair
from hardware_sim.lab.report import Check
from shared.errors import UsageError
from shared.samples import Estimate
from tests.fleet_server.fleet import BOOT, MODEL, sample

CAR = "car-1"
PHASE = {each.number: each for each in PHASES}


def _pairs(run: int, error: float, count: int = 20, model: str = MODEL) -> list[Pair]:
    """Return a manoeuvre whose labels are 2 mm off the truth and whose estimates `error` more."""
    found = []
    for number in range(count):
        label = 300.0 - 10.0 * number
        estimate = Estimate(model=model, value=label + error)
        made = sample(run * 100 + number, manoeuvre=run, label=label, estimates=(estimate,))
        found.append(Pair(sample=made, run=run, truth_mm=label - 2.0))
    return found


def _measured(setting: str, run: int) -> Measurement:
    return Measurement(setting=setting, runs={CAR: [run]}, model=MODEL)


def _verdict(cause: str, kind: str = "drift") -> dict[str, Any]:
    return {
        "id": 1,
        "kind": kind,
        "device": CAR,
        "cause": cause,
        "reason": "the floor is red",
        "utc_us": 5_000_000,
        "evidence": {"manoeuvres": [31, 32, 33]},
    }


def _driven(first: int, last: int) -> list[dict[str, Any]]:
    ids = range(first, last + 1)
    return [{"id": n, "device": CAR, "boot": BOOT, "manoeuvre": n, "mae": 3.0} for n in ids]


def _story() -> tuple[list[Done], Pairs]:
    first = Done(phase=PHASE[1], after=_measured("1-beige", 1))
    second = Done(
        phase=PHASE[5],
        before=_measured("5-red", 2),
        after=_measured("5-red", 3),
        again=[_measured("1-beige", 4)],
        verdicts=[_verdict("covariate-shift")],
        decisions=[{"kind": "collect", "utc_us": 6}, {"kind": "retrain", "utc_us": 9_000_000}],
        manoeuvres=_driven(31, 40),
        times_us={
            "changed": 1_000_000,
            "registered": 50_000_000,
            "tried": 52_000_000,
            "loaded": 61_000_000,
        },
    )
    focus = Done(phase=PHASE[6], before=_measured("6-beige", 5), decisions=[{"kind": "nothing"}])
    sensor = Done(
        phase=PHASE[8],
        before=_measured("8-beige", 6),
        again=[_measured("2-beige", 7)],
        verdicts=[_verdict("concept-or-sensor")],
        decisions=[{"kind": "check-sensor", "utc_us": 7}],
    )
    errors = {1: 3.0, 2: 40.0, 3: 4.0, 4: 3.2, 5: 3.0, 6: 15.0, 7: 3.0}
    pairs = [pair for run, error in errors.items() for pair in _pairs(run, error)]
    return [first, second, focus, sensor], {CAR: pairs}


def _checks(done: list[Done], pairs: Pairs) -> dict[str, Check]:
    rows = [report.row_of(one, done[:at], pairs) for at, one in enumerate(done)]
    return {each.name: each for row in rows for each in figures.checks_of(row)}


def test_a_phase_tells_errors_cause_delay_and_the_seconds_of_each_stage() -> None:
    done, pairs = _story()
    row = report.row_of(done[1], done[:1], pairs)
    assert row["before"]["mae_sensor_mm"] == pytest.approx(40.0)
    assert row["after"]["mae_truth_mm"] == pytest.approx(6.0)
    assert row["sensor_mm"] == pytest.approx(2.0)
    assert (row["causes"], row["manoeuvres_to_the_cause"]) == (["covariate-shift"], 3)
    assert row["stages"] == {
        "change to alarm": 4.0,
        "alarm to training": 4.0,
        "training to signed model": 41.0,
        "signed model to trial on the cars": 2.0,
        "trial to loaded": 9.0,
    }
    assert row["old"] == [
        {"setting": "1-beige", "before": pytest.approx(3.0), "after": pytest.approx(3.2)}
    ]


def test_a_measurement_is_of_the_model_that_was_in_service() -> None:
    measurement = Measurement(setting="5-red", runs={CAR: [2, 3]}, model=MODEL)
    pairs = {CAR: [*_pairs(2, 40.0), *_pairs(3, 1.0, model="cd" * 32), *_pairs(4, 40.0)]}
    assert {pair.run for pair in chosen(measurement, pairs)} == {2}
    assert chosen(None, pairs) == []


def test_the_limits_are_the_reference_and_the_sensors_own_error() -> None:
    checks = _checks(*_story())
    assert all(each.met for each in checks.values())
    assert checks["phase 5, error after"].limit == pytest.approx(math.hypot(2.0, 4.0))
    assert checks["phase 5, error before over the last"].value == pytest.approx(40.0 / 3.0)
    assert checks["phase 5, manoeuvres to the named cause"].limit == 3.0
    assert checks["phase 5, from the change to the better model loaded"].value == 60.0
    assert checks["phase 6, retrainings"].value == 0.0
    assert checks["phase 8, told to check the sensor"].value == 1.0


def test_a_loop_that_was_not_closed_meets_nothing() -> None:
    done, pairs = _story()
    done[1].after, done[1].verdicts, done[1].times_us = None, [], {"changed": 1}
    met = {name: each.met for name, each in _checks(done, pairs).items()}
    assert not met["phase 5, error after"]
    assert not met["phase 5, causes named right"]
    assert not met["phase 5, manoeuvres to the named cause"]
    assert not met["phase 5, from the change to the better model loaded"]


def test_what_is_found_where_nothing_changed_is_a_false_alarm_and_a_note_is_none() -> None:
    done, pairs = _story()
    assert figures.false_alarms(done, pairs).value == 0.0
    done[2].verdicts = [_verdict("appearance-changed", kind="change")]
    assert figures.false_alarms(done, pairs).value == 0.0
    done[1].strays = [_verdict("unnamed")]
    driven = 5  # after, again, after, the focus, the mended sensor: a manoeuvre each
    assert figures.false_alarms(done, pairs).value == pytest.approx(1000.0 / driven)


@pytest.mark.slow
def test_the_report_holds_the_table_the_checks_and_the_plots(tmp_path: Path) -> None:
    done, pairs = _story()
    checks = report.build(done, pairs, tmp_path, 12.0)
    told = json.loads((tmp_path / "report.json").read_text())
    assert len(told["checks"]) == len(checks)
    assert [row["phase"] for row in told["phases"]] == [1, 5, 6, 8]
    text = (tmp_path / "report.md").read_text()
    assert "| 5 | red floor, no human hand | 45.5 | 40.0 (42.0) | 6.2 | 4.0 (6.0) | 2.0 |" in text
    assert "the floor is red" in text
    assert told["confusion"]["covariate"] == {"covariate": 1}
    assert told["confusion"]["none"] == {"none": 1}
    assert "| concept-or-sensor | 0 | 0 | 1 | 0 | 0 |" in text
    for name in ("error", "characteristics", "causes", "loops"):
        assert (tmp_path / f"{name}.png").stat().st_size > 0


def test_every_phase_drives_scenes_that_ship_and_a_quick_run_ends_what_it_begins() -> None:
    driven = {name for each in PHASES for name in (each.floors or (each.scene,))}
    assert driven <= set(scene.shipped())
    assert [each.number for each in PHASES] == list(range(1, len(PHASES) + 1))
    quick = phases.chosen(quick=True, until=len(PHASES))
    assert {each.expected for each in quick} == {"retrain", "check-sensor", "nothing"}
    assert [each.number for each in phases.chosen(quick=False, until=3)] == [1, 2, 3]


def _kept(state: Path, *, fresh: bool = False, plan: Plan | None = None) -> list[Done]:
    wanted = phases.chosen(quick=True, until=5)
    return cli.taken_up(state, plan or Plan(), wanted, fresh=fresh).done


def test_an_interrupted_run_goes_on_and_any_other_begins_in_an_empty_folder(tmp_path: Path) -> None:
    done, _ = _story()
    wanted = phases.chosen(quick=True, until=5)
    assert _kept(tmp_path) == []
    kept = cli.Kept(plan=Plan(), phases=tuple(e.number for e in wanted), done=done[:1])
    cli.write(tmp_path, kept)
    (tmp_path / "cars").mkdir()
    assert _kept(tmp_path) == done[:1]
    assert _kept(tmp_path, plan=Plan(seed=2)) == []
    assert not (tmp_path / "cars").exists()


def test_a_folder_that_no_evaluation_made_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "photographs").mkdir()
    with pytest.raises(UsageError, match="holds no evaluation"):
        _kept(tmp_path, fresh=True)
    assert (tmp_path / "photographs").exists()


def _recording(
    folder: Path, manoeuvres: int, *, columns: str = "file,distance_mm,manoeuvre"
) -> Path:
    rows = [f"{n}-{i}.jpg,{100 * n + i},m{n}" for n in range(manoeuvres) for i in range(3)]
    (folder / "labels.csv").write_text("\n".join([columns, *rows]) + "\n")
    return folder


def test_a_recording_is_parted_by_manoeuvre_and_the_same_way_again(tmp_path: Path) -> None:
    data = _recording(tmp_path, 10)
    parts = recorded_phase.split(data, 1)
    learned, judged = ({row["manoeuvre"] for row in each} for each in (parts.learn, parts.judge))
    assert not learned & judged
    assert (len(learned), len(judged)) == (7, 3)
    assert recorded_phase.split(data, 1) == parts
    assert parts.constant_mm > 0.0


@pytest.mark.parametrize(
    ("manoeuvres", "columns", "words"),
    [(3, "file,distance_mm,manoeuvre", "at least 4"), (9, "file,metres,manoeuvre", "needed")],
)
def test_a_recording_that_cannot_be_parted_is_refused_with_the_reason(
    tmp_path: Path, manoeuvres: int, columns: str, words: str
) -> None:
    with pytest.raises(UsageError, match=words):
        recorded_phase.split(_recording(tmp_path, manoeuvres, columns=columns), 1)


@pytest.mark.slow
def test_a_recorded_model_must_say_more_than_a_constant(tmp_path: Path) -> None:
    found = {"learned": 9, "judged": 9, "range_mm": 500.0, "constant_mm": 80.0}
    done, pairs = _story()
    good = {**found, "mae_sensor_mm": 40.0}
    checks = report.build(done, pairs, tmp_path, 1.0, recorded=good)
    assert checks[-1].value == 0.5
    assert "the best constant answer 80.0 mm" in (tmp_path / "report.md").read_text()
    assert not recorded_phase.check({**found, "mae_sensor_mm": None}).met
