"""A fleet's history, made for real: two cars, two models, an error that rose, an alert, an answer.

Everything goes the way it goes in the field: cars send signed batches, the control loop decides, a
worker claims, tells of its runs, hands in files and a signed model over REST, the cars report what
they loaded.
"""

import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from fleet_server.api.context import Context
from fleet_server.cars.twin import Twin
from fleet_server.releases.online import OnlineRepository
from fleet_server.running.control import Control
from fleet_server.telling.watch import Watch
from shared import codec
from shared.ids import sha256_hex
from shared.topics import STATUS
from tests.fleet_server.api.conftest import SETTINGS
from tests.fleet_server.fleet import Fleet, drive, manifest, status
from trainer.worker import sign

API = "/api/v1"
EXPERIMENT = "wall-distance"


@dataclass
class History:
    """What happened, and the client to ask about it; digests of models in order of versions."""

    fleet: Fleet
    client: TestClient
    trainer: dict[str, str]
    reader: dict[str, str]
    releases: Path
    models: list[str] = field(default_factory=list)
    jobs: list[int] = field(default_factory=list)

    def get(self, path: str, **query: Any) -> Any:
        """Return the answer to one call."""
        answer = self.client.get(f"{API}/{path}", params=query, headers=self.reader)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def work(self, model: bytes, *, runs: dict[str, dict[str, str]], dataset: str) -> None:
        """Do what a training worker does with the job that waits; the first of `runs` is best."""
        claim = self._post("training-jobs/claim", {"worker": "trainer-1"})
        job, attempt = claim["id"], claim["attempt"]
        for name, parameters in runs.items():
            self._post(
                f"training-jobs/{job}/runs", _record(name, attempt, parameters, dataset, model)
            )
        best = next(iter(runs))
        answer = self.client.put(
            f"{API}/training-jobs/{job}/artefacts/evaluation.json",
            params={"attempt": attempt},
            content=b'{"mae": 4.0}',
            headers=self.trainer | {"content-type": "application/octet-stream"},
        )
        assert answer.status_code == 200, answer.text
        described = manifest(
            model, release_seq=claim["release_seq"], run_id=best, dataset_sha256=dataset
        )
        signer = sign.load_signer(self.releases / "trainer" / "keys" / "release.key")
        current = self.client.get(f"{API}/releases/trainer-1.json", headers=self.trainer).content
        signed = sign.add_release(
            current, signer, described, model, utc_us=self.fleet.clock.utc_us()
        )
        files = {
            "manifest": ("manifest.json", described.to_json().encode()),
            "model": ("model.tflite", model),
            "role_metadata": ("role.json", signed),
        }
        answer = self.client.post(
            f"{API}/models", files=files, data={"job": str(job)}, headers=self.trainer
        )
        assert answer.status_code == 201, answer.text
        self.models.append(described.sha256)
        self.jobs.append(job)

    def load(self, device: str, release_seq: int) -> None:
        """Let a car report that it runs the newest model."""
        said = status(device, utc_us=0, loaded=self.models[-1], loaded_release_seq=release_seq)
        Twin(self.fleet.database, self.fleet.clock).take(STATUS, device, codec.encode(said))

    def _post(self, path: str, body: dict[str, Any]) -> Any:
        answer = self.client.post(f"{API}/{path}", json=body, headers=self.trainer)
        assert answer.is_success, answer.text
        return answer.json()


def _record(
    run: str, attempt: int, parameters: dict[str, str], dataset: str, model: bytes
) -> dict[str, Any]:
    split, rounds = sha256_hex(f"split {run}".encode()), sha256_hex(f"rounds {run}".encode())
    return {
        "run": run,
        "experiment": EXPERIMENT,
        "attempt": attempt,
        "dataset_sha256": dataset,
        "parameters": parameters,
        "metrics": {"test_mae": 4.0 + float(parameters["dropout"])},
        "versions": {"source": "0.1.0", "python": "3.11"},
        "steps": [
            {
                "name": "split",
                "inputs": {"dataset": dataset},
                "outputs": {"split.json": split},
                "parameters": {"seed": "7"},
                "seconds": 0.1,
            },
            {
                "name": "fit",
                "inputs": {"split.json": split},
                "outputs": {"rounds.json": rounds},
                "parameters": parameters,
                "seconds": 9.5,
            },
            {
                "name": "quantise",
                "inputs": {"rounds.json": rounds},
                "outputs": {"model.tflite": sha256_hex(model)},
                "parameters": {},
                "seconds": 1.5,
            },
        ],
    }


DATASETS = (sha256_hex(b"pairs of the beige floor"), sha256_hex(b"pairs of both floors"))


def make(
    fleet: Fleet,
    client: TestClient,
    context: Context,
    releases: Path,
    *,
    trainer: dict[str, str],
    reader: dict[str, str],
) -> History:
    """Let it all happen."""
    made = History(fleet, client, trainer, reader, releases)
    control = Control(fleet.database, SETTINGS, fleet.clock)
    fleet.add_car("car-2")
    for manoeuvre in range(4):
        for car in ("car-1", "car-2"):
            fleet.send(drive(manoeuvre, device=car))
            fleet.clock.now_us += 1_000_000
    _settle(control)
    made.work(
        b"one",
        runs={
            "run-a": {"dropout": "0.1", "batch": "32"},
            "run-b": {"dropout": "0.2", "batch": "32"},
        },
        dataset=DATASETS[0],
    )
    _settle(control)
    for car in ("car-1", "car-2"):
        made.load(car, 1)
    for manoeuvre in range(10, 16):
        fleet.send(drive(manoeuvre, model=made.models[0], error=5.0))
        fleet.clock.now_us += 1_000_000
    _settle(control)
    for manoeuvre in range(20, 24):
        fleet.send(drive(manoeuvre, model=made.models[0], error=40.0, looks=160.0))
        fleet.clock.now_us += 1_000_000
    _settle(control)
    repository = OnlineRepository.open(context.state, fleet.clock)
    Watch(fleet.database, repository, SETTINGS, fleet.clock).look()
    made.work(b"two", runs={"run-c": {"dropout": "0.1", "batch": "128"}}, dataset=DATASETS[1])
    _settle(control)
    made.load("car-1", 2)
    return made


def _settle(control: Control) -> None:
    control.settle(threading.Event())
