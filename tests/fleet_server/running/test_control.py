"""The control loop: from committed rows to a trained, promoted and watched model."""

import threading
from typing import Any

import pytest
from sqlalchemy import select

from fleet_server.reading.lineage import Lineage
from fleet_server.reading.views import DecisionView
from fleet_server.rollout import registration
from fleet_server.rollout.withdrawing import Withdrawn
from fleet_server.running.control import Control
from fleet_server.settings import ServerSettings
from fleet_server.storage.tables import desired
from fleet_server.training import jobs
from shared.messages import Batch
from shared.releases import target_path
from tests.fleet_server.fleet import DEPLOYMENT, START_US, Fleet, drive, manifest
from tests.fleet_server.rolling import load

SETTINGS = ServerSettings(
    first_training_pairs=40, retrain_pairs=30, reference_manoeuvres=5, rollout_strategy="direct"
)


@pytest.fixture
def control(fleet: Fleet) -> Control:
    return Control(fleet.database, SETTINGS, fleet.clock)


def _settle(control: Control) -> None:
    control.settle(threading.Event())


def _train(fleet: Fleet, model: bytes) -> str:
    """Do what a training worker does with the job that waits; return the model's digest."""
    with fleet.database.write() as connection:
        claim = jobs.claim(connection, worker="trainer-1", utc_us=START_US, lease_us=10**6)
        assert claim is not None
        made = manifest(model, release_seq=claim.release_seq)
        registration.register(connection, made, utc_us=START_US)
    return made.sha256


def _learned(fleet: Fleet, control: Control) -> str:
    for manoeuvre in range(4):
        fleet.send(drive(manoeuvre))
    _settle(control)
    digest = _train(fleet, b"one")
    _settle(control)
    return digest


def test_a_release_that_was_registered_late_does_not_replace_a_newer_one(
    fleet: Fleet, control: Control
) -> None:
    newer, late = manifest(b"two", release_seq=2), manifest(b"one", release_seq=1)
    for made in (newer, late):
        with fleet.database.write() as connection:
            registration.register(connection, made, utc_us=START_US)
        _settle(control)
    assert fleet.queries.deployments()[0].latest == newer.sha256


def test_enough_pairs_ask_for_the_first_model_once(fleet: Fleet, control: Control) -> None:
    for manoeuvre in range(3):
        fleet.send(drive(manoeuvre))
    _settle(control)
    assert fleet.queries.training_jobs() == ()
    fleet.send(drive(3))
    _settle(control)
    _settle(control)
    (job,) = fleet.queries.training_jobs()
    assert (job.state, job.deployment) == ("queued", DEPLOYMENT)
    decision = fleet.queries.decisions()[-1]
    assert (decision.kind, decision.actor) == ("train-first", "control")
    assert decision.evidence["pairs"] == 40
    assert job.decision == decision.id


def test_a_registered_model_becomes_latest_and_every_car_is_told(
    fleet: Fleet, control: Control
) -> None:
    digest = _learned(fleet, control)
    path = target_path("wall-distance", DEPLOYMENT, digest)
    view = fleet.queries.device("car-1")
    assert view is not None
    assert (view.desired_target, view.desired_version) == (path, 1)
    assert fleet.queries.training_jobs()[0].state == "done"
    before = fleet.queries.decisions()
    _settle(control)
    assert fleet.queries.decisions() == before
    with fleet.database.read() as connection:
        revisions = connection.scalars(select(desired.c.revision)).all()
    assert list(revisions) == [1, 2]
    assert fleet.queries.rollouts()[0].wanted == 1
    assert fleet.queries.rollouts()[0].loaded == 0


def _red(manoeuvre: int, model: str, *, pairs: int = 10, **changes: object) -> Batch:
    """Return a manoeuvre on another floor, where `model` is bad."""
    fields: dict[str, Any] = {"error": 30.0, "looks": 160.0, "pairs": pairs} | changes
    return drive(manoeuvre, model=model, **fields)


def _about(fleet: Fleet, verdict: int) -> list[DecisionView]:
    return [each for each in fleet.queries.decisions() if each.verdict == verdict]


@pytest.mark.slow
def test_a_risen_error_is_judged_once_and_retrained_when_there_is_data(
    fleet: Fleet, control: Control
) -> None:
    first = _learned(fleet, control)
    for manoeuvre in range(10, 16):
        fleet.send(drive(manoeuvre, model=first, error=5.0))
    _settle(control)
    assert fleet.queries.verdicts() == ()
    assert fleet.queries.models()[0].reference_mae == pytest.approx(5.0)
    for manoeuvre in range(20, 24):
        fleet.send(_red(manoeuvre, first, pairs=7))
    _settle(control)
    (verdict,) = fleet.queries.verdicts()
    assert (verdict.kind, verdict.cause, verdict.hurts) == ("drift", "covariate-shift", True)
    assert (verdict.device, verdict.error, verdict.normal) == ("car-1", 30.0, 5.0)
    assert verdict.evidence["reference_origin"] == "field"
    assert [each.kind for each in _about(fleet, verdict.id)] == ["collect"]
    assert len(fleet.queries.training_jobs()) == 1
    fleet.send(_red(24, first))
    _settle(control)
    _settle(control)
    assert [job.state for job in fleet.queries.training_jobs()] == ["done", "queued"]
    assert fleet.queries.decisions()[-1].verdict == verdict.id
    second = _train(fleet, b"two")
    _settle(control)
    for manoeuvre in range(30, 40):
        fleet.send(drive(manoeuvre, model=second, error=6.0))
    _settle(control)
    assert [model.version for model in fleet.queries.models()] == [1, 2]
    assert fleet.queries.deployments()[0].latest == second
    (cleared,) = fleet.queries.verdicts()
    assert cleared.cleared_utc_us is not None
    assert "version 2" in cleared.cleared_reason
    assert len(fleet.queries.training_jobs()) == 2


@pytest.mark.slow
def test_an_unfinished_manoeuvre_counts_only_after_its_time_out(
    fleet: Fleet, control: Control
) -> None:
    first = _learned(fleet, control)
    for manoeuvre in range(10, 15):
        whole = _red(manoeuvre, first)
        fleet.send(type(whole)(device="car-1", samples=whole.samples[:5]))
        fleet.send(type(whole)(device="car-1", manoeuvres=whole.manoeuvres))
    _settle(control)
    assert fleet.queries.verdicts() == ()
    fleet.clock.now_us += 61_000_000
    _settle(control)
    assert len(fleet.queries.verdicts()) == 1


def test_a_failed_training_is_repeated_after_a_pause(fleet: Fleet, control: Control) -> None:
    for manoeuvre in range(4):
        fleet.send(drive(manoeuvre))
    _settle(control)
    with fleet.database.write() as connection:
        claim = jobs.claim(connection, worker="w", utc_us=START_US, lease_us=1)
        assert claim is not None
        jobs.fail(connection, claim.id, reason="out of memory", attempt=None, utc_us=START_US)
    _settle(control)
    assert len(fleet.queries.training_jobs()) == 1
    fleet.clock.now_us += 31_000_000
    _settle(control)
    assert [job.state for job in fleet.queries.training_jobs()] == ["failed", "queued"]


def test_a_silent_workers_job_is_handed_on_and_its_late_work_refused(
    fleet: Fleet, control: Control
) -> None:
    for manoeuvre in range(4):
        fleet.send(drive(manoeuvre))
    _settle(control)
    with fleet.database.write() as connection:
        first = jobs.claim(connection, worker="a", utc_us=START_US, lease_us=1000)
        assert first is not None
        assert jobs.claim(connection, worker="b", utc_us=START_US + 1000, lease_us=1) is None
        second = jobs.claim(connection, worker="b", utc_us=START_US + 1001, lease_us=1000)
        assert second is not None
        assert second.id == first.id
        assert second.release_seq > first.release_seq
        with pytest.raises(jobs.JobError):
            jobs.held(connection, first.id, attempt=first.attempt)


def test_lineage_leads_from_a_car_to_the_data_and_forward_again(
    fleet: Fleet, control: Control
) -> None:
    digest = _learned(fleet, control)
    load(fleet, "car-1", digest)
    fleet.send(drive(50))
    found = Lineage(fleet.database).of_device("car-1")
    assert found is not None
    assert found.loaded == digest
    assert [each.model for each in found.history] == [digest]
    model = found.model
    assert model is not None
    assert model.dataset is not None
    assert (model.dataset.pairs, model.dataset.pairs_by_device) == (40, {"car-1": 40})
    assert model.decision is not None
    assert model.decision.kind == "train-first"
    assert [each.device for each in model.cars] == ["car-1"]
    assert fleet.queries.rollouts()[0].loaded == 1


def test_a_look_without_news_takes_no_write_lock(fleet: Fleet, control: Control) -> None:
    _learned(fleet, control)
    with fleet.database.write():
        assert control.look() is False


class _Rests(threading.Event):
    """Notes how long it is waited on, and is set after so many waits."""

    def __init__(self, waits: int) -> None:
        super().__init__()
        self.waits, self.rests_s = waits, list[float]()

    def wait(self, timeout: float | None = None) -> bool:
        self.rests_s.append(timeout or 0.0)
        return len(self.rests_s) > self.waits


def test_the_loop_rests_three_times_as_long_as_it_looked_and_never_less_than_it_was_told(
    fleet: Fleet,
) -> None:
    slow_s = 0.0

    def ask() -> Withdrawn:
        fleet.clock.now_us += int(slow_s * 1e6)
        return {}

    control = Control(fleet.database, SETTINGS, fleet.clock, withdrawn=ask)
    quick, slow = _Rests(1), _Rests(1)
    control.run(quick)
    slow_s = 4.0
    fleet.clock.now_us += 60_000_000
    control.run(slow)
    assert quick.rests_s == [0.5, 0.5]
    assert slow.rests_s == [0.5, 12.0]
