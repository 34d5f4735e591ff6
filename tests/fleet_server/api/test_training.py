"""The queue as a training worker meets it: the worker's own client against the real application."""

import threading
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from fastapi.testclient import TestClient

from fleet_server.api.context import Context
from fleet_server.rollout import registration
from fleet_server.running.control import Control
from fleet_server.training import runs
from shared.errors import RefusedError
from shared.ids import sha256_hex
from tests.fleet_server.api.conftest import SETTINGS, Login
from tests.fleet_server.fleet import BOOT, DEPLOYMENT, Fleet, drive, jpeg, manifest
from trainer.worker import sign
from trainer.worker.client import Job, JobLostError, Server

API = "/api/v1"
BODY = b"a model" * 1000


@pytest.fixture
def worker(client: TestClient, login: Login) -> Iterator[Server]:
    token = login("trainer")["Authorization"].removeprefix("Bearer ")

    def carry(request: httpx2.Request) -> httpx2.Response:
        answer = client.request(
            request.method, str(request.url), content=request.read(), headers=request.headers.raw
        )
        return httpx2.Response(
            answer.status_code, headers=answer.headers.raw, content=answer.content
        )

    with Server("http://testserver", token, transport=httpx2.MockTransport(carry)) as made:
        yield made


@pytest.fixture
def control(fleet: Fleet) -> Control:
    return _ask_for_training(fleet)


def _ask_for_training(fleet: Fleet) -> Control:
    """Send enough pairs for a first model and let the server notice."""
    for manoeuvre in range(4):
        fleet.send(drive(manoeuvre))
    made = Control(fleet.database, SETTINGS, fleet.clock)
    made.settle(threading.Event())
    return made


def _signed(worker: Server, releases: Path, release_seq: int, fleet: Fleet) -> bytes:
    signer = sign.load_signer(releases / "trainer" / "keys" / "release.key")
    described = manifest(BODY, release_seq=release_seq)
    current = worker.role_metadata("trainer-1")
    return sign.add_release(current, signer, described, BODY, utc_us=fleet.clock.utc_us())


def test_a_worker_trains_registers_and_the_cars_are_told(
    fleet: Fleet, control: Control, worker: Server, releases: Path, context: Context
) -> None:
    job = worker.claim("trainer-1")
    assert job is not None
    assert (job.deployment, job.task.name, job.lease_s) == (DEPLOYMENT, "wall-distance", 60.0)
    assert worker.claim("trainer-1") is None
    page = worker.pairs(job, None)
    assert [pair.sample.sequence for pair in page.items] == list(range(40))
    assert page.items[5].jpeg == jpeg(5)
    assert page.next_cursor is None
    worker.progress(job, stage="fit", fraction=0.5, message="round 3")
    assert fleet.queries.training_jobs()[0].fraction == 0.5
    metadata = _signed(worker, releases, job.release_seq, fleet)
    described = manifest(BODY, release_seq=job.release_seq)
    worker.register(job, described, BODY, metadata)
    (model,) = fleet.queries.models()
    assert (model.sha256, model.version, model.job) == (sha256_hex(BODY), 1, job.id)
    assert fleet.queries.training_jobs()[0].state == "done"
    worker.register(job, described, BODY, metadata)
    assert len(fleet.queries.models()) == 1
    control.settle(threading.Event())
    assert fleet.queries.deployments()[0].latest == model.sha256
    assert context.repository.model(model.sha256) == BODY
    with pytest.raises(JobLostError):
        worker.progress(job, stage="late", fraction=1.0, message="")


def test_a_search_is_asked_for_with_the_job(
    fleet: Fleet, worker: Server, client: TestClient, login: Login
) -> None:
    assert fleet is not None
    asked = {"deployment": DEPLOYMENT, "reason": "find better settings", "trials": 4}
    made = client.post(f"{API}/training-jobs", json=asked, headers=login("operator"))
    assert made.json()["trials"] == 4
    job = worker.claim("trainer-1")
    assert job is not None
    assert job.trials == 4
    refused = client.post(
        f"{API}/training-jobs", json={**asked, "trials": 1001}, headers=login("operator")
    )
    assert refused.status_code == 422


def test_a_worker_finds_what_is_in_service_and_which_runs_were_told(
    fleet: Fleet, control: Control, worker: Server, releases: Path
) -> None:
    job = worker.claim("trainer-1")
    assert job is not None
    assert worker.in_service(DEPLOYMENT) is None
    record = {"run": "run-1", "experiment": "wall-distance", "dataset_sha256": "0" * 64}
    assert not worker.knows_run(job, "run-1")
    worker.tell_run(job, record)
    assert worker.knows_run(job, "run-1")
    metadata = _signed(worker, releases, job.release_seq, fleet)
    worker.register(job, manifest(BODY, release_seq=job.release_seq), BODY, metadata)
    control.settle(threading.Event())
    found = worker.in_service(DEPLOYMENT)
    assert found is not None
    assert (found[0].sha256, found[1]) == (sha256_hex(BODY), BODY)


def test_a_worker_hands_in_its_run_and_files_once_and_only_while_it_holds_the_job(
    fleet: Fleet, control: Control, worker: Server, client: TestClient, login: Login
) -> None:
    assert control is not None
    job = worker.claim("trainer-1")
    assert job is not None
    record = {"run": "run-1", "experiment": "wall-distance", "dataset_sha256": "0" * 64}
    for _ in range(2):
        worker.tell_run(job, record)
        worker.put_file(job, "rounds.json", b"[]")
    with pytest.raises(JobLostError, match="otherwise"):
        worker.tell_run(job, record | {"metrics": {"mae": 1.0}})
    with pytest.raises(JobLostError, match="another file"):
        worker.put_file(job, "rounds.json", b"[1]")
    path = f"{API}/training-jobs/{job.id}"
    (file,) = client.get(f"{path}/artefacts", headers=login("viewer")).json()["items"]
    assert (file["name"], file["sha256"]) == ("rounds.json", sha256_hex(b"[]"))
    (run,) = client.get(f"{path}/runs", headers=login("viewer")).json()["items"]
    assert (run["run"], run["attempt"], run["deployment"]) == ("run-1", 1, DEPLOYMENT)
    fleet.clock.now_us += 61_000_000
    handed_on = worker.claim("trainer-2")
    assert handed_on is not None
    with pytest.raises(JobLostError):
        worker.put_file(job, "late.json", b"[]")
    worker.put_file(handed_on, "rounds.json", b"[2]")


def test_a_model_that_a_gate_refused_is_known_with_its_reason_and_goes_nowhere(
    fleet: Fleet, control: Control, worker: Server, client: TestClient, login: Login
) -> None:
    assert control is not None
    job = worker.claim("trainer-1")
    assert job is not None
    told = {
        "run": "run-1",
        "experiment": "wall-distance",
        "dataset_sha256": "0" * 64,
        "model": sha256_hex(BODY),
        "refusal": "size: 3000000 bytes, at most 2097152; golden: missing",
    }
    worker.tell_run(job, told)
    worker.fail(job, f"refused by its gates: {told['refusal']}")
    for path in (f"training-jobs/{job.id}/runs", "lineage/runs?experiment=wall-distance"):
        (run,) = client.get(f"{API}/{path}", headers=login("viewer")).json()["items"]
        assert (run["model"], run["refusal"]) == (told["model"], told["refusal"])
    ended = client.get(f"{API}/training-jobs/{job.id}", headers=login("viewer")).json()
    assert (ended["state"], ended["model"]) == ("failed", None)
    assert ended["message"] == f"refused by its gates: {told['refusal']}"
    assert fleet.queries.models() == ()


def test_a_worker_hands_in_no_more_files_than_the_server_keeps(
    control: Control, worker: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert control is not None
    monkeypatch.setattr(runs, "MAX_ARTEFACTS", 2)
    job = worker.claim("trainer-1")
    assert job is not None
    for name in ("a", "b", "a"):
        worker.put_file(job, name, b"")
    with pytest.raises(JobLostError, match="which is the most"):
        worker.put_file(job, "c", b"")
    with pytest.raises(RefusedError, match="413"):
        worker.put_file(job, "d", b"x" * (runs.MAX_ARTEFACT_BYTES + 1))


def test_a_job_that_silences_its_workers_again_and_again_ends_as_failed(
    fleet: Fleet, control: Control, worker: Server
) -> None:
    for attempt in range(1, 4):
        job = worker.claim(f"trainer-{attempt}")
        assert job is not None
        assert job.attempt == attempt
        worker.progress(job, stage="fit", fraction=0.5, message="")
        fleet.clock.now_us += 61_000_000
    assert worker.claim("trainer-4") is None
    control.settle(threading.Event())
    ended = fleet.queries.training_jobs()[0]
    assert ended.state == "failed"
    assert ended.message == "its worker fell silent 3 times, trainer-3 last, in 'fit'"


def test_pairs_come_in_pages_up_to_the_cut(fleet: Fleet, control: Control, worker: Server) -> None:
    for manoeuvre in range(10, 40):
        fleet.send(drive(manoeuvre))
    control.settle(threading.Event())
    assert len(fleet.queries.training_jobs()) == 1
    job = worker.claim("trainer-1")
    assert job is not None
    fleet.send(drive(90))
    seen: list[int] = []
    cursor = None
    while True:
        page = worker.pairs(job, cursor)
        seen += [pair.sample.sequence for pair in page.items]
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == [*range(40), *range(100, 400)]


def test_a_model_of_another_release_than_promised_is_refused(
    fleet: Fleet, control: Control, worker: Server, releases: Path
) -> None:
    assert control is not None
    job = worker.claim("trainer-1")
    assert job is not None
    metadata = _signed(worker, releases, 9, fleet)
    with pytest.raises(JobLostError, match="release"):
        worker.register(job, manifest(BODY, release_seq=9), BODY, metadata)
    assert fleet.queries.models() == ()


def test_a_model_whose_metadata_nobody_signed_is_refused_and_changes_nothing(
    fleet: Fleet, control: Control, worker: Server, context: Context
) -> None:
    assert control is not None
    job = worker.claim("trainer-1")
    assert job is not None
    before = context.repository.metadata_files()
    with pytest.raises(RefusedError):
        worker.register(job, manifest(BODY, release_seq=job.release_seq), BODY, b"{}")
    assert fleet.queries.models() == ()
    assert context.repository.metadata_files() == before
    worker.fail(job, "the signature was refused")
    assert fleet.queries.training_jobs()[0].state == "failed"


def test_a_kill_between_release_and_registration_is_finished_at_the_next_start(
    fleet: Fleet, control: Control, worker: Server, releases: Path, context: Context
) -> None:
    assert control is not None
    job = worker.claim("trainer-1")
    assert job is not None
    metadata = _signed(worker, releases, job.release_seq, fleet)
    context.repository.accept(role="trainer-1", role_metadata=metadata, model=BODY)
    assert fleet.queries.models() == ()
    for _ in range(2):
        registration.reconcile(fleet.database, context.repository, fleet.clock)
    (model,) = fleet.queries.models()
    assert (model.sha256, model.job) == (sha256_hex(BODY), job.id)
    assert fleet.queries.training_jobs()[0].state == "done"


def test_a_cancelled_job_is_lost_to_its_worker_and_ends_once(
    client: TestClient, login: Login, fleet: Fleet, control: Control, worker: Server
) -> None:
    job = worker.claim("trainer-1")
    assert job is not None
    path, why = f"{API}/training-jobs/{job.id}/cancel", {"reason": "a wrong floor"}
    cancelled = client.post(path, json=why, headers=login("operator"))

    assert cancelled.json()["state"] == "cancelled"
    assert cancelled.json()["message"] == "cancelled by operator: a wrong floor"
    with pytest.raises(JobLostError):
        worker.progress(job, stage="fit", fraction=0.5, message="")
    assert client.post(path, json=why, headers=login("operator")).status_code == 409
    assert fleet.queries.decisions(newest=True)[-1].kind == "cancel-training"
    control.settle(threading.Event())
    assert [each.state for each in fleet.queries.training_jobs()] == ["cancelled"]


def _sequences(worker: Server, job: Job) -> set[int]:
    return {pair.sample.sequence for pair in worker.pairs(job, None).items}


def test_what_a_person_called_bad_is_handed_to_no_later_job(
    client: TestClient, login: Login, fleet: Fleet, worker: Server
) -> None:
    path = f"{API}/samples/car-1/{BOOT}"
    for sequence, kind in ((1, "bad-picture"), (2, "wrong-label"), (3, "note")):
        body = {"kind": kind, "text": "a hand", "label": None}
        for manoeuvre in range(4) if sequence == 1 else ():
            fleet.send(drive(manoeuvre))
        answer = client.post(f"{path}/{sequence}/annotations", json=body, headers=login("operator"))
        assert answer.status_code == 201
    fleet.clock.now_us += 1
    Control(fleet.database, SETTINGS, fleet.clock).settle(threading.Event())
    ask = {"deployment": DEPLOYMENT, "reason": "all the rest"}
    asked = client.post(f"{API}/training-jobs", json=ask, headers=login("operator"))
    assert asked.status_code == 201
    job = worker.claim("trainer-1")
    assert job is not None

    learned = _sequences(worker, job)
    assert learned == set(range(40)) - {1, 2}
    later = {"kind": "bad-picture", "text": "too late", "label": None}
    client.post(f"{path}/5/annotations", json=later, headers=login("operator"))
    assert _sequences(worker, job) == learned


def test_an_operator_asks_for_a_training_and_no_second_one(
    fleet: Fleet, client: TestClient, login: Login
) -> None:
    headers = login("operator")
    body = {"deployment": DEPLOYMENT, "reason": "a new camera"}
    made = client.post(f"{API}/training-jobs", json=body, headers=headers)
    assert (made.status_code, made.json()["state"]) == (201, "queued")
    assert client.post(f"{API}/training-jobs", json=body, headers=headers).status_code == 409
    entry = fleet.queries.decisions()[-1]
    assert (entry.kind, entry.actor, entry.reason) == ("train-by-hand", "operator", "a new camera")


@pytest.mark.slow
def test_the_file_and_lineage_of_a_model_are_served(
    fleet: Fleet, worker: Server, releases: Path, client: TestClient, login: Login
) -> None:
    _ask_for_training(fleet)
    job = worker.claim("trainer-1")
    assert job is not None
    metadata = _signed(worker, releases, job.release_seq, fleet)
    worker.register(job, manifest(BODY, release_seq=job.release_seq), BODY, metadata)
    headers, digest = login("viewer"), sha256_hex(BODY)
    assert client.get(f"{API}/models/{digest}/file", headers=headers).content == BODY
    found = client.get(f"{API}/lineage/model/{digest}", headers=headers).json()
    assert found["dataset"]["pairs_by_device"] == {"car-1": 40}
    assert found["decision"]["kind"] == "train-first"
    assert client.get(f"{API}/lineage/model/{'0' * 64}", headers=headers).status_code == 404
    car = client.get(f"{API}/lineage/device/car-1", headers=headers).json()
    assert (car["loaded"], car["model"]) == (None, None)
