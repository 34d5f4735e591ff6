"""Deployments: made, pinned, retired, cars put into them; and two compared side by side."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any

from fleet_server.console import parts, plots, words
from fleet_server.console.acts import Act, Call, Voice, buttons, choice, entry, segment, why
from fleet_server.console.nodes import Child, Node, node
from fleet_server.console.parts import Column, Row
from fleet_server.console.sheet import Sent
from fleet_server.reading.views import DeploymentView, SampleView
from shared.errors import RefusedError
from shared.samples import Characteristics

CHARACTERISTICS = tuple(Characteristics.__struct_fields__)
_STRETCHES = 12
_NONE = (
    "There is no deployment yet. One is a setting that cars drive in, such as a garage with its "
    "floor and light; each has a model of its own. Make the first:"
)


@dataclass(frozen=True, kw_only=True)
class Side:
    """One of two deployments that are compared, by its last pairs."""

    name: str
    labels: list[float] = field(default_factory=list)
    estimates: list[float] = field(default_factory=list)
    errors: list[tuple[float, float]] = field(default_factory=list)
    characteristics: dict[str, list[float]] = field(default_factory=dict)


def side_of(name: str, pairs: Sequence[SampleView]) -> Side:
    """Return what is compared of a deployment's pairs; errors are |estimate - label| by label."""
    side = Side(name=name, characteristics={each: [] for each in CHARACTERISTICS})
    for pair in pairs:
        estimate = pair.estimate
        if pair.label is not None:
            side.labels.append(pair.label)
        if estimate is not None:
            side.estimates.append(estimate)
            if pair.label is not None:
                side.errors.append((pair.label, abs(estimate - pair.label)))
        looks: Any = pair.record.get("characteristics") or {}
        for each in CHARACTERISTICS:
            if each in looks:
                side.characteristics[each].append(float(looks[each]))
    return side


def over_distance(errors: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Return mean errors over stretches of the label: (middle of the stretch, mean)."""
    if not errors:
        return []
    low, high = min(label for label, _ in errors), max(label for label, _ in errors)
    width = (high - low) / _STRETCHES or 1.0
    held: dict[int, list[float]] = {}
    for label, error in errors:
        held.setdefault(min(int((label - low) / width), _STRETCHES - 1), []).append(error)
    return [(low + (place + 0.5) * width, fmean(held[place])) for place in sorted(held)]


def _create(form: Sent) -> Call:
    body = {"name": form.values.get("name", "").strip(), "reason": why(form)}
    return Call(method="POST", path="deployments", body=body)


def _pin(form: Sent) -> Call:
    text = form.values.get("version", "").strip()
    if text and not text.isdecimal():
        raise RefusedError("a version is a whole number; leave it empty to follow the latest")
    body = {"version": int(text) if text else None, "reason": why(form)}
    return Call(method="PUT", path=f"deployments/{segment(form.key)}/version", body=body)


def _status(form: Sent) -> Call:
    body = {"status": form.values.get("status", ""), "reason": why(form)}
    return Call(method="PUT", path=f"deployments/{segment(form.key)}/status", body=body)


def _assign(form: Sent) -> Call:
    device = segment(form.values.get("device", "").strip())
    body = {"deployment": form.key, "reason": why(form)}
    return Call(method="POST", path=f"devices/{device}/deployment", body=body)


def _pinned(made: Any) -> str:
    if made["pinned_version"] is None:
        return f"{made['name']} follows its latest version."
    return f"{made['name']} runs v{made['pinned_version']}, whatever comes."


CREATE = Act(
    name="create", call=_create, done=lambda made: f"{made['name']} is there: put cars into it."
)
PIN = Act(name="pin", call=_pin, done=_pinned)
STATUS = Act(name="status", call=_status, done=lambda made: f"{made['name']} is {made['status']}.")
ASSIGN = Act(
    name="assign", call=_assign, done=lambda car: f"{car['device']} is in {car['deployment']} now."
)
ACTS = (CREATE, PIN, STATUS, ASSIGN)


def compose(deployments: Sequence[DeploymentView], sides: Sequence[Side], voice: Voice) -> Node:
    """Return the page; `sides` are the two that are compared, or none."""
    name = entry("name", "Name", required=True, maxlength=64, placeholder="garage")
    create = buttons(voice.form(CREATE, label="New deployment", fields=(name,), button="Make it"))
    if not deployments:
        return node("div", parts.empty(_NONE), create)
    return node(
        "div",
        create,
        parts.section(
            "All deployments",
            "Cars belong to one at a time, and run its latest version or the one it is pinned to.",
            _table(deployments, voice),
        ),
        _compared(deployments, sides),
    )


def _table(deployments: Sequence[DeploymentView], voice: Voice) -> Node:
    columns = (
        Column(name="Deployment"),
        Column(name="Estimates"),
        Column(name="Version"),
        Column(name="Cars", is_number=True),
        Column(name="Pairs", is_number=True),
        Column(name="State"),
        Column(name="What you can do"),
    )
    rows = [
        Row(
            key=each.name,
            cells=(
                each.name,
                f"{each.task.get('name', '')}, {each.task.get('unit', '')}",
                _version(each),
                node("a", words.count(each.devices), href=parts.address(deployment=each.name)),
                node(
                    "a",
                    words.count(each.pairs_stored),
                    href=parts.address("samples", deployment=each.name),
                ),
                parts.tag(each.status, "good" if each.status == "active" else ""),
                _doing(each, voice),
            ),
        )
        for each in deployments
    ]
    return parts.table("Deployments", columns, rows)


def _version(each: DeploymentView) -> Child:
    latest = words.version(each.latest_version, each.latest)
    text: Child = parts.link(latest, "models", each.latest) if each.latest else latest
    pinned = each.pinned_version
    return parts.stacked(text, f"pinned to v{pinned}" if pinned is not None else "")


def _doing(each: DeploymentView, voice: Voice) -> Child:
    is_active = each.status == "active"
    device = entry("device", "Name of the car", required=True, maxlength=48)
    version = entry(
        "version", "Version; empty follows the latest", inputmode="numeric", maxlength=9
    )
    wanted = node("input", type="hidden", name="status", value="retired" if is_active else "active")
    return (
        buttons(
            voice.form(ASSIGN, key=each.name, label="Put a car into it", fields=(device,)),
            voice.form(PIN, key=each.name, label="Pin", fields=(version,)),
            voice.form(
                STATUS,
                key=each.name,
                label="Retire" if is_active else "Take up again",
                fields=(wanted,),
                is_grave=is_active,
            ),
        )
        or words.UNKNOWN
    )


def _compared(deployments: Sequence[DeploymentView], sides: Sequence[Side]) -> Node:
    names = [(each.name, each.name) for each in deployments]
    left = sides[0].name if sides else names[0][0]
    right = sides[1].name if sides else names[-1][0]
    form = node(
        "form",
        choice("left", "One", names, left),
        choice("right", "The other", names, right),
        node("button", "Compare", type="submit"),
        method="get",
        action="/deployments",
        cls="filter",
    )
    gloss = "Their last pairs: labels, estimates, error over distance, and how pictures look."
    unit = str(deployments[0].task.get("unit", "mm"))
    return parts.section("Side by side", gloss, form, _beside(sides, unit) if sides else None)


def _beside(sides: Sequence[Side], unit: str) -> Node:
    if not any(side.labels or side.estimates for side in sides):
        return parts.empty("Neither has pairs yet: nothing to compare.")
    counts = [f"{side.name}: {words.counted(len(side.labels), 'label')}" for side in sides]
    curves = [(side.name, over_distance(side.errors)) for side in sides]
    drawn = [
        plots.histogram(f"labels ({unit})", [(each.name, each.labels) for each in sides]),
        plots.histogram(f"estimates ({unit})", [(each.name, each.estimates) for each in sides]),
    ]
    if any(points for _, points in curves):
        drawn.append(plots.curves(f"mean error over distance ({unit})", curves))
    for name in CHARACTERISTICS:
        series = [(each.name, each.characteristics[name]) for each in sides]
        if any(values for _, values in series):
            drawn.append(plots.histogram(name.replace("_", " "), series))
    return node("div", plots.legend(counts), node("div", *drawn, cls="plots"), key="beside")
