"""Training: the queue, how far each job is, what its worker handed in, and asking for one."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from fleet_server.console import parts, words
from fleet_server.console.acts import Act, Call, Voice, buttons, choice, entry, number, segment, why
from fleet_server.console.nodes import Child, Node, moment, node
from fleet_server.console.parts import Column, Row
from fleet_server.console.sheet import Sent
from fleet_server.reading.views import JobView
from fleet_server.training.runs import ArtefactView, RunView

OPEN = ("queued", "running")
_TONES = {"done": "good", "failed": "bad", "running": "busy"}
_NONE = (
    "Nothing was trained yet. The server asks for a training once a deployment has enough pairs, "
    "and a worker takes it:"
)
_WORK = "parkfleet trainer work --server http://127.0.0.1:8080 --token-file trainer.token"


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job with what its worker told of it."""

    job: JobView
    runs: tuple[RunView, ...]
    files: tuple[ArtefactView, ...]


def _train(form: Sent) -> Call:
    body = {
        "deployment": form.values.get("deployment", ""),
        "trials": number(form, "trials", "Settings to try"),
        "reason": why(form),
    }
    return Call(method="POST", path="training-jobs", body=body)


def _cancel(form: Sent) -> Call:
    path = f"training-jobs/{segment(form.key)}/cancel"
    return Call(method="POST", path=path, body={"reason": why(form)})


def _asked(job: Any) -> str:
    return f"Job {job['id']} waits for a worker."


TRAIN = Act(name="train", call=_train, done=_asked)
CANCEL = Act(name="cancel", call=_cancel, done=lambda job: f"Job {job['id']} has ended.")


def compose(jobs: Sequence[Job], deployments: Sequence[str], voice: Voice) -> Node:
    """Return the page; `jobs` come newest first."""
    fields = (
        choice("deployment", "For", [(name, name) for name in deployments]),
        entry("trials", "Settings to try", kind="number", value="0", min=0, max=1000),
    )
    train = voice.form(TRAIN, label="Ask for a training", fields=fields, button="Train")
    waiting = [each for each in jobs if each.job.state in OPEN]
    ended = [each for each in jobs if each.job.state not in OPEN]
    if not jobs:
        return node("div", buttons(train), parts.empty(_NONE, _WORK))
    idle = parts.empty("Nothing waits and nothing runs.")
    return node(
        "div",
        buttons(train),
        parts.section(
            "Queue",
            "What waits and what runs.",
            node("div", *(_open_job(each, voice) for each in waiting)) if waiting else idle,
        ),
        parts.section("Ended", "The newest first.", _ended(ended)) if ended else None,
    )


def _open_job(held: Job, voice: Voice) -> Node:
    job = held.job
    share = "waits for a worker" if job.state == "queued" else f"{job.fraction:.0%} {job.stage}"
    return node(
        "article",
        node("h3", f"Job {job.id} for {job.deployment} ", parts.tag(job.state, "busy")),
        node("p", job.reason),
        parts.meter(job.fraction, f"Job {job.id}: {share}"),
        parts.facts(
            (
                ("How far", share),
                ("Says", job.message or words.UNKNOWN),
                ("Worker", job.worker or words.UNKNOWN),
                ("Attempt", str(job.attempt)),
                ("Asked for", moment(job.created_utc_us)),
                ("Last word", moment(job.changed_utc_us)),
                ("Settings to try", str(job.trials) if job.trials else "as the worker sees fit"),
            )
        ),
        buttons(voice.form(CANCEL, key=str(job.id), label="Cancel", is_grave=True)),
        key=str(job.id),
        cls="job",
    )


def _ended(jobs: Sequence[Job]) -> Node:
    columns = tuple(
        Column(name=name) for name in ("Job", "Why", "Ended", "State", "Model", "Handed in")
    )
    rows = [
        Row(
            key=str(each.job.id),
            cells=(
                parts.stacked(f"{each.job.id}", each.job.deployment),
                each.job.reason,
                moment(each.job.changed_utc_us, is_short=True),
                parts.stacked(
                    parts.tag(each.job.state, _TONES.get(each.job.state, "")), each.job.message
                ),
                parts.link(each.job.model[:8], "models", each.job.model)
                if each.job.model
                else words.UNKNOWN,
                _handed_in(each),
            ),
        )
        for each in jobs
    ]
    return parts.table("Jobs that ended", columns, rows)


def _handed_in(held: Job) -> Child:
    files = [
        node("a", each.name, href=f"/view/{_file(each)}", download=each.name) for each in held.files
    ]
    links = [
        node("a", name, href=value, rel="noreferrer")
        for run in held.runs
        for name, value in run.parameters.items()
        if value.startswith(("http://", "https://"))
    ]
    runs = [node("span", each.run) for each in held.runs]
    kept = [node("li", each) for each in (*files, *links, *runs)]
    return node("ul", *kept, cls="plain") if kept else words.UNKNOWN


def _file(each: ArtefactView) -> str:
    return f"training-jobs/{each.job}/artefacts/{each.attempt}/{each.name}"
