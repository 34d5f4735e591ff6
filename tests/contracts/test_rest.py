"""REST over every kind of store: one history made for real, and every question asked of it."""

import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from fleet_server import tokens
from fleet_server.api.app import create_app
from fleet_server.api.context import Context
from fleet_server.reading import metrics
from fleet_server.reading.metrics import Traffic
from fleet_server.releases.online import OnlineRepository
from fleet_server.releases.setup import initialise
from fleet_server.settings import ServerSettings
from fleet_server.telling import alerts
from fleet_server.telling.alerts import Cause
from fleet_server.telling.teller import Teller
from fleet_server.telling.watch import Watch
from shared.messages import Batch
from tests.contracts.conftest import Store
from tests.fleet_server.api.conftest import SETTINGS
from tests.fleet_server.api.history import DATASETS, EXPERIMENT, History, make
from tests.fleet_server.fleet import BOOT, DEPLOYMENT, START_US, Fleet, VirtualClock, sample


@pytest.fixture(scope="module")
def releases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("releases")
    initialise(
        owner_dir=folder / "owner",
        server_state=folder / "server",
        trainer_dir=folder / "trainer",
        trainer_name="trainer-1",
        task="wall-distance",
        clock=VirtualClock(),
    )
    return folder


@pytest.fixture
def history(store: Store, fleet: Fleet, releases: Path) -> Iterator[History]:
    shutil.copytree(releases / "server" / "releases", store.state / "releases")
    context = Context(
        state=store.state,
        settings=SETTINGS,
        database=fleet.database,
        repository=OnlineRepository.open(store.state, fleet.clock),
        key=fleet.server_key,
        clock=fleet.clock,
        outcomes=Counter(),
    )
    headers = {}
    with fleet.database.write() as connection:
        for role in ("trainer", "admin"):
            made = tokens.create(connection, name=role, role=role, utc_us=START_US)
            headers[role] = {"Authorization": f"Bearer {made.secret}"}
    with TestClient(create_app(context), raise_server_exceptions=False) as client:
        yield make(
            fleet, client, context, releases, trainer=headers["trainer"], reader=headers["admin"]
        )


def test_every_question_of_lineage_has_the_same_answer(history: History) -> None:
    car = history.get("lineage/device/car-2")
    assert (car["loaded"], car["model"]["run"]["run"]) == (history.models[0], "run-a")
    assert car["model"]["dataset"]["pairs_by_device"] == {"car-1": 40, "car-2": 40}
    job = history.jobs[0]
    assert [each["pairs"] for each in history.get(f"lineage/job/{job}/batches")["items"]] == [
        10
    ] * 8
    assert len(history.get(f"lineage/job/{job}/samples", limit=1000)["items"]) == 80
    forward = history.get(f"lineage/sample/car-1/{BOOT}/7")
    assert [each["model"] for each in forward["learners"]] == history.models
    batch = history.get("batches", limit=1000)["items"][0]["sha256"]
    assert [each["pairs"] for each in history.get(f"lineage/batch/{batch}")["learners"]] == [10] * 2
    (alert,) = history.get("alerts")["items"]
    assert history.get(f"lineage/alert/{alert['id']}")["answers"][0]["id"] == history.jobs[1]
    assert history.get(f"lineage/alert/{alert['id']}/samples")["items"]
    found = history.get(f"lineage/dataset/{DATASETS[1]}")
    assert [each["sha256"] for each in found["models"]] == history.models[1:]
    assert len(history.get("lineage/runs", experiment=EXPERIMENT)["items"]) == 3
    assert history.get("lineage/compare", run=["run-a", "run-b"])["same_dataset"]
    for entry in history.get("decisions")["items"]:
        assert history.get(f"lineage/decision/{entry['id']}")["decision"] == entry


_FOUND: tuple[tuple[dict[str, str | float | int], int], ...] = (
    ({"device": "car-2"}, 40),
    ({"device": "car-1", "manoeuvre": 10}, 10),
    ({"deployment": DEPLOYMENT, "label_from": 290.0}, 18),
    ({"device": "car-2", "since_utc_us": START_US + 6_500_000}, 10),
    ({"device": "car-2", "until_utc_us": START_US + 1_500_000}, 10),
    ({"labelled": False}, 0),
)
"""What is asked for, and how many pairs that is."""


def test_pairs_are_found_by_every_filter(history: History) -> None:
    for query, count in _FOUND:
        assert len(history.get("samples", **query, limit=1000)["items"]) == count, query


def test_what_people_add_and_are_told_is_kept(history: History) -> None:
    fleet, admin = history.fleet, history.reader
    path = f"/api/v1/samples/car-1/{BOOT}/7/annotations"
    body = {"kind": "note", "text": "a cat", "label": 12.5}
    assert history.client.post(path, json=body, headers=admin).status_code == 201
    assert history.get(f"samples/car-1/{BOOT}/7/annotations")["items"][0]["label"] == 12.5
    fleet.send(Batch(device="car-1", samples=(sample(998, label=1e7),)))
    (refused,) = history.get("quarantine")["items"]
    replayed = history.client.post(
        f"/api/v1/quarantine/{refused['id']}/replay", json={"reason": "again"}, headers=admin
    )
    assert replayed.json()["outcome"] == "rejected"
    (alert,) = history.get("alerts")["items"]
    seen = history.client.post(
        f"/api/v1/alerts/{alert['id']}/acknowledge", json={"reason": "seen"}, headers=admin
    )
    assert seen.json()["acknowledged_by"] == "admin"
    text = metrics.exposition(fleet.database, Counter(), Traffic()).decode()
    assert 'parkfleet_alerts_open{severity="critical"}' in text


def test_alerts_are_raised_told_and_ended(history: History) -> None:
    class Heard:
        name = "heard"

        def __init__(self) -> None:
            self.alerts: list[int] = []

        def tell(self, alert: alerts.AlertView, _utc_us: int) -> None:
            self.alerts.append(alert.id)

    fleet, way = history.fleet, Heard()
    repository = OnlineRepository.open(fleet.state, fleet.clock)
    settings = ServerSettings(car_silent_s=60.0)
    teller = Teller(
        fleet.database,
        Watch(fleet.database, repository, settings, fleet.clock),
        [way],
        fleet.clock,
    )
    fleet.clock.now_us += 120_000_000
    for _ in range(2):
        teller.turn(threading.Event())
    open_now = {each.key for each in alerts.listed(fleet.database, only_open=True)}
    assert open_now == {"car-silent/car-1", "car-silent/car-2"}
    assert len(way.alerts) == len(set(way.alerts)) == 3
    with fleet.database.write() as connection:
        cause = Cause(
            key="car-silent/car-1", kind="car-silent", severity="warning", subject="", reason=""
        )
        assert alerts.raise_alert(connection, cause, utc_us=START_US) is None
