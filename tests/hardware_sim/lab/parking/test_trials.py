"""The tester asks a car to park, and writes down what the world knows."""

import shutil
from pathlib import Path

import pytest

from hardware_sim.lab.parking.report import Group, checks, write
from hardware_sim.lab.parking.trials import Model, Parked, park
from shared.clock import SystemClock
from shared.errors import UsageError

DATA = Path(__file__).parents[3] / "device" / "data"


@pytest.fixture
def model_file(tmp_path: Path) -> Path:
    """A model that knows no scene at all: it was made for a painted wall."""
    shutil.copy(DATA / "tiny.json", tmp_path / "manifest.json")
    shutil.copy(DATA / "tiny.tflite", tmp_path / "model.tflite")
    return tmp_path / "model.tflite"


def _parked(
    scene: str = "beige",
    *,
    stop_mm: float = 40.0,
    turned_deg: float = 0.5,
    contacts: int = 0,
    reason: str = "target",
) -> Parked:
    return Parked(
        scene=scene,
        start_mm=330.0,
        stop_mm=stop_mm,
        turned_deg=turned_deg,
        contacts=contacts,
        reason=reason,
    )


def _group(parked: list[Parked], *, is_known: bool = True, has_range_sensor: bool = True) -> Group:
    return Group(
        name="a group",
        is_known=is_known,
        has_range_sensor=has_range_sensor,
        target_mm={"beige": 40.0, "red": 40.0},
        parked=parked,
    )


@pytest.mark.slow
def test_a_model_that_knows_nothing_is_stopped_with_a_reason_and_touches_nothing(
    model_file: Path,
) -> None:
    parked = park(
        Model.load(model_file),
        ["beige", "red"],
        4,
        seed=5,
        has_range_sensor=True,
        real=SystemClock(),
    )
    assert [each.scene for each in parked] == ["beige", "beige", "red", "red"]
    assert all(each.reason for each in parked)
    assert sum(each.contacts for each in parked) == 0
    assert all(300 <= each.start_mm <= 350 for each in parked)


@pytest.mark.slow
def test_a_run_that_is_stopped_keeps_what_was_driven(model_file: Path) -> None:
    told: list[int] = []
    parked = park(
        Model.load(model_file),
        ["beige"],
        30,
        seed=1,
        has_range_sensor=True,
        real=SystemClock(),
        stop=lambda: bool(told),
        tell=told.append,
    )
    assert len(parked) == told[0] == 10


def test_a_model_and_manifest_that_do_not_belong_together_are_told(model_file: Path) -> None:
    model_file.write_bytes(b"another")
    with pytest.raises(UsageError, match="another file"):
        Model.load(model_file)
    with pytest.raises(UsageError, match="nosuch"):
        Model.load(model_file.with_name("nosuch.tflite"))
    model_file.with_name("manifest.json").write_text("{")
    with pytest.raises(UsageError, match=r"manifest\.json"):
        Model.load(model_file)


def test_known_scenes_are_judged_by_stop_and_heading() -> None:
    good = _group([_parked(stop_mm=40.0 + n % 7) for n in range(40)])
    assert [check.met for check in checks([good])] == [True, True]
    bad = _group([_parked(stop_mm=60.0, turned_deg=2.4), *good.parked[:10]])
    assert [check.met for check in checks([bad])] == [False, False]


def test_unknown_scenes_are_judged_by_contacts_and_by_how_many_moved() -> None:
    stopped = [_parked(stop_mm=180.0, reason="contradiction") for _ in range(9)]
    good = _group([*stopped, _parked(stop_mm=290.0, reason="uncertain")], is_known=False)
    assert [(check.value, check.met) for check in checks([good])] == [(0, True), (0.9, True)]
    bad = _group([_parked(contacts=1), _parked(stop_mm=300.0)], is_known=False)
    assert [check.met for check in checks([bad])] == [False, False]


def test_a_car_without_a_range_sensor_is_told_of_and_judged_by_none() -> None:
    assert checks([_group([_parked(contacts=3)], is_known=False, has_range_sensor=False)]) == []


def test_the_report_tells_every_scene_and_every_manoeuvre(tmp_path: Path) -> None:
    groups = [
        _group([_parked(), _parked("red", stop_mm=120.0, reason="contradiction")]),
        _group([_parked("red", contacts=1)], is_known=False),
    ]
    made = write(groups, "e" * 64, tmp_path, 12.0)
    assert [check.met for check in made] == [False, True, False, True]
    text = (tmp_path / "report.md").read_text()
    assert "| red | 1 | 80.0 mm |" in text
    assert "contradiction 1" in text
    assert (tmp_path / "stops.png").stat().st_size > 5_000
    assert '"manoeuvres"' in (tmp_path / "report.json").read_text()
