"""Models: all versions, and each with its card, gates, slices, lineage, cars, and its remaking."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from fleet_server.console import parts, words
from fleet_server.console.nodes import Child, Node, moment, node
from fleet_server.console.parts import Column, Row
from fleet_server.reading.lineage import ModelLineage
from fleet_server.reading.views import ModelView
from fleet_server.training.runs import ArtefactView

DOCUMENTS = {
    "gates.json": ("Gates", "What the file had to be before anybody else heard of it."),
    "evaluation.json": ("Evaluation", "How it does on pictures it has not learned, by slices."),
    "card.md": ("Model card", "What it is for, and what it is not."),
}
"""Files of a run that are shown whole, in this order."""

_NONE = (
    "No model is registered yet. Once enough pairs are here the server asks for a training, and a "
    "worker makes the first one:"
)
_WORK = "parkfleet trainer work --server http://127.0.0.1:8080 --token-file trainer.token"
_MOST_CARS = 50


@dataclass(frozen=True, kw_only=True)
class Document:
    """A file of a run: parsed JSON, or a text."""

    name: str
    value: object


@dataclass(frozen=True, kw_only=True)
class Portrait:
    """A model with everything that belongs to it; `running` counts the cars that run it now."""

    lineage: ModelLineage
    documents: tuple[Document, ...] = ()
    running: tuple[str, ...] = field(default=())


def compose(models: Sequence[ModelView], running: dict[str, int]) -> Node:
    """Return the list of models, newest first."""
    if not models:
        return parts.empty(_NONE, _WORK)
    columns = (
        Column(name="Version"),
        Column(name="Deployment"),
        Column(name="Registered"),
        Column(name="Test error", is_number=True),
        Column(name="Field error", is_number=True),
        Column(name="Cars", is_number=True),
        Column(name="Made by"),
    )
    rows = [
        Row(
            key=each.sha256,
            cells=(
                node(
                    "span",
                    parts.link(f"v{each.version}", "models", each.sha256),
                    " ",
                    parts.tag("latest", "good") if each.latest else None,
                ),
                each.deployment,
                moment(each.registered_utc_us),
                words.length(_metric(each, "test_mae"), unit_of(each)),
                words.length(each.reference_mae, unit_of(each)),
                words.count(running.get(each.sha256, 0)),
                str(each.manifest.get("trainer", words.UNKNOWN)),
            ),
        )
        for each in models
    ]
    return parts.section(
        "Versions",
        "Every model that was registered; what cars run is what they report.",
        parts.table("Registered models", columns, rows),
    )


def unit_of(model: ModelView) -> str:
    """Return the unit of a model's errors."""
    task = model.manifest.get("task")
    return str(task.get("unit", "mm")) if isinstance(task, dict) else "mm"


def _metric(model: ModelView, name: str) -> float | None:
    metrics = model.manifest.get("metrics")
    value = metrics.get(name) if isinstance(metrics, dict) else None
    return float(value) if value is not None else None


def portrait(held: Portrait) -> Node:
    """Return the page of one model."""
    lineage = held.lineage
    documents = {each.name: each for each in held.documents}
    return node(
        "div",
        _facts(lineage),
        _descent(held),
        _metrics(lineage.model),
        *(
            _document(heading, gloss, documents[name])
            for name, (heading, gloss) in DOCUMENTS.items()
            if name in documents
        ),
        _plots(lineage.artefacts),
        _again(lineage),
        _cars(held),
        _files(lineage.artefacts),
    )


def _facts(lineage: ModelLineage) -> Node:
    model = lineage.model
    manifest = model.manifest
    return parts.facts(
        (
            ("Deployment", parts.link(model.deployment, "deployments")),
            ("Version", f"v{model.version}" + (", latest" if model.latest else "")),
            ("Release", str(model.release_seq)),
            ("Registered", moment(model.registered_utc_us)),
            ("Trainer", str(manifest.get("trainer", words.UNKNOWN))),
            ("Preprocessing", str(manifest.get("preprocessing", words.UNKNOWN))),
            ("Needs a car of", str(manifest.get("minimum_device", words.UNKNOWN))),
            ("Size", words.size(_whole(manifest.get("size_bytes")))),
            ("Error in the field", words.length(model.reference_mae, unit_of(model))),
            ("Digest", node("code", model.sha256)),
        )
    )


def _whole(value: object) -> int | None:
    return value if isinstance(value, int) else None


def _descent(held: Portrait) -> Node:
    lineage = held.lineage
    cards: list[Child] = []
    if lineage.verdict:
        cards.append(_card(f"Verdict {lineage.verdict.id}", lineage.verdict.cause, "drift"))
    if lineage.decision:
        cards.append(_card(f"Decision {lineage.decision.id}", lineage.decision.kind, "log"))
    if lineage.dataset:
        pairs = words.counted(lineage.dataset.pairs, "pair")
        deployment = lineage.dataset.deployment
        cards.append(_card("Data set", pairs, "samples", deployment=deployment))
    if lineage.job:
        cards.append(_card(f"Job {lineage.job.id}", lineage.job.worker or "", "training"))
    if lineage.run:
        cards.append(_card("Run", lineage.run.run[:12], "training"))
    model = lineage.model
    cards.append(_card(f"Model v{model.version}", model.sha256[:8], "models", model.sha256))
    running = words.counted(len(held.running), "car")
    cards.append(_card("Cars", f"{running} run it", "", deployment=model.deployment))
    graph = node("ol", *(node("li", each) for each in cards), cls="descent")
    gloss = "From what was found out to the cars that drive by it; each leads on."
    return parts.section("Lineage", gloss, graph)


def _card(heading: str, note: str, *path: str, **query: str) -> Node:
    href = parts.address(*path, **query)
    return node("a", heading, node("small", note), href=href, cls="card")


def _metrics(model: ModelView) -> Node | None:
    metrics = model.manifest.get("metrics")
    if not isinstance(metrics, dict) or not metrics:
        return None
    return parts.section("Figures", "As signed in its manifest.", parts.evidence(metrics))


def _document(heading: str, gloss: str, document: Document) -> Node:
    value = document.value
    held = node("pre", value, tabindex=0) if isinstance(value, str) else parts.document(value)
    return parts.section(heading, gloss, held)


def _address(each: ArtefactView) -> str:
    return f"/view/training-jobs/{each.job}/artefacts/{each.attempt}/{each.name}"


def _plots(files: Sequence[ArtefactView]) -> Node | None:
    plots = [each for each in files if each.name.endswith(".png")]
    if not plots:
        return None
    drawn = [
        node(
            "figure",
            node("figcaption", each.name.removesuffix(".png")),
            node("img", src=_address(each), alt=f"plot: {each.name}", loading="lazy", cls="drawn"),
        )
        for each in plots
    ]
    return parts.section("Plots", "As the worker drew them.", node("div", *drawn, cls="plots"))


def _again(lineage: ModelLineage) -> Node:
    run = str(lineage.model.manifest.get("run_id", ""))
    return parts.section(
        "Make it again",
        "On the machine of its worker, which keeps the run: the same file, to the byte.",
        node("pre", f"parkfleet trainer reproduce {run} --state var/trainer", tabindex=0),
    )


def _cars(held: Portrait) -> Node:
    gloss = "What cars report as loaded."
    if not held.running:
        return parts.section("Cars that run it", gloss, parts.empty("No car runs it now."))
    names = held.running[:_MOST_CARS]
    more = len(held.running) - len(names)
    links = [node("li", parts.link(each, "cars", each)) for each in names]
    rest = node("li", f"and {more} more") if more else None
    return parts.section("Cars that run it", gloss, node("ul", *links, rest, cls="plain wide"))


def _files(files: Sequence[ArtefactView]) -> Node | None:
    if not files:
        return None
    links = [
        node("li", node("a", each.name, href=_address(each), download=each.name),
             f" {words.size(each.size_bytes)}")
        for each in files
    ]  # fmt: skip
    return parts.section("Files", "What its worker handed in.", node("ul", *links, cls="plain"))
