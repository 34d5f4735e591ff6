"""A deployment may estimate something else than a distance to a wall."""

import msgspec
import pytest
from fastapi.testclient import TestClient

from shared.task import WALL_DISTANCE, Task
from tests.fleet_server.api.conftest import Login

API = "/api/v1"

DRONE = msgspec.to_builtins(
    Task(
        name="front-distance",
        label="distance",
        unit="mm",
        low=0.0,
        high=4000.0,
        picture_width=100,
        picture_height=75,
    )
)


def test_a_deployment_takes_a_whole_task_and_tells_it(client: TestClient, login: Login) -> None:
    headers = login("operator")
    body = {"name": "hall", "task": DRONE, "reason": "a test"}
    made = client.post(f"{API}/deployments", json=body, headers=headers)
    assert made.status_code == 201
    assert made.json()["task"] == DRONE
    again = client.post(f"{API}/deployments", json={**body, "name": "yard"}, headers=headers)
    assert again.status_code == 201


@pytest.mark.parametrize(
    "wrong",
    [
        {"low": 4000.0},
        {"high": 1e12},
        {"picture_width": 5},
        {"name": "a b"},
        {"colour": "red"},
        {"name": WALL_DISTANCE.name},
    ],
)
def test_a_task_that_cannot_be_or_that_takes_anothers_name_is_refused(
    client: TestClient, login: Login, wrong: dict[str, object]
) -> None:
    headers = login("operator")
    client.post(
        f"{API}/deployments", json={"name": "garage-2", "reason": "a test"}, headers=headers
    )
    body = {"name": "hall", "task": {**DRONE, **wrong}, "reason": "a test"}
    assert client.post(f"{API}/deployments", json=body, headers=headers).status_code == 422


def test_an_unknown_tasks_name_is_refused_with_what_to_do(client: TestClient, login: Login) -> None:
    body = {"name": "hall", "task": "depth", "reason": "a test"}
    answer = client.post(f"{API}/deployments", json=body, headers=login("operator"))
    assert answer.status_code == 422
    assert "another one is given whole" in answer.json()["detail"]


def test_a_car_is_not_moved_to_another_task_whose_models_it_would_refuse(
    client: TestClient, login: Login
) -> None:
    headers = login("operator")
    body = {"name": "hall", "task": DRONE, "reason": "a test"}
    client.post(f"{API}/deployments", json=body, headers=headers)
    before = client.get(f"{API}/devices/car-1", headers=headers).json()
    answer = client.post(
        f"{API}/devices/car-1/deployment",
        json={"deployment": "hall", "reason": "a slip"},
        headers=headers,
    )
    assert answer.status_code == 422
    assert "enrol the car anew" in answer.json()["detail"]
    assert client.get(f"{API}/devices/car-1", headers=headers).json() == before
