"""What every answer carries, what every change leaves in the log, and what is not sent twice."""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, cast

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from fleet_server.api import streams
from fleet_server.api.context import Context
from shared import logs
from tests.fleet_server.api.conftest import Login
from tests.fleet_server.fleet import BOOT, DEPLOYMENT, Fleet, drive, jpeg

API = "/api/v1"


def test_an_answer_names_its_request_and_keeps_the_callers_name_for_it(
    client: TestClient, login: Login
) -> None:
    headers = login("viewer")
    one, two = (client.get(f"{API}/devices", headers=headers) for _ in range(2))
    assert one.headers["x-request-id"] != two.headers["x-request-id"]
    named = client.get(f"{API}/devices", headers=headers | {"x-request-id": "my-own_7"})
    assert named.headers["x-request-id"] == "my-own_7"
    for wrong in ("a b", "x" * 65, "a\\nb", ""):
        answer = client.get(f"{API}/devices", headers=headers | {"x-request-id": wrong})
        assert answer.headers["x-request-id"] not in ("", wrong)
    refused = client.get(f"{API}/devices")
    assert (refused.status_code, "x-request-id" in refused.headers) == (401, True)


def _audit(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [each for each in caplog.messages if each.startswith("audit ")]


def test_a_change_leaves_an_audit_line_and_a_look_none(
    client: TestClient, login: Login, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="fleet_server")
    headers = login("operator")
    client.get(f"{API}/devices", headers=headers)
    assert _audit(caplog) == []
    body = {"deployment": DEPLOYMENT, "reason": "the camera was cleaned"}
    client.post(f"{API}/decisions", json=body, headers=headers)
    (line,) = _audit(caplog)
    assert line == (
        "audit actor=operator role=operator method=POST route=/api/v1/decisions of={} status=201"
    )


def test_a_refused_change_leaves_an_audit_line_too_and_no_token_is_in_any(
    client: TestClient, login: Login, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="fleet_server")
    headers = login("viewer")
    client.post(f"{API}/devices/car-1/revoke", json={"reason": "stolen"}, headers=headers)
    client.post(f"{API}/tokens", headers={"Authorization": "Bearer pf_guess"})
    assert _audit(caplog) == [
        (
            "audit actor=viewer role=viewer method=POST route=/api/v1/devices/{device}/revoke "
            "of={'device': 'car-1'} status=403"
        ),
        "audit actor=nobody role=none method=POST route=/api/v1/tokens of={} status=401",
    ]
    assert headers["Authorization"].removeprefix("Bearer ") not in caplog.text
    assert "pf_guess" not in caplog.text


def test_the_lines_of_a_request_end_with_its_id(
    client: TestClient, login: Login, capsys: pytest.CaptureFixture[str]
) -> None:
    root = logging.getLogger()
    before = root.level, root.handlers[:]
    logs.configure()
    try:
        body = {"deployment": DEPLOYMENT, "reason": "to be seen"}
        headers = login("operator") | {"x-request-id": "seen-7"}
        client.post(f"{API}/training-jobs", json=body, headers=headers)
    finally:
        root.setLevel(before[0])
        root.handlers[:] = before[1]
        logging.getLogger("fleet_server").setLevel(logging.NOTSET)
    (line,) = (each for each in capsys.readouterr().err.splitlines() if " audit " in each)
    assert line.endswith(" request=seen-7")


def test_an_answer_that_the_client_has_is_not_sent_again(
    fleet: Fleet, client: TestClient, login: Login
) -> None:
    fleet.send(drive(0))
    headers = login("viewer")
    first = client.get(f"{API}/samples", headers=headers)
    tag = first.headers["etag"]
    same = client.get(f"{API}/samples", headers=headers | {"if-none-match": f'"x", {tag}'})
    assert (same.status_code, same.content, same.headers["etag"]) == (304, b"", tag)
    fleet.send(drive(1))
    changed = client.get(f"{API}/samples", headers=headers | {"if-none-match": tag})
    assert (changed.status_code, len(changed.json()["items"])) == (200, 20)
    assert changed.headers["etag"] != tag
    refused = client.get(f"{API}/samples", headers={"if-none-match": tag})
    assert refused.status_code == 401


def test_a_picture_is_known_by_its_digest(fleet: Fleet, client: TestClient, login: Login) -> None:
    fleet.send(drive(0))
    path, headers = f"{API}/samples/car-1/{BOOT}/4/picture", login("viewer")
    first = client.get(path, headers=headers)
    again = client.get(path, headers=headers | {"if-none-match": first.headers["etag"]})
    assert (first.content, again.status_code, again.content) == (jpeg(4), 304, b"")


def _events(text: str) -> list[dict[str, object]]:
    return [json.loads(each.removeprefix("data: ")) for each in text.split("\n\n") if each]


def test_a_job_is_followed_to_its_end(client: TestClient, login: Login) -> None:
    body = {"deployment": DEPLOYMENT, "reason": "to be followed"}
    made = client.post(f"{API}/training-jobs", json=body, headers=login("operator")).json()
    answer = client.get(f"{API}/training-jobs/{made['id']}/events", headers=login("viewer"))
    assert answer.headers["content-type"].startswith("text/event-stream")
    (event,) = _events(answer.text)
    assert event["state"] == "queued"
    missing = client.get(f"{API}/training-jobs/99/events", headers=login("viewer"))
    assert missing.status_code == 404


def _pieces(found: list[int], *, looks: int = 100) -> tuple[list[str], int]:
    """Follow what would be seen at each look; return the pieces and how often it paused."""
    seen = iter(found)
    pauses = 0

    async def look() -> int:
        return next(seen)

    async def pause() -> None:
        nonlocal pauses
        pauses += 1

    async def collect(
        look: Callable[[], Awaitable[int]], pause: Callable[[], Awaitable[None]]
    ) -> list[str]:
        stream = streams.pieces(look, lambda value: value < 0, pause, looks=looks)
        return [piece.decode() async for piece in stream]

    return asyncio.run(collect(look, pause)), pauses


def test_an_event_is_sent_for_each_change_and_none_after_the_end() -> None:
    pieces, pauses = _pieces([1, 1, 2, 2, 2, -1, 5])
    assert pieces == ["data: 1\n\n", "data: 2\n\n", "data: -1\n\n"]
    assert pauses == 5


def test_a_quiet_stream_is_kept_alive_and_ends_by_itself() -> None:
    pieces, pauses = _pieces([7] * 100, looks=streams.KEEP_ALIVE_LOOKS * 2 + 1)
    assert pieces == ["data: 7\n\n", ": ping\n\n", ": ping\n\n"]
    assert pauses == streams.KEEP_ALIVE_LOOKS * 2


def test_only_so_many_streams_are_open_at_once(
    client: TestClient, login: Login, context: Context
) -> None:
    context.open["streams"] = streams.MOST
    headers = login("viewer")
    answer = client.get(f"{API}/devices/car-1/events", headers=headers)
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    context.open["streams"] -= 1
    assert client.get(f"{API}/devices/car-1/events", headers=headers).status_code == 200
    assert context.open["streams"] == streams.MOST - 1


def test_a_bug_is_told_as_a_problem_too(
    client: TestClient, login: Login, context: Context, applications: list[FastAPI]
) -> None:
    headers = login("viewer")
    applications[0].state.context = replace(context, database=cast("Any", None))
    answer = client.get("/api/v1/devices", headers=headers)
    assert (answer.status_code, answer.headers["content-type"]) == (
        500,
        "application/problem+json",
    )
