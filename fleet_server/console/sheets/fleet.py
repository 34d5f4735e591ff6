"""The first page: the fleet at a glance, and its cars, searched, filtered and in pages."""

from collections.abc import Sequence

from fleet_server.console import parts, plots, words
from fleet_server.console.acts import choice, entry
from fleet_server.console.board import Board, CarRow
from fleet_server.console.figures import Figure
from fleet_server.console.nodes import Node, node
from fleet_server.console.parts import Column, Row
from fleet_server.reading.roll import Asked, Roll
from fleet_server.reading.views import ManoeuvreView

LEAD = (
    "Cars learn to judge a distance from one camera picture. A laser beside the camera labels "
    "every picture; this page shows what they have learnt."
)
_NO_CARS = (
    "No car is enrolled yet. Make a code on the System page, or ask over REST "
    "(POST /api/v1/enrolments), then give it to the car:"
)
_ENROL = "parkfleet device enrol --server http://127.0.0.1:8080 --name car-1 --code CODE"
_NONE_SUCH = "No car is like that. Ask for less, or for all:"
_NO_LOG = "Nothing has been decided yet. Each training and each new version will be noted here."
_PRESENCES = (
    ("", "all"),
    ("online", "online"),
    ("silent", "silent"),
    ("offline", "offline"),
    ("alerts", "with alerts"),
    ("unconfirmed", "unconfirmed"),
    ("revoked", "revoked"),
)
_ORDERS = {"name": "Car", "error": "Error now", "pairs": "Pairs", "seen": "Last seen"}


def compose(
    board: Board, roll: Roll, rows: Sequence[CarRow], asked: Asked, deployments: Sequence[str]
) -> Node:
    """Return the figures and the table of cars; `rows` are those of `roll`, in its order."""
    is_empty = not roll.total and asked == Asked(size=asked.size)
    held = parts.empty(_NO_CARS, _ENROL) if is_empty else _cars(roll, rows, asked)
    return node(
        "div",
        node("p", LEAD, cls="lead"),
        _figures(board.figures),
        parts.section(
            "Cars",
            "What each car runs, and what it last reported.",
            None if is_empty else _filter(asked, deployments),
            held,
        ),
    )


def log(board: Board) -> Node:
    """Return the newest decisions."""
    rows = [(str(row.id), row.utc_us, row.kind, row.text) for row in board.log]
    return parts.section(
        "Decisions",
        "What was changed and why, newest first.",
        parts.log(rows) if rows else parts.empty(_NO_LOG),
        node("p", parts.link("All of the log book", "log"), cls="more") if rows else None,
    )


def _figures(figures: Sequence[Figure]) -> Node:
    held = ((each.label, each.value, each.note, each.share) for each in figures)
    return parts.figures("The fleet in numbers", held)


def _filter(asked: Asked, deployments: Sequence[str]) -> Node:
    every = (("", "all"), *((name, name) for name in deployments))
    return node(
        "form",
        entry("q", "Name holds", kind="search", value=asked.text, maxlength=48),
        choice("presence", "State", _PRESENCES, asked.presence),
        choice("deployment", "Deployment", every, asked.deployment),
        node("button", "Show", type="submit"),
        method="get",
        action="/",
        cls="filter",
        role="search",
        aria_label="Cars",
    )


def query_of(asked: Asked) -> dict[str, str]:
    """Return what asks for the same cars in an address, less the page."""
    held = {
        "q": asked.text,
        "presence": asked.presence,
        "deployment": asked.deployment,
        "order": "" if asked.order == "name" else asked.order,
        "down": "1" if asked.is_descending else "",
    }
    return {name: value for name, value in held.items() if value}


def _cars(roll: Roll, rows: Sequence[CarRow], asked: Asked) -> Node:
    if not rows:
        return node("div", parts.empty(_NONE_SUCH), node("p", parts.link("All cars")))
    columns = (
        _sorted_by("name", asked),
        Column(name="State"),
        Column(name="Deployment"),
        Column(name="Model"),
        _sorted_by("error", asked),
        Column(name="Course"),
        Column(name="Queue", is_number=True),
        _sorted_by("seen", asked),
    )
    lines = [
        Row(
            key=row.name,
            cells=(
                parts.link(row.name, "cars", row.name),
                parts.stacked(parts.presence(row.presence), ", ".join(entry.alerts)),
                row.deployment,
                parts.stacked(row.model, row.model_note),
                parts.stacked(row.error, row.error_note),
                _course(entry.recent),
                row.queue,
                row.seen,
            ),
        )
        for row, entry in zip(rows, roll.entries, strict=True)
    ]
    of = words.counted(roll.total, "car")
    return node(
        "div",
        parts.table("The cars of the fleet", columns, lines, cls="cars"),
        parts.pager((), query_of(asked), page=roll.page, pages=roll.pages, of=of),
    )


def _course(recent: Sequence[ManoeuvreView]) -> Node:
    errors = [each.mae for each in recent if each.mae is not None]
    text = ", ".join(f"{error:.0f}" for error in errors)
    return plots.spark(errors, f"errors of the last manoeuvres: {text}")


def _sorted_by(order: str, asked: Asked) -> Column:
    is_this = asked.order == order
    turned = {**query_of(asked), "order": order, "down": "" if asked.is_descending else "1"}
    if not is_this:
        turned["down"] = ""
    direction = "descending" if asked.is_descending else "ascending"
    return Column(
        name=_ORDERS[order],
        href=parts.address(**turned) if any(turned.values()) else "/",
        order=direction if is_this else "",
    )
