"""What a person may do on a page: a table of acts, each a call of the REST API, drawn as forms.

Laws:
- an act that the role does not allow is not drawn, and is refused where it is sent nevertheless;
- an act that changes something asks why, in words that go into the log book;
- what became of an act is said where it was asked for.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import quote

from fleet_server.api.access import OPERATORS
from fleet_server.console.nodes import Child, Node, node
from fleet_server.console.sheet import Sent
from fleet_server.tokens import Role
from shared.errors import RefusedError

REASON_LETTERS = 200


@dataclass(frozen=True, kw_only=True)
class Call:
    """A call of the API: `path` follows `/api/v1`, less its slash."""

    method: Literal["POST", "PUT"]
    path: str
    body: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Act:
    """Something a person may do: `call` turns the form into a call, `done` says what happened.

    `call` raises `RefusedError` where the form cannot be meant so.
    """

    name: str
    call: Callable[[Sent], Call]
    done: Callable[[Any], str]
    roles: tuple[Role, ...] = OPERATORS


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of an act; `number` counts them, so that a done form begins anew."""

    text: str
    is_done: bool
    number: int


@dataclass(frozen=True, kw_only=True)
class Voice:
    """Who looks at a page, and what became of what he did there, by act and key."""

    role: Role = "viewer"
    outcomes: Mapping[tuple[str, str], Outcome] = field(default_factory=dict)

    def form(
        self,
        act: Act,
        *,
        label: str,
        key: str = "",
        fields: Sequence[Node] = (),
        button: str = "",
        asks_why: bool = True,
        is_grave: bool = False,
    ) -> Node | None:
        """Return the act's form, folded up under its `label`; None where the role forbids it."""
        if self.role not in act.roles:
            return None
        outcome = self.outcomes.get((act.name, key))
        count = outcome.number if outcome and outcome.is_done else 0
        form = node(
            "form",
            *fields,
            reason() if asks_why else None,
            node("button", button or label, type="submit", cls="grave" if is_grave else ""),
            key=f"form-{count}",
            data_act=act.name,
            data_key=key,
        )
        told = outcome and node(
            "p", outcome.text, cls=f"told {'good' if outcome.is_done else 'bad'}", key="told"
        )
        folded = node("summary", label)
        return node(
            "div",
            node("details", folded, form, cls="act"),
            node("div", told or None, role="status"),
            key=f"{act.name}-{key}",
            cls="doing",
        )


def reason() -> Node:
    """Return the field that asks why."""
    return entry("reason", "Why", required=True, minlength=3, maxlength=REASON_LETTERS)


def entry(name: str, label: str, *, kind: str = "text", **attributes: Any) -> Node:
    """Return a labelled field."""
    given: dict[str, Any] = {"autocomplete": "off", **attributes}
    return node("label", node("span", label), node("input", name=name, type=kind, **given))


def choice(
    name: str,
    label: str,
    options: Sequence[tuple[str, str]],
    chosen: str = "",
    **attributes: Any,
) -> Node:
    """Return a labelled choice of (value, text)."""
    made = [node("option", text, value=value, selected=value == chosen) for value, text in options]
    return node("label", node("span", label), node("select", *made, name=name, **attributes))


def why(form: Sent) -> str:
    """Return a form's reason, without blanks at its ends.

    Raises:
        RefusedError: it is none.
    """
    text = form.values.get("reason", "").strip()
    if not 3 <= len(text) <= REASON_LETTERS:
        raise RefusedError(f"say why, in 3 to {REASON_LETTERS} letters: the log book keeps it")
    return text


def number(form: Sent, name: str, label: str) -> int:
    """Return a whole number of a form.

    Raises:
        RefusedError: it is none.
    """
    text = form.values.get(name, "")
    if not text.isdecimal() or len(text) > 15:
        raise RefusedError(f"{label}: a whole number is needed")
    return int(text)


def segment(text: str) -> str:
    """Return foreign text as one part of a path.

    Raises:
        RefusedError: it is no name of anything.
    """
    if not text or text in (".", ".."):
        raise RefusedError("it is not said of what")
    return quote(text, safe="")


def buttons(*forms: Child) -> Node | None:
    """Return the acts of one thing side by side; None where there is none."""
    kept = [each for each in forms if each is not None]
    return node("div", *kept, cls="acts") if kept else None
