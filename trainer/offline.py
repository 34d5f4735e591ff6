"""Training without a server: folders of recordings in, a model and its records out."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from shared.clock import SystemClock
from shared.manifest import Manifest
from shared.task import Task
from trainer import options
from trainer.data import recorded
from trainer.data.dataset import assemble
from trainer.data.examples import Example
from trainer.data.selection import Query
from trainer.home import Home
from trainer.pipeline import pipeline
from trainer.pipeline.folder import RunFolder
from trainer.pipeline.kept import Order
from trainer.pipeline.pipeline import InService, Trained
from trainer.pipeline.run import Tell
from trainer.search.space import Choice, LogRange
from trainer.settings import Limits, TrainingSettings


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What to train: on which folders, for what, with which `limits`.

    `trials` and `space` are those of a search, where one is asked for.
    """

    folders: tuple[Path, ...]
    task: Task
    deployment: str
    query: Query = field(default_factory=Query)
    limits: Limits = field(default_factory=Limits)
    trials: int = 0
    space: dict[str, Choice | LogRange] = field(default_factory=dict)
    in_service: tuple[bytes, Manifest] | None = None


def train(wanted: Wanted, settings: TrainingSettings, out: Path, *, tell: Tell) -> Trained:
    """Return the model made of `wanted`; it is in `out` as well, unless a gate refuses it.

    Raises:
        UsageError: a folder cannot be read.
        RefusedError: there is too little to learn from, or training diverged.
        RetryLaterError: `out` cannot be written.
    """
    collected = assemble(
        _examples(wanted),
        wanted.task,
        query=wanted.query,
        most=settings.most_pairs,
        seed=settings.seed,
    )
    studio = options.studio(Home(out), SystemClock())
    order = Order(
        deployment=wanted.deployment,
        release_seq=0,
        trainer="offline",
        query=wanted.query,
        limits=wanted.limits,
        trials=wanted.trials,
        space=wanted.space,
    )
    beside = InService(*wanted.in_service) if wanted.in_service else None
    trained = pipeline.make(studio, collected, order, settings, tell=tell, in_service=beside)
    pipeline.conclude(studio, trained)
    if not trained.refusal:
        folder = RunFolder(out)
        folder.keep("manifest.json", trained.manifest.to_json().encode())
        folder.keep("model.tflite", trained.model)
    return trained


def _examples(wanted: Wanted) -> Iterator[Example | str]:
    for folder in wanted.folders:
        yield from recorded.read(folder, wanted.task, setting=folder.resolve().name)


def result(trained: Trained) -> dict[str, object]:
    """Return what came of it, for machines."""
    return {
        "model": trained.manifest.sha256,
        "run_id": trained.manifest.run_id,
        "folder": str(trained.folder.path),
        "refusal": trained.refusal,
        "metrics": trained.manifest.metrics,
        "evaluation": msgspec.to_builtins(trained.judgement),
    }


def text(trained: Trained) -> str:
    """Return what came of it, for people."""
    converted, original = trained.judgement.converted, trained.judgement.original
    unit = trained.manifest.task.unit
    lines = [
        f"model    {trained.manifest.sha256} ({trained.manifest.size_bytes} bytes)",
        f"kept in  {trained.folder.path}",
        f"error    {converted.mae:.2f} {unit} in LiteRT int8, {original.mae:.2f} in float",
        f"         95 % below {converted.p95:.1f}, on {converted.pictures} held-out pictures",
        f"baseline {trained.judgement.baseline_mae:.2f} {unit}: kernel ridge on 20 x 15 pixels",
        f"sigma    one covers {converted.within_1_sigma:.0%}, two {converted.within_2_sigma:.0%}",
        f"gates    {'REFUSED: ' + trained.refusal if trained.refusal else 'all open'}",
    ]
    lines += [
        f"  {each.low:6.0f} to {each.high:6.0f} {unit}   error {each.mae:6.2f}   "
        f"{each.pictures} pictures"
        for each in converted.bins
    ]
    lines += [
        f"  {each.name:>20}   error {each.mae:6.2f}   {each.pictures} pictures"
        for each in converted.settings
    ]
    return "\n".join(lines)
