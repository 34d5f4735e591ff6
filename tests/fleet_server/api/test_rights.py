"""Who may call what: every route against every role, so that none is forgotten."""

import pytest
from fastapi.routing import APIRoute
from fastapi.testclient import TestClient

from fleet_server.api.app import ROUTERS
from fleet_server.tokens import ROLES, Role
from tests.fleet_server.api.conftest import Login
from tests.fleet_server.fleet import BOOT, DEPLOYMENT

V1 = "/api/v1"
PROBLEM = "application/problem+json"

NOBODY: frozenset[Role] = frozenset()
READERS: frozenset[Role] = frozenset({"viewer", "operator", "admin"})
OPERATORS: frozenset[Role] = frozenset({"operator", "admin"})
ADMINS: frozenset[Role] = frozenset({"admin"})
TRAINERS: frozenset[Role] = frozenset({"trainer"})
ALL: frozenset[Role] = READERS | TRAINERS

SAMPLE = "/samples/{device}/{boot}/{sequence}"
JOB = "/training-jobs/{number}"

RIGHTS: dict[str, frozenset[Role]] = {
    "GET /health": NOBODY,
    "GET /ready": NOBODY,
    "GET /metrics": READERS,
    f"POST {V1}/enrolments/claim": NOBODY,
    f"POST {V1}/enrolments/rotate": NOBODY,
    f"GET {V1}/devices": READERS,
    f"GET {V1}/devices/{{device}}": READERS,
    f"GET {V1}/devices/{{device}}/events": READERS,
    f"POST {V1}/devices/{{device}}/deployment": OPERATORS,
    f"POST {V1}/devices/{{device}}/confirm": OPERATORS,
    f"POST {V1}/devices/{{device}}/revoke": OPERATORS,
    f"PUT {V1}/devices/{{device}}/labels": OPERATORS,
    f"GET {V1}/deployments": READERS,
    f"GET {V1}/deployments/{{name}}": READERS,
    f"POST {V1}/deployments": OPERATORS,
    f"PUT {V1}/deployments/{{name}}/version": OPERATORS,
    f"PUT {V1}/deployments/{{name}}/status": OPERATORS,
    f"GET {V1}/deployments/{{name}}/rollout": READERS,
    f"PUT {V1}/deployments/{{name}}/rollout": OPERATORS,
    f"GET {V1}/enrolments": READERS,
    f"POST {V1}/enrolments": OPERATORS,
    f"GET {V1}/samples": READERS,
    f"GET {V1}{SAMPLE}": READERS,
    f"GET {V1}{SAMPLE}/picture": READERS,
    f"GET {V1}{SAMPLE}/annotations": READERS,
    f"POST {V1}{SAMPLE}/annotations": OPERATORS,
    f"GET {V1}/manoeuvres": READERS,
    f"GET {V1}/batches": READERS,
    f"GET {V1}/batches/{{sha256}}": READERS,
    f"GET {V1}/quarantine": READERS,
    f"GET {V1}/quarantine/{{number}}": READERS,
    f"GET {V1}/quarantine/{{number}}/body": OPERATORS,
    f"POST {V1}/quarantine/{{number}}/replay": OPERATORS,
    f"GET {V1}/training-jobs": ALL,
    f"POST {V1}/training-jobs": OPERATORS,
    f"POST {V1}/training-jobs/{{number}}/cancel": OPERATORS,
    f"POST {V1}/training-jobs/claim": TRAINERS,
    f"GET {V1}{JOB}": ALL,
    f"GET {V1}{JOB}/events": ALL,
    f"POST {V1}{JOB}/progress": TRAINERS,
    f"POST {V1}{JOB}/fail": TRAINERS,
    f"GET {V1}{JOB}/pairs": TRAINERS,
    f"GET {V1}{JOB}/runs": ALL,
    f"POST {V1}{JOB}/runs": TRAINERS,
    f"GET {V1}{JOB}/artefacts": ALL,
    f"PUT {V1}{JOB}/artefacts/{{name}}": TRAINERS,
    f"GET {V1}{JOB}/artefacts/{{attempt}}/{{name}}": ALL,
    f"GET {V1}/models": ALL,
    f"POST {V1}/models": TRAINERS,
    f"GET {V1}/models/{{sha256}}": ALL,
    f"GET {V1}/models/{{sha256}}/file": ALL,
    f"GET {V1}/releases/{{name}}.json": ALL,
    f"GET {V1}/decisions": READERS,
    f"POST {V1}/decisions": OPERATORS,
    f"GET {V1}/decisions/{{number}}": READERS,
    f"GET {V1}/drift": READERS,
    f"GET {V1}/drift/{{number}}": READERS,
    f"POST {V1}/drift/{{number}}/approve": OPERATORS,
    f"POST {V1}/drift/{{number}}/veto": OPERATORS,
    f"GET {V1}/rollouts": READERS,
    f"GET {V1}/alerts": READERS,
    f"GET {V1}/alerts/channels": READERS,
    f"GET {V1}/alerts/{{number}}": READERS,
    f"POST {V1}/alerts/{{number}}/acknowledge": OPERATORS,
    f"GET {V1}/commands": READERS,
    f"POST {V1}/commands": OPERATORS,
    f"GET {V1}/commands/{{number}}": READERS,
    f"GET {V1}/erasures": READERS,
    f"POST {V1}/erasures": ADMINS,
    f"GET {V1}/erasures/{{number}}": READERS,
    f"GET {V1}/erasures/{{number}}/events": READERS,
    f"GET {V1}/tokens": ADMINS,
    f"POST {V1}/tokens": ADMINS,
    f"POST {V1}/tokens/{{number}}/revoke": ADMINS,
    f"GET {V1}/lineage/device/{{device}}": ALL,
    f"GET {V1}/lineage/model/{{sha256}}": ALL,
    f"GET {V1}/lineage/job/{{number}}": ALL,
    f"GET {V1}/lineage/job/{{number}}/batches": ALL,
    f"GET {V1}/lineage/job/{{number}}/samples": ALL,
    f"GET {V1}/lineage/run/{{run}}": ALL,
    f"GET {V1}/lineage/runs": ALL,
    f"GET {V1}/lineage/compare": ALL,
    f"GET {V1}/lineage/dataset/{{sha256}}": ALL,
    f"GET {V1}/lineage/sample/{{device}}/{{boot}}/{{sequence}}": ALL,
    f"GET {V1}/lineage/batch/{{sha256}}": ALL,
    f"GET {V1}/lineage/alert/{{number}}": ALL,
    f"GET {V1}/lineage/alert/{{number}}/samples": ALL,
    f"GET {V1}/lineage/decision/{{number}}": ALL,
}
"""Every route, and who may call it; nobody's token is asked for where nobody is named."""

PARTS = {
    "device": "car-1",
    "boot": BOOT,
    "sequence": "1",
    "name": DEPLOYMENT,
    "sha256": "0" * 64,
    "number": "1",
    "attempt": "1",
    "run": "run",
}


def _routes() -> set[str]:
    return {
        f"{method} {route.path_format}"
        for router in ROUTERS
        for route in router.routes
        if isinstance(route, APIRoute)
        for method in route.methods or ()
    }


@pytest.mark.slow
def test_the_table_names_every_route_and_no_other(client: TestClient) -> None:
    assert set(RIGHTS) == _routes()
    described = client.get("/openapi.json").json()["paths"]
    shown = {f"{method.upper()} {path}" for path, each in described.items() for method in each}
    assert shown == set(RIGHTS)


def test_without_a_token_every_route_but_the_open_ones_answers_401(client: TestClient) -> None:
    for route, roles in RIGHTS.items():
        method, path = route.split()
        answer = client.request(method, path.format(**PARTS))
        assert (answer.status_code == 401) is bool(roles), route
        if roles:
            assert answer.headers["content-type"] == PROBLEM
            assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.slow
@pytest.mark.parametrize("role", ROLES)
def test_a_role_may_do_what_it_is_for_and_nothing_else(
    client: TestClient, login: Login, role: Role
) -> None:
    headers = login(role)
    for route, roles in RIGHTS.items():
        if not roles:
            continue
        method, path = route.split()
        answer = client.request(method, path.format(**PARTS), headers=headers)
        assert (answer.status_code == 403) is (role not in roles), (route, answer.text)
        assert answer.status_code < 500, (route, answer.text)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "body"),
    [
        ("application/json", b"{not json"),
        ("application/json", b"[" * 100_000),
        ("multipart/form-data; boundary=x", b"no parts"),
    ],
)
def test_what_is_sent_is_not_read_before_it_is_known_who_may_send_it(
    client: TestClient, login: Login, kind: str, body: bytes
) -> None:
    nobody: dict[str, str] = {}
    for route, roles in RIGHTS.items():
        method, path = route.split()
        if method == "GET" or not roles:
            continue
        wrong: Role = "trainer" if "trainer" not in roles else "viewer"
        for headers, status in ((nobody, 401), (login(wrong), 403)):
            answer = client.request(
                method,
                path.format(**PARTS),
                content=body,
                headers=headers | {"content-type": kind},
            )
            assert answer.status_code == status, (route, answer.text)


def test_a_revoked_token_counts_no_more(client: TestClient, login: Login) -> None:
    admin = login("admin")
    made = client.post(
        f"{V1}/tokens",
        json={"name": "guest", "role": "viewer", "reason": "an audit"},
        headers=admin,
    ).json()
    guest = {"Authorization": f"Bearer {made['token']}"}
    assert client.get(f"{V1}/devices", headers=guest).status_code == 200
    revoked = client.post(
        f"{V1}/tokens/{made['id']}/revoke", json={"reason": "the audit is over"}, headers=admin
    )
    assert revoked.json()["revoked_utc_us"] is not None
    assert client.get(f"{V1}/devices", headers=guest).status_code == 401
    again = client.post(
        f"{V1}/tokens/{made['id']}/revoke", json={"reason": "once more"}, headers=admin
    )
    assert again.status_code == 404
    listed = client.get(f"{V1}/tokens", headers=admin)
    assert made["token"] not in listed.text
    kinds = [each["kind"] for each in client.get(f"{V1}/decisions", headers=admin).json()["items"]]
    assert kinds[-2:] == ["create-token", "revoke-token"]
