"""Drift: what was found out about models in the field, on what evidence, and what is done."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fleet_server import logbook
from fleet_server.console import parts, plots, words
from fleet_server.console.acts import Act, Call, Voice, buttons, segment, why
from fleet_server.console.nodes import Child, Node, moment, node
from fleet_server.console.parts import Column, Row
from fleet_server.console.sheet import Sent
from fleet_server.reading.views import DecisionView, ManoeuvreView, VerdictView

_NONE = (
    "Nothing was found out yet. A model's first manoeuvres on a car are what later ones are "
    "compared with; a change of error, of pictures or of the sensor will be told here."
)
_KINDS = {
    "drift": "the error rose",
    "sensor": "the sensor is suspected",
    "change": "something changed and does not hurt",
}
_EVIDENCE_SHOWN = frozenset({"p_values", "shares_of_added_error", "moved", "manoeuvres"})
_SURE = 0.05


@dataclass(frozen=True, kw_only=True)
class Case:
    """A verdict with the manoeuvres of its car and what was decided about it."""

    verdict: VerdictView
    version: int | None
    unit: str
    course: tuple[ManoeuvreView, ...]
    decisions: tuple[DecisionView, ...]


def _word(name: str, done: str) -> Act:
    def call(form: Sent) -> Call:
        path = f"drift/{segment(form.key)}/{name}"
        return Call(method="POST", path=path, body={"reason": why(form)})

    return Act(name=name, call=call, done=lambda _: done)


APPROVE = _word("approve", "Approved: the model is trained anew once there is data for it.")
VETO = _word("veto", "Vetoed: nothing is done about this verdict.")


def compose(open_cases: Sequence[Case], over: Sequence[VerdictView], voice: Voice) -> Node:
    """Return the page: what is open with its evidence, and what is over."""
    if not open_cases and not over:
        return parts.empty(_NONE)
    none = parts.empty("Nothing is wrong with any model now.") if not open_cases else None
    return node("div", none, *(_case(each, voice) for each in open_cases), _over(over))


def _case(case: Case, voice: Voice) -> Node:
    verdict = case.verdict
    version = words.version(case.version, verdict.model)
    key = str(verdict.id)
    return parts.section(
        f"{verdict.cause.replace('-', ' ')}: {version} on {verdict.device or verdict.deployment}",
        verdict.reason,
        node(
            "p",
            parts.tag(_KINDS.get(verdict.kind, verdict.kind), "bad" if verdict.hurts else ""),
            " found ",
            moment(verdict.utc_us),
        ),
        parts.facts(_about(case)),
        _plots(case),
        _moved(verdict.evidence.get("moved")),
        _rest(verdict.evidence),
        _decisions(case.decisions),
        buttons(
            voice.form(APPROVE, key=key, label="Approve a retraining"),
            voice.form(VETO, key=key, label="Veto: do nothing", is_grave=True),
        ),
        key=key,
    )


def _about(case: Case) -> list[tuple[str, Child]]:
    verdict = case.verdict
    by = "by the model's own sigma, since no sensor measured it"
    held: list[tuple[str, Child]] = [
        ("Model", parts.link(words.version(case.version, verdict.model), "models", verdict.model)),
        ("Deployment", parts.link(verdict.deployment, "deployments")),
        ("Error now", words.length(verdict.error, case.unit)),
        ("Normal", words.length(verdict.normal, case.unit)),
        ("Measured", by if verdict.is_estimate else "by the reference sensor"),
    ]
    if verdict.device:
        held.insert(0, ("Car", parts.link(verdict.device, "cars", verdict.device)))
    return held


def _plots(case: Case) -> Node | None:
    points = [
        (float(place + 1), each.mae)
        for place, each in enumerate(case.course)
        if each.mae is not None
    ]
    drawn: list[Child] = []
    if points:
        name = f"error per manoeuvre ({case.unit}), dashed: normal"
        drawn.append(plots.curves(name, [("error", points)], level=case.verdict.normal))
    evidence = case.verdict.evidence
    drawn.append(_bars("Where the added error lies", evidence.get("shares_of_added_error")))
    drawn.append(_tests(evidence.get("p_values")))
    kept = [each for each in drawn if each]
    return node("div", *kept, cls="plots") if kept else None


def _bars(heading: str, values: object) -> Node | None:
    shares = _numbers(values)
    if not shares:
        return None
    rows = [
        node("li", node("span", f"{name.replace('_', ' ')} {share:.0%}"), parts.meter(share, name))
        for name, share in shares.items()
    ]
    return node("figure", node("figcaption", heading), node("ul", *rows, cls="bars"))


def _tests(values: object) -> Node | None:
    tests = _numbers(values)
    if not tests:
        return None
    rows = [
        node(
            "li",
            node("span", f"{name.replace('_', ' ')}: p = {value:.3g} "),
            parts.tag("changed", "bad") if value < _SURE else parts.tag("as before"),
        )
        for name, value in tests.items()
    ]
    return node("figure", node("figcaption", "What changed"), node("ul", *rows, cls="bars"))


def _numbers(values: object) -> dict[str, float]:
    if not isinstance(values, Mapping):
        return {}
    return {
        str(name): float(value)
        for name, value in values.items()
        if isinstance(value, int | float) and not isinstance(value, bool)
    }


def _moved(moved: object) -> Node | None:
    if not isinstance(moved, list | tuple) or not moved:
        return None
    columns = (
        Column(name="Characteristic"),
        Column(name="Before", is_number=True),
        Column(name="Now", is_number=True),
        Column(name="Deviations", is_number=True),
        Column(name="Share of the added error", is_number=True),
    )
    names = ("before", "now", "deviations")
    rows = [
        Row(
            key=str(each.get("characteristic", place)),
            cells=(
                parts.shown(each.get("characteristic")),
                *(parts.shown(each.get(name)) for name in names),
                _share(each.get("share_of_added_error")),
            ),
        )
        for place, each in enumerate(moved)
        if isinstance(each, Mapping)
    ]
    return parts.table("What moved", columns, rows)


def _share(value: object) -> str:
    return f"{value:.0%}" if isinstance(value, int | float) else words.UNKNOWN


def _rest(evidence: Mapping[str, object]) -> Node | None:
    rest = parts.evidence(
        {name: value for name, value in evidence.items() if name not in _EVIDENCE_SHOWN}
    )
    return rest and node("details", node("summary", "More numbers"), rest)


def _decisions(decisions: Sequence[DecisionView]) -> Node:
    if not decisions:
        return node("p", "The policy has not answered yet.", cls="gloss")
    rows = [
        (
            str(each.id),
            each.utc_us,
            each.kind,
            each.reason if each.actor == logbook.CONTROL else f"{each.actor}: {each.reason}",
        )
        for each in decisions
    ]
    return node("div", node("h3", "What was decided, and why"), parts.log(rows))


def _over(over: Sequence[VerdictView]) -> Node | None:
    if not over:
        return None
    columns = tuple(Column(name=name) for name in ("Verdict", "Car", "Found", "Over", "Why"))
    rows = [
        Row(
            key=str(each.id),
            cells=(
                parts.stacked(f"{each.id} {each.cause}", each.deployment),
                each.device or words.UNKNOWN,
                moment(each.utc_us),
                moment(each.cleared_utc_us),
                each.cleared_reason,
            ),
        )
        for each in over
    ]
    table = parts.table("Verdicts that are over", columns, rows)
    return parts.section("What is over", "The newest first.", table)
