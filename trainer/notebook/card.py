"""The model card: what a model is, what it is for, what it is worth, where it fails. For people.

Laws:
- every figure is read from what the run kept; nothing is typed;
- the worst is shown first to who asks: the largest errors, with their pictures, are in it;
- a refused model has a card as well, and it opens with the reason.

After Mitchell et al. 2019, "Model Cards for Model Reporting".
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

import numpy as np

from shared.manifest import Manifest
from shared.task import Task
from trainer.data.dataset import Dataset, Floats, Indices
from trainer.data.split import Split
from trainer.judging.evaluate import Evaluation, Judgement
from trainer.notebook import plots
from trainer.pipeline import steps
from trainer.pipeline.kept import Begun, Gates, Rounds
from trainer.settings import TrainingSettings

FILE: Final = "card.md"

_AGAINST: Final = (
    "Errors are against the reference sensor, its own noise included, on manoeuvres that neither "
    "training nor the choice of settings saw, in LiteRT."
)
_NOT_FOR: Final = (
    "Other cameras, other mountings and settings that are not in the table above: there its error "
    "is unknown, and a car's own drift alarm is what tells."
)


@dataclass(frozen=True, eq=False, kw_only=True)
class Told:
    """What a card tells of; `answers` are rows, values and log sigmas (0..1)."""

    begun: Begun
    settings: TrainingSettings
    dataset: Dataset
    split: Split
    rounds: Rounds
    judgement: Judgement
    answers: tuple[Indices, Floats, Floats]
    gates: Gates
    manifest: Manifest


def without_pictures(card: str) -> str:
    """Return the text of a card for a page that has not its pictures beside it."""
    lines = [line for line in card.splitlines() if not line.startswith("![")]
    return "\n".join([*lines, "", "The plots lie beside the card, in the run's folder `model`."])


def write(told: Told) -> Iterator[tuple[str, bytes]]:
    """Yield the plots and then the card, by file name."""
    task = told.dataset.task
    rows, values, log_sigmas = told.answers
    labels = told.dataset.labels[rows] * task.span + task.low
    said = values * task.span + task.low
    scores = np.abs(values - told.dataset.labels[rows]) / np.exp(log_sigmas)
    yield "error.png", plots.error_over_label(labels, said, told.judgement.converted, task)
    yield "settings.png", plots.per_setting(told.judgement, task)
    yield "calibration.png", plots.calibration(scores)
    yield "training.png", plots.training(told.rounds.rounds, told.rounds.best_round, task)
    at = np.argsort(-np.abs(said - labels), kind="stable")[: plots.WORST]
    yield (
        "worst.png",
        plots.worst(told.dataset.pictures[rows[at]], captions(labels[at], said[at], task)),
    )
    yield FILE, _text(told).encode()


def captions(labels: Floats, said: Floats, task: Task) -> list[str]:
    """Return for each picture what was said and what was true, in the task's unit."""
    return [
        f"said {value:.0f}, was {label:.0f} {task.unit}"
        for value, label in zip(said.tolist(), labels.tolist(), strict=True)
    ]


def _text(told: Told) -> str:
    manifest, task = told.manifest, told.dataset.task
    parts = [
        f"# Model {manifest.sha256[:12]} for {manifest.deployment}",
        _verdict(told.gates),
        _what(manifest, task),
        "## What it is worth",
        _figures(told.judgement, task),
        _AGAINST,
        "![Error over label](error.png)",
        "![Per setting](settings.png)",
        "![Calibration](calibration.png)",
        "## Where it is wrong",
        "![The largest errors](worst.png)",
        _slices(told.judgement.converted, task),
        "## Gates",
        _gates(told.gates),
        "## Where it comes from",
        _origin(told),
        "![Training](training.png)",
        "```mermaid\n" + steps.mermaid() + "```",
        "## What it is not for",
        _NOT_FOR,
    ]
    return "\n\n".join(parts) + "\n"


def _what(manifest: Manifest, task: Task) -> str:
    made = datetime.fromtimestamp(manifest.created_utc_us / 1e6, UTC)
    return (
        f"Estimates the {task.label} ({task.low:g} to {task.high:g} {task.unit}) and its own "
        f"uncertainty from one picture of {task.picture_width} x {task.picture_height}. "
        f"Made {made:%Y-%m-%d %H:%M} UTC by {manifest.trainer} as release {manifest.release_seq}."
    )


def _verdict(gates: Gates) -> str:
    if gates.refusal:
        return f"**Refused, goes nowhere:** {gates.refusal}."
    return "All gates are open."


def _figures(judged: Judgement, task: Task) -> str:
    columns: dict[str, Evaluation] = {"int8 in LiteRT": judged.converted, "float": judged.original}
    if judged.in_service is not None:
        columns["model in service"] = judged.in_service
    lines = [
        "| | " + " | ".join(columns) + " |",
        "|---|" + "---|" * len(columns),
    ]
    figures: Mapping[str, Sequence[str]] = {
        f"mean absolute error, {task.unit}": [f"{each.mae:.2f}" for each in columns.values()],
        f"95 % below, {task.unit}": [f"{each.p95:.2f}" for each in columns.values()],
        f"bias, {task.unit}": [f"{each.bias:+.2f}" for each in columns.values()],
        "within one sigma (68 %)": [f"{each.within_1_sigma:.0%}" for each in columns.values()],
        "within two sigma (95 %)": [f"{each.within_2_sigma:.0%}" for each in columns.values()],
    }
    lines += [f"| {name} | " + " | ".join(row) + " |" for name, row in figures.items()]
    lines.append(
        f"\nKernel ridge regression on 20 x 15 pixels, fitted and judged on the same split: "
        f"{judged.baseline_mae:.2f} {task.unit}."
    )
    held = judged.converted
    lines.append(
        f"\n{held.pictures} pictures of {held.manoeuvres} manoeuvres; one answer takes "
        f"{judged.latency_us:.0f} us on the trainer's machine, {judged.size_bytes} bytes."
    )
    return "\n".join(lines)


def _slices(judged: Evaluation, task: Task) -> str:
    lines = [
        f"| slice | pictures | error, {task.unit} | bias | 1 sigma | 2 sigma |",
        "|---|---|---|---|---|---|",
    ]
    for kind, found in (("setting", judged.settings), ("device", judged.devices)):
        lines += [
            f"| {kind} {each.name} | {each.pictures} | {each.mae:.2f} | {each.bias:+.2f} | "
            f"{each.within_1_sigma:.0%} | {each.within_2_sigma:.0%} |"
            for each in found
        ]
    lines += [
        f"| {each.low:g} to {each.high:g} {task.unit} | {each.pictures} | {each.mae:.2f} | | | |"
        for each in judged.bins
    ]
    return "\n".join(lines)


def _gates(gates: Gates) -> str:
    lines = ["| gate | figure | limit | |", "|---|---|---|---|"]
    lines += [
        f"| {each.gate} | {each.value:.4g} {each.unit} | {each.limit:.4g} | "
        f"{each.refusal or 'open'} |"
        for each in gates.findings
    ]
    return "\n".join(lines)


def _origin(told: Told) -> str:
    dataset, begun = told.dataset, told.begun
    held = ", ".join(f"{len(rows)} {name}" for name, rows in told.split.parts().items())
    asked = ", ".join(
        f"{name} {value}" for name, value in sorted(begun.order.tags.items()) if value
    )
    changed = {
        name: steps.as_text(getattr(told.settings, name))
        for name in told.settings.__struct_fields__
        if getattr(told.settings, name) != getattr(TrainingSettings(), name)
    }
    chosen = ", ".join(f"{name} {value}" for name, value in changed.items()) or "as shipped"
    left_out = ", ".join(f"{count} {why}" for why, count in dataset.skipped.items()) or "nothing"
    counts = (
        f"{len(dataset)} pairs of {len(dataset.manoeuvre_names)} manoeuvres, "
        f"{len(dataset.device_names)} devices, {len(dataset.setting_names)} settings"
    )
    rounds = told.rounds
    kept = f"round {rounds.best_round} of {rounds.rounds[-1].number}"
    lines = (
        f"run `{begun.run_id}`; made again by `parkfleet trainer reproduce {begun.run_id}`",
        f"data set `{dataset.sha256}`: {counts} ({held})",
        f"left out: {left_out}",
        f"settings: {chosen}",
        f"asked for by: {asked or 'a person'}",
        f"kept: {kept}; sigma times {rounds.sigma_factor:.2f}",
    )
    return "\n".join(f"- {line}" for line in lines)
