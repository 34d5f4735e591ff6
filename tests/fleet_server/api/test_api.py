"""The REST API: rights, pages, problems, enrolment and what the lists show."""

import os
import re

import pytest
from fastapi.testclient import TestClient
from starlette.applications import Starlette

from fleet_server.api.app import create_app, create_probes
from fleet_server.api.context import Context
from fleet_server.api.limits import DEFAULT_BYTES
from fleet_server.broker import users
from fleet_server.tokens import ROLES, Role
from shared.ids import sha256_hex
from shared.messages import Batch
from shared.signing import SigningKey
from shared.task import WALL_DISTANCE
from tests.fleet_server.api.conftest import Login
from tests.fleet_server.fleet import BOOT, DEPLOYMENT, MODEL, START_US, Fleet, drive, jpeg, sample

API = "/api/v1"
PROBLEM = "application/problem+json"
OPEN = {"/health", "/ready", f"{API}/enrolments/claim", f"{API}/enrolments/rotate"}


def _routes(client: TestClient) -> list[tuple[str, str]]:
    paths = client.get("/openapi.json").json()["paths"]
    return [(method, path) for path, methods in paths.items() for method in methods]


def _filled(path: str) -> str:
    parts = {
        "device": "car-1",
        "boot": BOOT,
        "sequence": "1",
        "name": DEPLOYMENT,
        "sha256": "0" * 64,
        "number": "1",
        "attempt": "1",
        "run": "run",
    }
    return path.format(**parts)


@pytest.mark.slow
def test_every_route_but_the_open_ones_asks_for_a_token(client: TestClient) -> None:
    asked = [each for each in _routes(client) if each[1] not in OPEN]
    assert len(asked) > 25
    for method, path in asked:
        answer = client.request(method, _filled(path))
        assert (answer.status_code, path) == (401, path)
        assert answer.headers["content-type"] == PROBLEM
        assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("GET", "/devices", {"viewer", "operator", "admin"}),
        ("GET", "/decisions", {"viewer", "operator", "admin"}),
        ("GET", "/models", {"viewer", "operator", "admin", "trainer"}),
        ("POST", "/deployments", {"operator", "admin"}),
        ("POST", "/enrolments", {"operator", "admin"}),
        ("POST", "/training-jobs", {"operator", "admin"}),
        ("POST", "/training-jobs/claim", {"trainer"}),
        ("POST", "/models", {"trainer"}),
    ],
)
def test_roles_may_do_what_they_are_for(
    client: TestClient, login: Login, method: str, path: str, allowed: set[Role]
) -> None:
    for role in ROLES:
        answer = client.request(method, API + path, headers=login(role))
        assert (answer.status_code != 403) is (role in allowed), (role, answer.text)
        assert answer.status_code < 500


def test_a_wrong_token_is_no_token(client: TestClient) -> None:
    answer = client.get(f"{API}/devices", headers={"Authorization": "Bearer pf_wrong"})
    assert answer.status_code == 401


@pytest.mark.slow
def test_the_documentation_has_an_example_of_a_problem_and_no_route_without_a_summary(
    client: TestClient,
) -> None:
    document = client.get("/openapi.json").json()
    routes = [route for methods in document["paths"].values() for route in methods.values()]
    assert all(route["description"] for route in routes)
    assert PROBLEM in document["paths"][f"{API}/devices"]["get"]["responses"]["401"]["content"]


def test_the_documentation_needs_no_other_server(client: TestClient) -> None:
    page = client.get("/docs").text
    sources = re.findall(r'(?:src|href)="([^"]+)"', page)
    assert len(sources) >= 3
    for source in sources:
        assert source.startswith("/docs/assets/")
        assert client.get(source).status_code == 200


@pytest.mark.slow
def test_paths_that_are_no_route_are_problems_of_the_api_and_not_pages_of_the_console(
    context: Context,
) -> None:
    app = create_app(context)
    app.mount("/", Starlette())
    client = TestClient(app)
    for path in (f"{API}/xyz", "/api", "/api/v2/devices", f"{API}/devices/a/b/c/d"):
        answer = client.get(path)
        assert (answer.status_code, answer.headers["content-type"]) == (404, PROBLEM)
        assert path in answer.json()["detail"]
    wrong = client.delete(f"{API}/devices")
    assert (wrong.status_code, wrong.headers["content-type"]) == (405, PROBLEM)
    assert wrong.headers["allow"] == "GET"


def test_lists_come_in_pages_that_leave_nothing_out(
    fleet: Fleet, client: TestClient, login: Login
) -> None:
    for manoeuvre in range(3):
        fleet.send(drive(manoeuvre))
    headers, cursor, seen = login("viewer"), None, []
    while True:
        asked = {"limit": 7} | ({"cursor": cursor} if cursor else {})
        body = client.get(f"{API}/samples", params=asked, headers=headers).json()
        seen += [item["sequence"] for item in body["items"]]
        cursor = body["next_cursor"]
        if cursor is None:
            break
    assert seen == list(range(30))


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ({"device": "car-1"}, 20),
        ({"device": "car-2"}, 0),
        ({"deployment": DEPLOYMENT}, 20),
        ({"manoeuvre": 1}, 10),
        ({"device": "car-1", "deployment": "other"}, 0),
    ],
)
def test_samples_are_filtered(
    fleet: Fleet, client: TestClient, login: Login, query: dict[str, str | int], count: int
) -> None:
    for manoeuvre in range(2):
        fleet.send(drive(manoeuvre))
    body = client.get(f"{API}/samples", params=query, headers=login("viewer")).json()
    assert len(body["items"]) == count


@pytest.mark.parametrize("path", ["batches", "manoeuvres"])
@pytest.mark.parametrize(
    ("since_s", "until_s", "rows"),
    [
        (None, None, [0, 1, 2, 3]),
        (1, None, [1, 2, 3]),
        (None, 2, [0, 1]),
        (1, 3, [1, 2]),
        (9, None, []),
        (None, 0, []),
    ],
)
def test_what_arrived_is_listed_by_the_time_of_its_receipt(
    *,
    fleet: Fleet,
    client: TestClient,
    login: Login,
    path: str,
    since_s: int | None,
    until_s: int | None,
    rows: list[int],
) -> None:
    for manoeuvre in range(4):
        fleet.send(drive(manoeuvre))
        fleet.clock.now_us += 1_000_000
    query: dict[str, int] = {"limit": 1}
    if since_s is not None:
        query["since_utc_us"] = START_US + since_s * 1_000_000
    if until_s is not None:
        query["until_utc_us"] = START_US + until_s * 1_000_000
    seen, headers = [], login("viewer")
    while True:
        found = client.get(f"{API}/{path}", params=query, headers=headers).json()
        seen += [(each["received_utc_us"] - START_US) // 1_000_000 for each in found["items"]]
        if found["next_cursor"] is None:
            break
        query["cursor"] = found["next_cursor"]
    assert seen == rows


def test_a_manoeuvre_shows_the_error_of_its_model(
    fleet: Fleet, client: TestClient, login: Login
) -> None:
    fleet.send(drive(1, model=MODEL, error=-7.0))
    fleet.send(drive(2))
    one, two = client.get(f"{API}/manoeuvres", headers=login("viewer")).json()["items"]
    assert (one["model"], one["mae"], one["pairs"], one["pairs_stored"]) == (MODEL, 7.0, 10, 10)
    assert one["mean_label"] == pytest.approx(210.0)
    assert (two["model"], two["mae"]) == (None, None)


def test_a_picture_is_served_as_it_came(fleet: Fleet, client: TestClient, login: Login) -> None:
    fleet.send(drive(0))
    path = f"{API}/samples/car-1/{BOOT}/4/picture"
    answer = client.get(path, headers=login("viewer"))
    assert answer.content == jpeg(4)
    assert answer.headers["content-type"] == "image/jpeg"
    missing = client.get(path.replace("/4/", "/99/"), headers=login("viewer"))
    assert (missing.status_code, missing.headers["content-type"]) == (404, PROBLEM)


@pytest.mark.parametrize(
    "path",
    [
        "/samples?limit=0",
        "/samples?limit=1001",
        "/samples?cursor=-1",
        "/samples?cursor=99999999999999999999999",
        "/samples/car-1/..%2f..%2fetc/1/picture",
        "/devices/..%2f..%2fetc",
        "/devices/UPPER",
        "/models/xyz",
    ],
)
def test_malformed_requests_are_problems_not_faults(
    client: TestClient, login: Login, path: str
) -> None:
    answer = client.get(API + path, headers=login("viewer"))
    assert answer.status_code in (404, 422)
    assert answer.headers["content-type"] == PROBLEM


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"name": 1}',
        b'{"name": "../etc"}',
        b'{"name": "a", "x": 1}',
        b"[" * 9999,
    ],
)
def test_malformed_bodies_are_problems_not_faults(
    client: TestClient, login: Login, body: bytes
) -> None:
    headers = login("operator") | {"content-type": "application/json"}
    answer = client.post(f"{API}/deployments", content=body, headers=headers)
    assert answer.status_code in (400, 422)
    assert answer.headers["content-type"] == PROBLEM


def test_a_body_over_the_limit_is_refused_declared_or_not(client: TestClient, login: Login) -> None:
    giant = b"x" * (DEFAULT_BYTES + 1)
    for content in (giant, iter([giant[:1000], giant])):
        answer = client.post(f"{API}/deployments", content=content, headers=login("operator"))
        assert answer.status_code == 413
        assert answer.headers["content-type"] == PROBLEM


def test_a_car_enrols_once_with_its_code(
    fleet: Fleet, client: TestClient, login: Login, context: Context
) -> None:
    asked = {"device": "car-7", "deployment": DEPLOYMENT, "reason": "a new car"}
    made = client.post(f"{API}/enrolments", json=asked, headers=login("operator"))
    assert made.status_code == 201
    key, secret = SigningKey(os.urandom(32)), sha256_hex(b"secret")
    claim = {
        "code": made.json()["code"],
        "device": "car-7",
        "public_key": key.public.raw.hex(),
        "mqtt_secret_sha256": secret,
    }
    other = client.post(f"{API}/enrolments/claim", json=claim | {"device": "car-8"})
    assert other.status_code == 422
    answer = client.post(f"{API}/enrolments/claim", json=claim)
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert told["broker"] == {"host": "127.0.0.1", "port": 1883, "ca_pem": None}
    assert told["server_public_key"] == fleet.server_key.public.raw.hex()
    assert told["tuf_root"].encode() == context.repository.root()
    assert told["task"]["name"] == WALL_DISTANCE.name
    again = client.post(f"{API}/enrolments/claim", json=claim)
    assert (again.status_code, "used already" in again.json()["detail"]) == (422, True)
    known = users.read_users(users.users_path(fleet.state))
    assert known["car-7"].secret_sha256 == secret
    view = client.get(f"{API}/devices/car-7", headers=login("viewer")).json()
    assert (view["deployment"], view["state"]) == (DEPLOYMENT, "unconfirmed")
    assert view["fingerprint"] == key.public.fingerprint
    because = {"fingerprint": view["fingerprint"], "reason": "compared at the car"}
    client.post(f"{API}/devices/car-7/confirm", json=because, headers=login("operator"))
    fleet.keys["car-7"] = key
    reply = fleet.send(Batch(device="car-7", samples=(sample(1, device="car-7"),)))
    assert reply is not None
    assert reply.receipt.outcome == "stored"


def test_a_used_code_alarms_under_whatever_name_it_comes_again(
    client: TestClient, login: Login, caplog: pytest.LogCaptureFixture
) -> None:
    asked = {"device": "car-7", "deployment": DEPLOYMENT, "reason": "a new car"}
    code = client.post(f"{API}/enrolments", json=asked, headers=login("operator")).json()["code"]
    key = SigningKey(b"k" * 32).public.raw.hex()
    claim = {"code": code, "public_key": key, "mqtt_secret_sha256": sha256_hex(b"secret")}
    url = f"{API}/enrolments/claim"
    assert client.post(url, json=claim | {"device": "car-8"}).status_code == 422
    assert "enrolment_code_of_another_car device=car-7" in caplog.text
    assert client.post(url, json=claim | {"device": "car-7"}).status_code == 200
    for device in ("car-7", "car-8"):
        caplog.clear()
        assert client.post(url, json=claim | {"device": device}).status_code == 422
        assert "enrolment_code_used_twice device=car-7" in caplog.text
    assert code not in caplog.text


def test_an_old_code_is_refused(fleet: Fleet, client: TestClient, login: Login) -> None:
    asked = {"device": "car-7", "deployment": DEPLOYMENT, "reason": "a new car"}
    code = client.post(f"{API}/enrolments", json=asked, headers=login("operator")).json()["code"]
    fleet.clock.now_us += 901_000_000
    claim = {
        "code": code,
        "device": "car-7",
        "public_key": "0" * 64,
        "mqtt_secret_sha256": "0" * 64,
    }
    answer = client.post(f"{API}/enrolments/claim", json=claim)
    assert (answer.status_code, "expired" in answer.json()["detail"]) == (422, True)
    assert "car-7" not in users.read_users(users.users_path(fleet.state))


def test_without_a_release_repository_enrolment_says_what_to_do(
    fleet: Fleet, client: TestClient, login: Login
) -> None:
    (fleet.state / "releases" / "metadata" / "timestamp.json").unlink()
    asked = {"device": "car-7", "deployment": DEPLOYMENT, "reason": "a new car"}
    answer = client.post(f"{API}/enrolments", json=asked, headers=login("operator"))
    assert answer.status_code == 503
    assert "releases init" in answer.json()["detail"]
    assert client.get("/ready").status_code == 200


def test_a_moved_car_follows_its_new_deployment_and_the_log_book_says_why(
    client: TestClient, login: Login
) -> None:
    headers = login("operator")
    created = client.post(
        f"{API}/deployments", json={"name": "yard", "reason": "a new yard"}, headers=headers
    )
    assert created.status_code == 201
    assert created.json()["latest"] is None
    repeated = client.post(
        f"{API}/deployments", json={"name": "yard", "reason": "a new yard"}, headers=headers
    )
    assert repeated.status_code == 409
    body = {"deployment": "yard", "reason": "the garage is closed"}
    view = client.post(f"{API}/devices/car-1/deployment", json=body, headers=headers).json()
    assert (view["deployment"], view["desired_target"]) == ("yard", None)
    entry = client.get(f"{API}/decisions", headers=headers).json()["items"][-1]
    assert (entry["actor"], entry["reason"]) == ("operator", body["reason"])
    missing = body | {"deployment": "nowhere"}
    answer = client.post(f"{API}/devices/car-1/deployment", json=missing, headers=headers)
    assert answer.status_code == 422


def test_refused_messages_are_shown_with_their_reason(
    fleet: Fleet, client: TestClient, login: Login
) -> None:
    fleet.send(Batch(device="car-1", samples=(sample(1, label=1e7),)))
    (item,) = client.get(f"{API}/quarantine", headers=login("viewer")).json()["items"]
    assert "absurd" in item["reason"]


def test_refused_messages_of_one_car_are_told_from_those_of_others(
    fleet: Fleet, client: TestClient, login: Login
) -> None:
    fleet.add_car("car-2")
    for device in ("car-1", "car-2"):
        fleet.send(Batch(device=device, samples=(sample(1, device=device, label=1e7),)))
    (item,) = client.get(f"{API}/quarantine?device=car-2", headers=login("viewer")).json()["items"]
    assert item["device"] == "car-2"


def test_metrics_count_what_is_stored(
    fleet: Fleet, client: TestClient, context: Context, login: Login
) -> None:
    fleet.send(drive(0))
    context.outcomes["stored"] += 1
    lines = client.get("/metrics", headers=login("viewer")).text.splitlines()
    assert "parkfleet_pairs_stored 10.0" in lines
    assert 'parkfleet_batches_total{outcome="stored"} 1.0' in lines
    assert 'parkfleet_batches_total{outcome="over_quota"} 0.0' in lines
    assert 'parkfleet_training_jobs{state="queued"} 0.0' in lines


def test_a_server_that_cannot_reach_its_database_is_not_ready(
    fleet: Fleet, context: Context
) -> None:
    with fleet.database.write() as connection:
        connection.exec_driver_sql("DROP TABLE deployments")
    with TestClient(create_app(context)) as client:
        assert client.get("/health").status_code == 200
        assert client.get("/ready").status_code == 503


@pytest.mark.slow
def test_a_process_without_rest_answers_health_and_metrics_and_nothing_else(
    context: Context, login: Login
) -> None:
    with TestClient(create_probes(context)) as probes:
        assert probes.get("/health").json() == {"status": "ok"}
        assert probes.get("/ready").status_code == 200
        assert probes.get("/metrics").status_code == 401
        told = probes.get("/metrics", headers=login("viewer")).text
        assert "parkfleet_messages_dropped_total 0.0" in told.splitlines()
        for path in ("/", "/docs", "/openapi.json", "/api/v1/devices"):
            assert probes.get(path).status_code == 404
