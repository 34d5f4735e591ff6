"""From stored manoeuvres to verdicts, decisions and what is learned: the wiring, step by step."""

import threading
from pathlib import Path

import msgspec
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import func, select

from fleet_server.api.app import create_app
from fleet_server.drift import statistics
from fleet_server.drift.reference import Reference, build
from fleet_server.erasure import erasure
from fleet_server.erasure.erasure import Request
from fleet_server.reading import descent
from fleet_server.reading.lineage import Lineage
from fleet_server.reading.views import DecisionView, VerdictView
from fleet_server.rollout import registration
from fleet_server.running.control import Control
from fleet_server.settings import ServerSettings
from fleet_server.storage import drift_store, trust
from fleet_server.storage.drift_tables import (
    distrusts,
    drift_cursors,
    drift_summaries,
    drift_tracks,
)
from fleet_server.storage.tables import training_jobs
from fleet_server.training import jobs, pairs, runs, watching
from shared.ids import SampleKey
from tests.fleet_server.api.conftest import context_of, headers_of
from tests.fleet_server.fleet import BOOT, DEPLOYMENT, START_US, Fleet, drive, manifest

SETTINGS = ServerSettings(retrain_pairs=30, reference_manoeuvres=8)
MADE = manifest(b"one")


def _settle(fleet: Fleet, settings: ServerSettings = SETTINGS) -> None:
    Control(fleet.database, settings, fleet.clock).settle(threading.Event())


def _drive(
    fleet: Fleet, first: int, count: int, *, error: float = 4.0, looks: float = 100.0
) -> None:
    for manoeuvre in range(first, first + count):
        fleet.send(drive(manoeuvre, model=MADE.sha256, error=error, looks=looks))


@pytest.fixture
def watched(fleet: Fleet) -> Fleet:
    """Return a fleet whose car has driven its reference with a registered model."""
    with fleet.database.write() as connection:
        registration.register(connection, MADE, utc_us=START_US)
    _drive(fleet, 0, 10)
    _settle(fleet)
    assert fleet.queries.verdicts() == ()
    return fleet


def _verdict(fleet: Fleet) -> VerdictView:
    (found,) = fleet.queries.verdicts()
    return found


def _about(fleet: Fleet, verdict: int) -> list[DecisionView]:
    return [each for each in fleet.queries.decisions() if each.verdict == verdict]


def test_every_manoeuvre_is_summarised_once_and_the_cursor_follows(watched: Fleet) -> None:
    _settle(watched)
    with watched.database.read() as connection:
        assert connection.scalar(select(func.count()).select_from(drift_summaries)) == 10
        assert connection.scalar(select(drift_cursors.c.manoeuvre)) == 10
        (first,) = drift_store.recall(connection, [1])
    assert first.samples == 10
    assert first.errors.mean == pytest.approx(4.0)
    assert watched.queries.models()[0].reference_mae == pytest.approx(4.0)


def test_a_constant_offset_of_the_sensor_ends_in_check_the_sensor(watched: Fleet) -> None:
    _drive(watched, 20, 12, error=-15.0)
    _settle(watched)
    verdict = _verdict(watched)
    assert (verdict.cause, verdict.hurts) == ("concept-or-sensor", True)
    assert [each.kind for each in _about(watched, verdict.id)] == ["check-sensor"]
    assert watched.queries.training_jobs() == ()


def _learned(fleet: Fleet) -> int:
    """Claim the job that waits and count the pairs that it is handed."""
    with fleet.database.write() as connection:
        claimed = jobs.claim(connection, worker="w", utc_us=START_US, lease_us=1)
        assert claimed is not None
        job = connection.execute(select(training_jobs).filter_by(id=claimed.id)).one()
        body = pairs.page(connection, job, objects=None, after=0)
    return len(msgspec.msgpack.decode(body)["items"])


def _ask(fleet: Fleet) -> None:
    with fleet.database.write() as connection:
        jobs.open_job(
            connection,
            deployment=DEPLOYMENT,
            reason="by hand",
            decision=1,
            verdict=None,
            utc_us=START_US,
        )


def test_labels_of_a_suspected_sensor_are_learned_by_no_job(watched: Fleet) -> None:
    _drive(watched, 20, 12, error=-15.0)
    _settle(watched)
    _ask(watched)
    assert _learned(watched) == 100
    with watched.database.read() as connection:
        (row,) = connection.execute(select(distrusts)).all()
    assert (row.device, row.since_sample, row.until_sample) == ("car-1", 101, None)


def test_lineage_names_as_learned_what_was_handed_out_and_nothing_else(watched: Fleet) -> None:
    _drive(watched, 20, 12, error=-15.0)
    _settle(watched)
    _ask(watched)
    _learned(watched)
    job = Lineage(watched.database).of_job(1)
    assert job is not None
    assert job.dataset is not None
    assert job.dataset.pairs == 100
    assert len(descent.pairs_of(watched.database, 1, limit=1000).items) == 100
    shares, _ = descent.batches_of(watched.database, 1)
    assert sum(each.pairs for each in shares) == 100
    for sequence, learners in ((5, 1), (205, 0)):
        found = descent.of_sample(watched.database, SampleKey("car-1", BOOT, sequence))
        assert found is not None
        assert len(found.learners) == learners


def test_a_sensor_that_a_person_trusts_is_learned_from_by_later_jobs_only(watched: Fleet) -> None:
    _drive(watched, 20, 12, error=-15.0)
    _settle(watched)
    _ask(watched)
    assert _learned(watched) == 100
    with watched.database.write() as connection:
        trust.lift(connection, _verdict(watched).id)
        jobs.fail(connection, 1, reason="stopped", attempt=None, utc_us=START_US)
    _ask(watched)
    assert _learned(watched) == 220
    first = Lineage(watched.database).of_job(1)
    assert first is not None
    assert first.dataset is not None
    assert first.dataset.pairs == 100


def test_another_car_is_learned_from_all_the_same(watched: Fleet) -> None:
    watched.add_car("car-2")
    _drive(watched, 20, 12, error=-15.0)
    _settle(watched)
    watched.send(drive(0, device="car-2"))
    _ask(watched)
    assert _learned(watched) == 110


@pytest.mark.slow
def test_what_does_not_hurt_is_noted_and_trains_nothing(watched: Fleet) -> None:
    _drive(watched, 20, 60, looks=140.0)
    _settle(watched)
    verdict = _verdict(watched)
    assert (verdict.kind, verdict.cause, verdict.hurts) == ("change", "appearance-changed", False)
    assert verdict.cleared_utc_us is not None
    assert watched.queries.training_jobs() == ()


def test_a_verdict_that_is_over_is_cleared_and_the_sensor_trusted_again(watched: Fleet) -> None:
    _drive(watched, 20, 8, error=-15.0)
    _drive(watched, 40, 9)
    _settle(watched)
    assert _verdict(watched).cleared_reason.startswith("it is over")
    _drive(watched, 60, 1)
    _ask(watched)
    with watched.database.read() as connection:
        (row,) = connection.execute(select(distrusts)).all()
    assert row.until_sample is not None
    assert _learned(watched) == 110


@pytest.mark.slow
def test_a_model_of_no_deployment_here_is_watched_by_nobody(fleet: Fleet) -> None:
    _drive(fleet, 0, 30, error=90.0)
    _settle(fleet)
    assert fleet.queries.verdicts() == ()


def test_a_second_look_at_the_same_rows_finds_nothing_new(watched: Fleet) -> None:
    _drive(watched, 20, 10, error=30.0, looks=160.0)
    _settle(watched)
    before = watched.queries.verdicts(), watched.queries.decisions()
    _settle(watched)
    assert (watched.queries.verdicts(), watched.queries.decisions()) == before
    assert [each.kind for each in _about(watched, _verdict(watched).id)][-1] == "retrain"


@pytest.mark.slow
def test_what_was_made_of_erased_manoeuvres_is_forgotten_with_them(watched: Fleet) -> None:
    _drive(watched, 20, 10, error=-15.0)
    _settle(watched)
    request = Request(actor="anna", reason="asked by the owner", device="car-1")
    erasure.erase(watched.database, request, watched.clock)
    with watched.database.read() as connection:
        for table in (drift_summaries, drift_tracks):
            assert connection.scalar(select(func.count()).select_from(table)) == 0


def test_references_that_were_built_of_erased_manoeuvres_are_built_anew(watched: Fleet) -> None:
    rules = watching.rules(SETTINGS)
    with watched.database.read() as connection:
        assert watching.judge(connection, DEPLOYMENT, START_US, rules) is None
    first = rules.built.get((1, 2), lambda: _reference(watched, [1, 2]))
    assert rules.built.get((1, 2), lambda: _reference(watched, [])) is first
    request = Request(actor="anna", reason="asked by the owner", device="car-1")
    erasure.erase(watched.database, request, watched.clock)
    with watched.database.read() as connection:
        watching.judge(connection, DEPLOYMENT, START_US, rules)
    assert rules.built.get((1, 2), lambda: _reference(watched, [])).manoeuvres == 0


def _reference(fleet: Fleet, numbers: list[int]) -> Reference:
    with fleet.database.read() as connection:
        return build(drift_store.recall(connection, numbers), 4.0)


def test_what_was_normal_is_kept_with_the_run_of_a_model(watched: Fleet) -> None:
    _ask(watched)
    with watched.database.write() as connection:
        claimed = jobs.claim(connection, worker="w", utc_us=START_US, lease_us=1)
        assert claimed is not None
        newer = manifest(b"two", release_seq=claimed.release_seq)
        registration.register(connection, newer, utc_us=START_US)
    watched.send(drive(20, model=newer.sha256, error=4.0))
    watched.send(drive(21, model=newer.sha256, error=4.0))
    _settle(watched)
    with watched.database.read() as connection:
        (kept,) = runs.files(connection, claimed.id)
        body = runs.content(connection, claimed.id, claimed.attempt, statistics.FILE).body
    assert kept.name == statistics.FILE
    found = msgspec.json.decode(body, type=statistics.Statistics)
    assert (found.unit, found.manoeuvres) == ("mm", 10)
    assert (found.smallest, found.largest) == (120.0, 300.0)
    assert found.by_label[0].mean["brightness"] == pytest.approx(100.0, abs=5.0)
    assert found.by_label[0].error == pytest.approx(4.0)


def test_a_car_that_is_moved_leaves_its_verdicts_behind_and_its_labels_untrusted(
    watched: Fleet, releases: Path
) -> None:
    _drive(watched, 20, 12, error=-15.0)
    _settle(watched)
    headers = headers_of(watched, "operator")
    with TestClient(create_app(context_of(watched, releases)), headers=headers) as client:
        hall = {"name": "hall", "reason": "the camera was mounted anew"}
        assert client.post("/api/v1/deployments", json=hall).status_code == 201
        moved = {"deployment": "hall", "reason": "the camera was mounted anew"}
        assert client.post("/api/v1/devices/car-1/deployment", json=moved).status_code == 200
    assert _verdict(watched).cleared_reason == "car-1 was moved to hall"
    _ask(watched)
    assert _learned(watched) == 100
    with watched.database.read() as connection:
        (row,) = connection.execute(select(distrusts)).all()
    assert (row.since_sample, row.until_sample) == (101, 220)
