"""Acts go through REST as the person who asks: the real application, in this process."""

import asyncio
from typing import Any

import pytest

from fleet_server.api.app import create_app
from fleet_server.api.context import Context
from fleet_server.console.asking import Answer, Asking
from fleet_server.tokens import Bearer

ANNA = Bearer(name="anna", role="operator")
GUEST = Bearer(name="guest", role="viewer")
NOTE = {"deployment": None, "reason": "the floor was wet"}


def ask(
    served: Context, who: Bearer, method: str, path: str, body: dict[str, Any] | None = None
) -> Answer:
    app = create_app(served)
    return asyncio.run(Asking(app).ask(who, method, path, body))


def test_an_act_is_rests_and_stands_in_the_log_book(
    context: Context,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("INFO")
    answer = ask(context, ANNA, "POST", "decisions", NOTE)

    assert answer.is_done
    assert answer.content["actor"] == "anna"
    assert context.queries.decisions(newest=True)[-1].reason == "the floor was wet"
    assert "audit actor=anna role=operator method=POST route=/api/v1/decisions" in caplog.text


def test_what_the_role_forbids_rest_refuses(context: Context) -> None:
    before = context.queries.decisions()
    answer = ask(context, GUEST, "POST", "decisions", NOTE)

    assert answer.status == 403
    assert answer.problem == "this needs the role operator or admin, not viewer"
    assert context.queries.decisions() == before


def test_what_is_wrong_is_told_in_words(context: Context) -> None:
    answer = ask(context, ANNA, "POST", "decisions", {**NOTE, "deployment": "nowhere"})

    assert (answer.status, answer.problem) == (422, "there is no deployment nowhere")


def test_a_list_is_asked_for_with_its_query(context: Context) -> None:
    answer = ask(context, GUEST, "GET", "decisions?limit=1")

    assert answer.is_done
    assert len(answer.content["items"]) == 1
    assert answer.media_type == "application/json"
