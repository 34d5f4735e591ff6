"""A fleet over the model server in memory: real agents, real journals, no pair lost or doubled."""

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from hardware_sim.fleet_sim.fleets import Plan, Report, Watch
from hardware_sim.fleet_sim.memory import in_memory
from shared.clock import SystemClock
from shared.errors import UsageError

pytestmark = pytest.mark.slow

DATA = Path(__file__).parent.parent.parent / "device" / "data"
SMALL = Plan(cars=6, every_s=60.0, for_s=120.0, seed=3)


def _run(plan: Plan = SMALL, model: Path | None = None, watch: Watch | None = None) -> Report:
    return in_memory(plan, real=SystemClock(), model=model, watch=watch or Watch())


@pytest.fixture
def model(tmp_path: Path) -> Path:
    shutil.copy(DATA / "tiny.json", tmp_path / "manifest.json")
    shutil.copy(DATA / "tiny.tflite", tmp_path / "model.tflite")
    return tmp_path / "model.tflite"


def test_every_car_drives_as_often_as_planned_and_every_pair_arrives_once() -> None:
    done = _run().outcome
    assert (done.manoeuvres, done.trips) == (12, 12)
    assert done.pairs == done.stored > 12 * 15
    assert (done.lost, done.doubled, done.waiting, done.rejected) == (0, 0, 0, 0)
    assert done.virtual_s > 60


def test_where_half_of_all_messages_get_lost_still_no_pair_is_lost_or_doubled() -> None:
    report = _run(replace(SMALL, loss=0.5))
    done = report.outcome
    assert done.messages_lost > 20
    assert report.server["rows_repeated"] > 0
    assert (done.lost, done.doubled) == (0, 0)
    assert done.stored == done.pairs - done.waiting


def test_a_model_reaches_every_car_through_signed_metadata_and_a_probe(model: Path) -> None:
    report = _run(replace(SMALL, for_s=180.0), model)
    assert report.server["models_loaded"] == 6
    assert report.outcome.lost == 0


def test_the_same_plan_gives_the_same_fleet() -> None:
    plan = replace(SMALL, loss=0.2)
    first, second = _run(plan).outcome, _run(plan).outcome
    same = replace(second, real_s=first.real_s, rate=first.rate)
    assert same == first


def test_a_run_that_is_stopped_leaves_what_was_not_sent_in_the_journals() -> None:
    told: list[int] = []
    watch = Watch(stop=lambda: max(told, default=0) >= 3, tell=told.append)
    done = _run(watch=watch).outcome
    assert 3 <= done.manoeuvres < 12
    assert done.stored == done.pairs - done.waiting
    assert (done.lost, done.doubled) == (0, 0)


@pytest.mark.parametrize(
    ("file", "named"),
    [("nosuch.tflite", r"nosuch\.tflite"), ("other.tflite", "describes another file")],
)
def test_a_model_that_cannot_be_used_is_named(model: Path, file: str, named: str) -> None:
    (model.parent / "other.tflite").write_bytes(b"another model")
    with pytest.raises(UsageError, match=named):
        _run(model=model.parent / file)


def test_a_model_without_its_manifest_is_named(tmp_path: Path) -> None:
    (tmp_path / "model.tflite").write_bytes(b"model")
    with pytest.raises(UsageError, match=r"manifest\.json"):
        _run(model=tmp_path / "model.tflite")
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(UsageError, match=r"manifest\.json"):
        _run(model=tmp_path / "model.tflite")
