"""Rollouts: how far each new model has come, by stages, arms and gates; and people's word on it."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass

from fleet_server.console import parts, words
from fleet_server.console.acts import Act, Call, Voice, buttons, segment, why
from fleet_server.console.nodes import Node, moment, node
from fleet_server.console.sheet import Sent
from fleet_server.reading.views import DecisionView
from fleet_server.rollout.ruling import RolloutView

OPEN = ("running", "paused")
_TONES = {"running": "busy", "paused": "bad", "aborted": "bad", "ended": "good"}
_SHOWN = frozenset(
    {"id", "deployment", "model", "strategy", "state", "stage", "stages", "stage_since_utc_us",
     "begun_utc_us", "harm", "reason", "cars", "keep", "failed"}
)  # fmt: skip
_NONE = (
    "Nothing was rolled out yet. The first model of a deployment goes to its cars at once; each "
    "later one is tried by them first, as rollout_strategy says."
)


@dataclass(frozen=True, kw_only=True)
class Rollout:
    """A rollout; `promoted` is the latest version: cars that are to run it and cars that do."""

    view: RolloutView
    version: int | None


def _order(state: str) -> Act:
    names = {
        "paused": "The rollout is paused: nobody new is offered the model.",
        "running": "The rollout goes on; its stage begins anew.",
        "aborted": "The rollout is aborted: the model is offered no more.",
        "ended": "The model is promoted: all cars of the deployment are to run it.",
    }

    def call(form: Sent) -> Call:
        path = f"deployments/{segment(form.key)}/rollout"
        return Call(method="PUT", path=path, body={"state": state, "reason": why(form)})

    return Act(name=f"rollout-{state}", call=call, done=lambda _: names[state])


PAUSE, RESUME, ABORT, PROMOTE = (_order(each) for each in ("paused", "running", "aborted", "ended"))
ACTS = (PAUSE, RESUME, ABORT, PROMOTE)


def compose(
    held: Sequence[Rollout],
    spread: Sequence[tuple[str, int, int, int]],
    steps: Sequence[DecisionView],
    voice: Voice,
) -> Node:
    """Return the page; `spread` is deployment, latest version, cars wanted and cars that run it."""
    if not held and not spread:
        return parts.empty(_NONE)
    return node(
        "div",
        *(_rollout(each, voice) for each in held),
        _spread(spread),
        _steps(steps),
    )


def _rollout(held: Rollout, voice: Voice) -> Node:
    view = held.view
    share = view.keep / view.cars if view.cars else 0.0
    stage = f"stage {view.stage + 1} of {view.stages}"
    version = words.version(held.version, view.model)
    rest = {name: each for name, each in asdict(view).items() if name not in _SHOWN}
    return parts.section(
        f"{version} in {view.deployment}",
        view.reason,
        node("p", parts.tag(view.state, _TONES.get(view.state, "")), f" {view.strategy}, {stage}"),
        parts.figures(
            f"Where {version} stands",
            (
                ("Keep it", f"{view.keep} of {view.cars}", "cars of this stage", share),
                ("Failed it", str(view.failed), "refused, rolled back or silent", None),
                ("Proof asked", "less" if view.harm else "as always",
                 "since the model in service does harm" if view.harm else "", None),
            ),
        ),
        parts.facts(
            (
                ("Model", parts.link(version, "models", view.model)),
                ("Begun", moment(view.begun_utc_us)),
                ("This stage since", moment(view.stage_since_utc_us)),
            )
        ),
        _stages(view),
        _rest(rest),
        _doing(view, voice) if view.state in OPEN else None,
        key=view.deployment,
    )  # fmt: skip


def _stages(view: RolloutView) -> Node | None:
    if view.stages < 2:
        return None
    made = [
        node(
            "li",
            node("span", f"Stage {place + 1}", cls="card"),
            aria_current="step" if place == view.stage else None,
        )
        for place in range(view.stages)
    ]
    return node("ol", *made, cls="descent")


def _rest(rest: Mapping[str, object]) -> Node | None:
    kept = {name: each for name, each in rest.items() if each not in (None, (), [], {}, "")}
    return parts.document(_plain(kept)) if kept else None


def _plain(value: object) -> object:
    if isinstance(value, tuple | list):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {str(name): _plain(each) for name, each in value.items()}
    return value


def _doing(view: RolloutView, voice: Voice) -> Node | None:
    key = view.deployment
    halt = (
        voice.form(PAUSE, key=key, label="Pause")
        if view.state == "running"
        else voice.form(RESUME, key=key, label="Resume")
    )
    return buttons(
        halt,
        voice.form(PROMOTE, key=key, label="Promote now"),
        voice.form(ABORT, key=key, label="Abort", is_grave=True),
    )


def _spread(spread: Sequence[tuple[str, int, int, int]]) -> Node | None:
    if not spread:
        return None
    rows = (
        (f"{name}: v{version}", f"{loaded} of {wanted}", "cars run the latest version",
         loaded / wanted if wanted else 0.0)
        for name, version, wanted, loaded in spread
    )  # fmt: skip
    return parts.section(
        "Latest versions",
        "How far what was promoted has come.",
        parts.figures("Latest versions", rows),
    )


def _steps(steps: Sequence[DecisionView]) -> Node | None:
    if not steps:
        return None
    rows = [(str(each.id), each.utc_us, each.kind, each.reason) for each in steps]
    return parts.section("Steps", "What moved rollouts, the newest first.", parts.log(rows))
