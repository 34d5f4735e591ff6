"""The log book: what people and the loop decided, searchable, with a note to add."""

from collections.abc import Sequence
from typing import Any

from fleet_server import logbook
from fleet_server.console import parts
from fleet_server.console.acts import Act, Call, Voice, buttons, choice, entry, why
from fleet_server.console.nodes import Child, Node, moment, node
from fleet_server.console.parts import Column, Row
from fleet_server.console.sheet import Sent
from fleet_server.reading.diary import Entries
from fleet_server.reading.views import DecisionView

_NONE = (
    "Nothing was decided yet. Each change of the fleet, by people or by the loop, is noted here."
)
_NONE_SUCH = "No entry is like that."


def _note(form: Sent) -> Call:
    deployment = form.values.get("deployment") or None
    return Call(
        method="POST", path="decisions", body={"deployment": deployment, "reason": why(form)}
    )


def _noted(made: Any) -> str:
    return f"Entry {made['id']} was written."


NOTE = Act(name="note", call=_note, done=_noted)


def compose(
    held: Entries, *, text: str, deployment: str, deployments: Sequence[str], voice: Voice
) -> Node:
    """Return the page."""
    every = (("", "all"), *((name, name) for name in deployments))
    search = node(
        "form",
        entry("q", "Holds", kind="search", value=text, maxlength=100),
        choice("deployment", "Deployment", every, deployment),
        node("button", "Search", type="submit"),
        method="get",
        action="/log",
        cls="filter",
        role="search",
        aria_label="Log book",
    )
    whole = (("", "the whole fleet"), *((name, name) for name in deployments))
    note = voice.form(
        NOTE,
        label="Add a note",
        fields=(choice("deployment", "About", whole),),
        button="Write it down",
    )
    older = None
    if held.next_before is not None:
        query = {"q": text, "deployment": deployment, "before": str(held.next_before)}
        older = node("p", parts.link("Older entries", "log", **query), cls="more")
    is_bare = not text and not deployment
    return node(
        "div",
        search,
        buttons(note),
        _table(held.items) if held.items else parts.empty(_NONE if is_bare else _NONE_SUCH),
        older,
    )


def _table(items: Sequence[DecisionView]) -> Node:
    columns = tuple(Column(name=name) for name in ("Entry", "When", "By", "What", "Why"))
    rows = [
        Row(
            key=str(each.id),
            cells=(
                str(each.id),
                moment(each.utc_us, is_short=True),
                parts.stacked("the loop" if each.actor == logbook.CONTROL else each.actor, ""),
                parts.stacked(each.kind, each.deployment),
                node("div", each.reason, _rest(each)),
            ),
        )
        for each in items
    ]
    return parts.table("Entries of the log book, newest first", columns, rows, cls="diary")


def _rest(entry: DecisionView) -> Child:
    links = [
        parts.link(f"model {entry.model[:8]}", "models", entry.model) if entry.model else None,
        parts.link(f"verdict {entry.verdict}", "drift") if entry.verdict else None,
    ]
    numbers = parts.evidence(entry.evidence)
    folded = numbers and node("details", node("summary", "Numbers"), numbers)
    kept = [each for each in (*links, folded) if each]
    return node("div", *kept, cls="rest") if kept else None
