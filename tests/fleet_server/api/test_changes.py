"""What operators may change: each change works, asks why, and is in the log book afterwards."""

import threading
from typing import Any

import msgspec
import pytest
from fastapi.testclient import TestClient
from sqlalchemy import insert

from fleet_server.api.bodies import Body
from fleet_server.api.context import Context
from fleet_server.erasure import erasing
from fleet_server.rollout import registration
from fleet_server.running.control import Control
from fleet_server.storage import trust
from fleet_server.storage.drift_tables import verdicts
from fleet_server.storage.tables import deployments
from fleet_server.telling import alerts
from fleet_server.telling.alerts import Cause
from shared.messages import Batch
from tests.fleet_server.api.conftest import SETTINGS, Login
from tests.fleet_server.fleet import BOOT, DEPLOYMENT, START_US, Fleet, drive, manifest, sample

API = "/api/v1"


def _last(client: TestClient, headers: dict[str, str]) -> Any:
    return client.get(f"{API}/decisions", headers=headers).json()["items"][-1]


def test_a_person_writes_down_why_something_was_changed(client: TestClient, login: Login) -> None:
    headers = login("operator")
    body = {"deployment": DEPLOYMENT, "reason": "the threshold was doubled: it rained in"}
    made = client.post(f"{API}/decisions", json=body, headers=headers)
    assert made.status_code == 201
    assert _last(client, headers) == made.json()
    assert (made.json()["actor"], made.json()["kind"]) == ("operator", "note")
    wrong = client.post(f"{API}/decisions", json=body | {"deployment": "none"}, headers=headers)
    assert (wrong.status_code, "no deployment" in wrong.json()["detail"]) == (422, True)


NO_REASONS = (None, "", "ab", "   ", "\u00a0\u2003\u00a0", "x" * 201, "two\nlines", "a\0b")


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("deployments", {"name": "yard"}),
        ("enrolments", {"device": "car-7", "deployment": DEPLOYMENT}),
        ("devices/car-1/deployment", {"deployment": DEPLOYMENT}),
        ("devices/car-1/revoke", {}),
        ("training-jobs", {"deployment": DEPLOYMENT}),
        ("decisions", {}),
        ("tokens", {"name": "x", "role": "viewer"}),
        ("tokens/1/revoke", {}),
        ("erasures", {"device": "car-1"}),
        ("commands", {"device": "car-1", "verb": "stop"}),
        ("alerts/1/acknowledge", {}),
        ("quarantine/1/replay", {}),
        ("drift/1/approve", {}),
        ("drift/1/veto", {}),
    ],
)
def test_no_change_without_a_reason_of_one_line(
    client: TestClient, login: Login, path: str, body: dict[str, Any]
) -> None:
    headers = login("admin")
    for reason in NO_REASONS:
        asked = body if reason is None else body | {"reason": reason}
        answer = client.post(f"{API}/{path}", json=asked, headers=headers)
        assert (answer.status_code, "reason" in answer.text) == (422, True), repr(reason)


def test_every_body_refuses_what_it_does_not_know() -> None:
    bodies = [Body]
    while bodies:
        each = bodies.pop()
        assert each.model_config["extra"] == "forbid"
        bodies += each.__subclasses__()


def test_an_annotation_stands_beside_the_pair_and_changes_nothing_of_it(
    fleet: Fleet, client: TestClient, login: Login
) -> None:
    fleet.send(drive(0))
    path, headers = f"{API}/samples/car-1/{BOOT}/4", login("operator")
    before = client.get(path, headers=headers).json()
    body = {"kind": "wrong-label", "text": "the sensor saw the sill", "label": 250.0}
    made = client.post(f"{path}/annotations", json=body, headers=headers)
    assert made.status_code == 201
    (seen,) = client.get(f"{path}/annotations", headers=headers).json()["items"]
    assert seen == made.json()
    assert (seen["author"], seen["label"], seen["utc_us"]) == ("operator", 250.0, START_US)
    assert client.get(path, headers=headers).json() == before
    other = client.get(f"{API}/samples/car-1/{BOOT}/5/annotations", headers=headers)
    assert other.json()["items"] == []
    missing = client.post(f"{API}/samples/car-1/{BOOT}/99/annotations", json=body, headers=headers)
    assert missing.status_code == 404


def test_a_refused_message_is_read_and_replayed_once_its_cause_is_gone(
    fleet: Fleet, client: TestClient, login: Login, context: Context
) -> None:
    task = context.queries.deployments()[0].task
    other = {**task, "name": "other-task", "label": "distance"}
    batch = Batch(device="car-1", samples=(sample(1, task="other-task", picture_sha256=None),))
    sealed = fleet.sealed(batch)
    fleet.send(batch)
    headers = login("operator")
    (entry,) = client.get(f"{API}/quarantine", headers=headers).json()["items"]
    body = client.get(f"{API}/quarantine/{entry['id']}/body", headers=headers)
    assert body.content == sealed
    why = {"reason": "its task is known now"}
    path = f"{API}/quarantine/{entry['id']}/replay"
    again = client.post(path, json=why, headers=headers).json()
    assert (again["outcome"], "other-task" in again["reason"]) == ("rejected", True)
    with fleet.database.write() as connection:
        connection.execute(
            deployments.insert().values(
                name="other",
                task=msgspec.json.encode(other).decode(),
                created_utc_us=START_US,
            )
        )
    stored = client.post(path, json=why, headers=headers).json()
    assert (stored["outcome"], stored["new_samples"]) == ("stored", 1)
    assert client.get(f"{API}/quarantine", headers=headers).json()["items"] == []
    assert client.post(path, json=why, headers=headers).status_code == 404
    last = _last(client, headers)
    assert (last["kind"], last["reason"]) == ("replay", "its task is known now")
    assert last["evidence"]["sha256"] == entry["sha256"]
    assert fleet.send(batch) is not None
    assert client.get(f"{API}/devices/car-1", headers=headers).json()["pairs_stored"] == 1


def test_an_alert_is_acknowledged_once_and_why_is_written_down(
    fleet: Fleet, client: TestClient, login: Login
) -> None:
    cause = Cause(
        key="k",
        kind="enrolment-code-misused",
        severity="critical",
        subject="car-7",
        reason="a code came twice",
        deployment=DEPLOYMENT,
    )
    with fleet.database.write() as connection:
        number = alerts.raise_alert(connection, cause, utc_us=START_US)
    headers = login("operator")
    assert len(client.get(f"{API}/alerts?only_open=true", headers=headers).json()["items"]) == 1
    path, why = f"{API}/alerts/{number}/acknowledge", {"reason": "it was me, on two laptops"}
    seen = client.post(path, json=why, headers=headers)
    assert (seen.status_code, seen.json()["acknowledged_by"]) == (200, "operator")
    assert client.post(path, json=why, headers=headers).status_code == 409
    assert client.get(f"{API}/alerts?only_open=true", headers=headers).json()["items"] == []
    last = _last(client, headers)
    assert (last["kind"], last["reason"], last["deployment"]) == (
        "acknowledge-alert",
        "it was me, on two laptops",
        DEPLOYMENT,
    )


def test_where_to_is_told_of_alerts_is_shown_without_secrets(
    client: TestClient, login: Login
) -> None:
    shown = client.get(f"{API}/alerts/channels", headers=login("viewer")).json()
    assert shown["names"] == []
    assert shown["public_key"].startswith("whpk_")
    again = client.get(f"{API}/alerts/channels", headers=login("viewer")).json()
    assert again == shown


def test_an_erasure_is_followed_to_its_end(
    client: TestClient, login: Login, fleet: Fleet, context: Context
) -> None:
    fleet.send(drive(0))
    headers = login("admin")
    body = {"device": "car-1", "reason": "its owner asked for it"}
    number = client.post(f"{API}/erasures", json=body, headers=headers).json()["id"]
    before = client.get(f"{API}/erasures/{number}/events", headers=headers).text
    while erasing.step(context.database, fleet.clock):
        pass
    after = client.get(f"{API}/erasures/{number}/events", headers=headers).text
    states = [msgspec.json.decode(text.split("data: ", 1)[1]) for text in (before, after)]
    assert [each["finished_utc_us"] is None for each in states] == [True, False]
    assert (states[1]["fraction"], states[1]["samples"]) == (1.0, 10)


def test_an_alert_that_no_verdict_led_to_is_answered_by_no_training(
    client: TestClient, login: Login, fleet: Fleet
) -> None:
    headers = login("operator")
    body = {"deployment": DEPLOYMENT, "reason": "a look at the new floor"}
    assert client.post(f"{API}/training-jobs", json=body, headers=headers).status_code == 201
    cause = Cause(
        key="car-silent/car-1", kind="car-silent", severity="warning", subject="car-1", reason="-"
    )
    with fleet.database.write() as connection:
        number = alerts.raise_alert(connection, cause, utc_us=START_US)
    found = client.get(f"{API}/lineage/alert/{number}", headers=headers).json()
    assert (found["alert"]["id"], found["answers"]) == (number, [])


def _suspected(fleet: Fleet) -> None:
    with fleet.database.write() as connection:
        registration.register(connection, manifest(b"one"), utc_us=START_US)
        number = connection.execute(
            insert(verdicts)
            .values(
                utc_us=START_US,
                deployment=DEPLOYMENT,
                model=manifest(b"one").sha256,
                device="car-1",
                kind="drift",
                cause="concept-or-sensor",
                reason="labels moved",
                evidence="{}",
                since_sample=1,
            )
            .returning(verdicts.c.id)
        ).scalar_one()
        trust.begin(
            connection,
            verdict=number,
            deployment=DEPLOYMENT,
            device="car-1",
            since_sample=1,
            utc_us=START_US,
        )


@pytest.mark.parametrize(("word", "answer"), [("approve", "retrain"), ("veto", "nothing")])
def test_a_persons_word_about_a_verdict_is_above_the_rules(
    client: TestClient, login: Login, fleet: Fleet, word: str, answer: str
) -> None:
    _suspected(fleet)
    for manoeuvre in range(4):
        fleet.send(drive(manoeuvre))
    control = Control(fleet.database, SETTINGS, fleet.clock)
    control.settle(threading.Event())
    assert fleet.queries.decisions()[-1].kind == "check-sensor"
    path, headers = f"{API}/drift/1/{word}", login("operator")
    made = client.post(path, json={"reason": "measured by hand, the wall moved"}, headers=headers)
    assert (made.status_code, made.json()["kind"], made.json()["verdict"]) == (201, word, 1)
    control.settle(threading.Event())
    assert fleet.queries.decisions()[-1].kind == answer
    assert len(fleet.queries.training_jobs()) == (word == "approve")


def test_a_verdict_that_is_not_there_can_be_neither_read_nor_answered(
    client: TestClient, login: Login
) -> None:
    headers = login("operator")
    assert client.get(f"{API}/drift/9", headers=headers).status_code == 404
    for word in ("approve", "veto"):
        body = {"reason": "just because"}
        answer = client.post(f"{API}/drift/9/{word}", json=body, headers=headers)
        assert answer.status_code == 404
