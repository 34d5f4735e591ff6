"""Where a person signs in with an access token; a plain form: no secret takes the websocket."""

from fastapi import Request
from nicegui import ui

from fleet_server.console.acts import entry
from fleet_server.console.gate import target
from fleet_server.console.nodes import Node, node
from fleet_server.console.sheet import Sheet
from fleet_server.console.theme import dress

_MOST_LETTERS = 200
_LEAD = (
    "Sign in with an access token. What its role does not allow is not shown. Whoever runs the "
    "server makes one with:"
)
_CREATE = "parkfleet token create --name NAME --role operator"


def compose(problem: str, follows: str) -> Node:
    """Return the page; `problem` says why signing in failed before."""
    return node(
        "div",
        node("h1", "Sign in"),
        node("p", _LEAD, cls="lead"),
        node("pre", _CREATE, tabindex=0),
        node("p", problem, cls="told bad", role="alert") if problem else None,
        node(
            "form",
            entry("token", "Token", kind="password", required=True, maxlength=_MOST_LETTERS),
            node("input", type="hidden", name="next", value=follows),
            node("button", "Sign in", type="submit"),
            action="/sign-in",
            method="post",
            cls="sign-in",
        ),
        cls="narrow",
    )


def register() -> None:
    """Serve the page at `/sign-in`."""

    @ui.page("/sign-in")
    def page(request: Request) -> None:
        query = request.query_params
        ui.page_title("Sign in \N{MIDDLE DOT} parkfleet")
        dress()
        follows = target(query.get("next", "/"))
        Sheet().show(compose(query.get("problem", "")[:_MOST_LETTERS], follows))
