"""The system: is everything well, what comes in, what was refused, who may join, who may call."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fleet_server.api.access import ADMINS
from fleet_server.api.fleet import EnrolmentView
from fleet_server.api.tokens import TokenView
from fleet_server.console import parts, words
from fleet_server.console.acts import (
    Act,
    Call,
    Voice,
    buttons,
    choice,
    entry,
    segment,
    why,
)
from fleet_server.console.nodes import Child, Node, moment, node
from fleet_server.console.parts import Column, Row
from fleet_server.console.sheet import Sent
from fleet_server.reading.flow import Flow
from fleet_server.reading.views import QuarantineView, Totals
from fleet_server.telling.alerts import AlertView
from fleet_server.tokens import ROLES
from shared.ids import is_device_name, is_sha256

MINUTE_US = 60_000_000


@dataclass(frozen=True, kw_only=True)
class System:
    """Everything that was read; `flow` is that of the last minute."""

    totals: Totals
    alerts: tuple[AlertView, ...]
    quarantine: tuple[QuarantineView, ...]
    enrolments: tuple[EnrolmentView, ...]
    tokens: tuple[TokenView, ...]
    deployments: tuple[str, ...]
    flow: Flow
    stored_bytes: int | None
    database: str
    disk_free_bytes: int
    broker: str
    is_broker_heard: bool


def _keyed(form: Sent, path: str) -> str:
    return path.format(segment(form.key))


def _replayed(found: Any) -> str:
    if found["outcome"] == "stored":
        return f"It is stored: {words.counted(found['new_samples'], 'new pair')}."
    return f"It is {found['outcome']}: {found['reason'] or 'nothing changed'}."


ACKNOWLEDGE = Act(
    name="acknowledge",
    call=lambda form: Call(
        method="POST", path=_keyed(form, "alerts/{}/acknowledge"), body={"reason": why(form)}
    ),
    done=lambda alert: f"Alert {alert['id']} is acknowledged.",
)
REPLAY = Act(
    name="replay",
    call=lambda form: Call(
        method="POST", path=_keyed(form, "quarantine/{}/replay"), body={"reason": why(form)}
    ),
    done=_replayed,
)
REVOKE = Act(
    name="revoke-token",
    call=lambda form: Call(
        method="POST", path=_keyed(form, "tokens/{}/revoke"), body={"reason": why(form)}
    ),
    done=lambda token: f"The token of {token['name']} counts no more.",
    roles=ADMINS,
)


def _token(form: Sent) -> Call:
    body = {
        "name": form.values.get("name", "").strip(),
        "role": form.values.get("role", ""),
        "reason": why(form),
    }
    return Call(method="POST", path="tokens", body=body)


CREATE = Act(
    name="create-token",
    call=_token,
    done=lambda made: f"Token of {made['name']}, shown this once: {made['token']}",
    roles=ADMINS,
)


def _enrolment(form: Sent) -> Call:
    body = {
        "device": form.values.get("device", "").strip(),
        "deployment": form.values.get("deployment", ""),
        "reason": why(form),
    }
    return Call(method="POST", path="enrolments", body=body)


ENROL = Act(
    name="enrol",
    call=_enrolment,
    done=lambda made: (
        f"Code for {made['device']}, shown this once, good for a quarter of an hour: {made['code']}"
    ),
)
ACTS = (ACKNOWLEDGE, REPLAY, REVOKE, CREATE, ENROL)


def compose(held: System, voice: Voice, now_utc_us: int) -> Node:
    """Return the page."""
    return node(
        "div",
        _health(held, now_utc_us),
        _alerts(held, voice),
        _quarantine(held, voice),
        _enrolments(held, voice, now_utc_us),
        _tokens(held, voice),
    )


def _health(held: System, now_utc_us: int) -> Node:
    flow = held.flow
    wrong = words.counted(len(held.alerts), "alert")
    batches = words.counted(flow.batches, "batch", "batches")
    last = words.ago(flow.last_utc_us, now_utc_us)
    came = f"pairs, in {batches}, {words.size(flow.size_bytes)}; the last {last}"
    free = f"in the database; {words.size(held.disk_free_bytes)} of the disk are free"
    listens = "connected" if held.is_broker_heard else "not connected"
    figures = (
        ("Health", wrong if held.alerts else "well", "see below" if held.alerts else "", None),
        ("Broker", listens, held.broker, None),
        ("Coming in", f"{words.count(flow.samples)} a minute", came, None),
        ("Stored", words.size(held.stored_bytes), free, None),
        ("Refused", words.count(held.totals.quarantined), "messages in quarantine", None),
    )
    totals = held.totals
    counts = (
        ("Pairs", words.count(totals.pairs_stored)),
        ("Pictures", words.count(totals.pictures)),
        ("Batches", words.count(totals.batches)),
        ("Manoeuvres", words.count(totals.manoeuvres)),
        ("Models", words.count(totals.models)),
        ("Entries of the log book", words.count(totals.decisions)),
        ("Database", held.database),
    )
    return node("div", parts.figures("The system in numbers", figures), parts.facts(counts))


def _alerts(held: System, voice: Voice) -> Node:
    gloss = "What people should know, until its cause is gone."
    if not held.alerts:
        return parts.section("Alerts", gloss, parts.empty("Nothing is wrong."))
    columns = tuple(Column(name=name) for name in ("Alert", "Since", "About", "Why", "Seen"))
    rows = []
    for each in held.alerts:
        seen = voice.form(ACKNOWLEDGE, key=str(each.id), label="I have seen it")
        if each.acknowledged_by:
            seen = node("span", f"by {each.acknowledged_by}")
        cells = (
            parts.stacked(each.kind, each.severity),
            moment(each.utc_us, is_short=True),
            _subject(each.subject),
            each.reason,
            seen,
        )
        rows.append(Row(key=str(each.id), cells=cells))
    return parts.section("Alerts", gloss, parts.table("Open alerts", columns, rows))


def _subject(subject: str) -> Child:
    if is_sha256(subject):
        return parts.link(f"model {subject[:8]}", "models", subject)
    return parts.link(subject, "cars", subject) if is_device_name(subject) else subject


def _quarantine(held: System, voice: Voice) -> Node:
    gloss = "Messages that were refused, with the reason; they can be tried again."
    if not held.quarantine:
        sentence = "Nothing was refused. What the server cannot take in would wait here."
        return parts.section("Quarantine", gloss, parts.empty(sentence))
    columns = tuple(
        Column(name=name) for name in ("Message", "Car", "When", "Size", "Why refused", "Again")
    )
    rows = [
        Row(
            key=str(each.id),
            cells=(
                parts.stacked(str(each.id), f"{each.repeats} repeats" if each.repeats else ""),
                each.device,
                moment(each.received_utc_us, is_short=True),
                words.size(each.size_bytes),
                each.reason,
                voice.form(REPLAY, key=str(each.id), label="Replay"),
            ),
        )
        for each in held.quarantine
    ]
    return parts.section("Quarantine", gloss, parts.table("Refused messages", columns, rows))


def _enrolments(held: System, voice: Voice, now_utc_us: int) -> Node:
    fields = (
        entry("device", "Name of the car", required=True, maxlength=48, placeholder="car-1"),
        choice("deployment", "Deployment", [(name, name) for name in held.deployments]),
    )
    enrol = voice.form(ENROL, label="Let a car join", fields=fields, button="Make a code")
    sentence = (
        "No code was made yet. A car joins with a code that is good for a quarter of an hour."
    )
    columns = tuple(Column(name=name) for name in ("Car", "Deployment", "Made", "State"))
    rows = [
        Row(
            key=str(each.id),
            cells=(
                each.device,
                each.deployment,
                moment(each.created_utc_us, is_short=True),
                _state(each, now_utc_us),
            ),
        )
        for each in held.enrolments
    ]
    table = parts.table("Codes that were made", columns, rows) if rows else parts.empty(sentence)
    return parts.section("Enrolments", "Which cars were let in, and how.", buttons(enrol), table)


def _state(each: EnrolmentView, now_utc_us: int) -> Node:
    if each.used_utc_us is not None:
        return parts.tag("used", "good")
    return parts.tag("waits", "busy") if each.expires_utc_us > now_utc_us else parts.tag("expired")


def _tokens(held: System, voice: Voice) -> Node | None:
    if voice.role not in ADMINS:
        return None
    fields = (
        entry("name", "Whose it is", required=True, maxlength=64),
        choice("role", "Role", [(role, role) for role in ROLES], "viewer"),
    )
    create = voice.form(CREATE, label="Make a token", fields=fields)
    return parts.section(
        "Tokens",
        "Who may call the server, and sign in here. A secret is shown once, when it is made.",
        buttons(create),
        _token_table(held.tokens, voice),
    )


def _token_table(tokens: Sequence[TokenView], voice: Voice) -> Node:
    columns = tuple(Column(name=name) for name in ("Whose", "Role", "Made", "State"))
    rows = []
    for each in tokens:
        state = voice.form(REVOKE, key=str(each.id), label="Revoke", is_grave=True)
        if each.revoked_utc_us is not None:
            state = node("span", "revoked ", moment(each.revoked_utc_us, is_short=True))
        cells = (each.name, each.role, moment(each.created_utc_us, is_short=True), state)
        rows.append(Row(key=str(each.id), cells=cells))
    return parts.table("Access tokens", columns, rows)
