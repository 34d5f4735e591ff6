"""Samples: a contact sheet to filter, and one pair with all that was recorded and written to it."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fleet_server.console import parts, words
from fleet_server.console.acts import Act, Call, Voice, buttons, choice, entry, segment, why
from fleet_server.console.contact_sheet import contact_sheet
from fleet_server.console.nodes import Node, moment, node
from fleet_server.console.parts import Column, Row
from fleet_server.console.sheet import Sent
from fleet_server.reading.annotations import AnnotationView
from fleet_server.reading.searches import Found
from fleet_server.reading.views import SampleView
from shared.errors import RefusedError
from shared.ids import SampleKey

_NONE = (
    "No pair is stored yet. Cars log one about four times a second while they park, and send them "
    "when they can."
)
_NONE_SUCH = "No pair among those looked at is like that."
_KINDS = (
    ("bad-picture", "Bad picture: leave it out"),
    ("wrong-label", "Wrong label: leave it out"),
    ("note", "Note only"),
)


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Which pairs are asked for; None and an empty text ask for nothing. Lengths in task units."""

    deployment: str = ""
    device: str = ""
    label_from: float | None = None
    label_to: float | None = None
    residual_from: float | None = None
    model: str = ""
    before: int | None = None

    def keeps(self, pair: SampleView) -> bool:
        """Tell whether a pair has the residual and the model that are asked for."""
        estimates: Any = pair.record.get("estimates") or ()
        if self.model:
            estimates = [each for each in estimates if each["model"] == self.model]
            if not estimates:
                return False
        if self.residual_from is None:
            return True
        if pair.label is None:
            return False
        return any(abs(each["value"] - pair.label) >= self.residual_from for each in estimates)


def asked(query: Mapping[str, str]) -> Asked:
    """Return what a page's address asks for; what cannot be meant asks for nothing."""
    before = query.get("before", "")
    return Asked(
        deployment=query.get("deployment", "")[:64],
        device=query.get("device", "")[:48].strip(),
        label_from=_number(query.get("from", "")),
        label_to=_number(query.get("to", "")),
        residual_from=_number(query.get("residual", "")),
        model=query.get("model", "")[:64],
        before=int(before) if before.isdecimal() and len(before) < 16 else None,
    )


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def query_of(wanted: Asked) -> dict[str, str]:
    """Return what asks for the same pairs in an address, less where the page begins."""
    held = {
        "deployment": wanted.deployment,
        "device": wanted.device,
        "from": _text(wanted.label_from),
        "to": _text(wanted.label_to),
        "residual": _text(wanted.residual_from),
        "model": wanted.model,
    }
    return {name: value for name, value in held.items() if value}


def _text(value: float | None) -> str:
    return "" if value is None else f"{value:g}"


def compose(
    found: Found,
    wanted: Asked,
    *,
    deployments: Sequence[str],
    models: Sequence[tuple[str, str]],
    unit: str,
) -> Node:
    """Return the contact sheet; `models` are (digest, name)."""
    held = (
        contact_sheet(found.items, unit)
        if found.items
        else parts.empty(_NONE_SUCH if query_of(wanted) else _NONE)
    )
    older = None
    if found.next_after is not None:
        query = {**query_of(wanted), "before": str(found.next_after)}
        older = node("p", parts.link("Older pairs", "samples", **query), cls="more")
    return node("div", _filter(wanted, deployments, models, unit), held, older)


def _filter(
    wanted: Asked, deployments: Sequence[str], models: Sequence[tuple[str, str]], unit: str
) -> Node:
    every = (("", "all"), *((name, name) for name in deployments))
    bounds = {"kind": "number", "step": "any"}
    return node(
        "form",
        choice("deployment", "Deployment", every, wanted.deployment),
        entry("device", "Car", value=wanted.device, maxlength=48),
        entry("from", f"Measured from ({unit})", value=_text(wanted.label_from), **bounds),
        entry("to", f"to ({unit})", value=_text(wanted.label_to), **bounds),
        entry("residual", f"Off by at least ({unit})", value=_text(wanted.residual_from),
              min=0, **bounds),
        choice("model", "Estimated by", (("", "any"), *models), wanted.model),
        node("button", "Show", type="submit"),
        method="get",
        action="/samples",
        cls="filter",
        role="search",
        aria_label="Samples",
    )  # fmt: skip


def act_of(key: SampleKey) -> Act:
    """Return the act of writing something to a pair."""

    def call(form: Sent) -> Call:
        text = form.values.get("label", "").strip()
        label = _number(text)
        if text and label is None:
            raise RefusedError("the label is a number, or nothing")
        body = {"kind": form.values.get("kind", ""), "text": why(form), "label": label}
        path = f"samples/{segment(key.device)}/{segment(key.boot)}/{key.sequence}/annotations"
        return Call(method="POST", path=path, body=body)

    return Act(name="annotate", call=call, done=_written)


def _written(made: Any) -> str:
    if made["kind"] == "note":
        return "Your note stands beside the pair."
    return "It is left out: no training that is asked for from now on learns from it."


def portrait(
    pair: SampleView,
    written: Sequence[AnnotationView],
    versions: Mapping[str, int],
    unit: str,
    voice: Voice,
) -> Node:
    """Return the page of one pair."""
    key = SampleKey(pair.device, pair.boot, pair.sequence)
    text = f"what {pair.device} saw at {words.length(pair.label, unit)}"
    seen = (
        parts.picture(pair.device, pair.boot, pair.sequence, text)
        if pair.has_picture
        else parts.empty("Its picture is not here: the owner may keep it on the car.")
    )
    if pair.has_picture:
        seen["c"] = "large"
    left_out = any(each.kind != "note" for each in written)
    fields = (
        choice("kind", "It is a", _KINDS),
        entry("label", f"It should have been ({unit}), if you know", inputmode="decimal"),
    )
    annotate = voice.form(
        act_of(key), label="Label or leave out", fields=fields, button="Write it down"
    )
    return node(
        "div",
        node("p", parts.tag("left out of training", "bad")) if left_out else None,
        seen,
        buttons(annotate),
        _facts(pair, unit),
        _estimates(pair, versions, unit),
        _looks(pair),
        _written_list(written, unit),
    )


def _facts(pair: SampleView, unit: str) -> Node:
    record = pair.record
    return parts.facts(
        (
            ("Car", parts.link(pair.device, "cars", pair.device)),
            ("Deployment", pair.deployment),
            ("Measured", words.length(pair.label, unit)),
            ("Sensor", parts.shown(record.get("sensor_status"))),
            ("Steered by", parts.shown(record.get("source"))),
            ("Manoeuvre", str(pair.manoeuvre)),
            ("Boot", node("code", pair.boot)),
            ("Sequence", str(pair.sequence)),
            ("Received", moment(pair.received_utc_us)),
            ("Camera", parts.shown(record.get("camera"))),
            ("Calibration", parts.shown(record.get("calibration"))),
            ("Latency", parts.shown(record.get("latency"))),
        )
    )


def _estimates(pair: SampleView, versions: Mapping[str, int], unit: str) -> Node | None:
    estimates: Any = pair.record.get("estimates") or ()
    if not estimates:
        return None
    columns = (
        Column(name="Model"),
        Column(name="Estimate", is_number=True),
        Column(name="Sigma", is_number=True),
        Column(name="Residual", is_number=True),
    )
    rows = [
        Row(
            key=each["model"],
            cells=(
                parts.link(
                    words.version(versions.get(each["model"]), each["model"]),
                    "models",
                    each["model"],
                ),
                words.length(each["value"], unit),
                words.length(each.get("sigma"), unit),
                f"{each['value'] - pair.label:+.1f} {unit}" if pair.label is not None
                else words.UNKNOWN,
            ),
        )
        for each in estimates
    ]  # fmt: skip
    return parts.section("Estimates", "", parts.table("Estimates of this pair", columns, rows))


def _looks(pair: SampleView) -> Node | None:
    looks = pair.record.get("characteristics")
    if not isinstance(looks, dict):
        return None
    return parts.section("How it looks", "Computed on the car.", parts.evidence(looks))


def _written_list(written: Sequence[AnnotationView], unit: str) -> Node | None:
    if not written:
        return None
    rows = [
        (
            str(each.id),
            each.utc_us,
            each.kind,
            f"{each.author}: {each.text}"
            + (f" (should be {words.length(each.label, unit)})" if each.label is not None else ""),
        )
        for each in written
    ]
    return parts.section("What people wrote", "", parts.log(rows))
