"""Training without a server: folders of recordings in, a model and its records out.

Law: the recordings are looked at before TensorFlow is: what is wrong with them is said at once.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from shared.clock import SystemClock
from shared.errors import RefusedError, UsageError
from shared.manifest import Manifest
from shared.task import Task
from trainer import options
from trainer.data import recorded
from trainer.data.dataset import Dataset, assemble
from trainer.data.examples import Example
from trainer.data.selection import Query
from trainer.search.space import Choice, LogRange
from trainer.settings import Limits, TrainingSettings

if TYPE_CHECKING:
    from trainer.pipeline.pipeline import Trained
    from trainer.pipeline.progress import Tell


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What to train: on which folders, for what, with which `limits`.

    `trials` and `space` are those of a search, where one is asked for.
    """

    folders: tuple[Path, ...]
    task: Task
    deployment: str
    settings: TrainingSettings
    query: Query = field(default_factory=Query)
    limits: Limits = field(default_factory=Limits)
    trials: int = 0
    space: dict[str, Choice | LogRange] = field(default_factory=dict)
    in_service: tuple[bytes, Manifest] | None = None


def collect(wanted: Wanted) -> Dataset:
    """Return the data set in the folders; imports nothing heavy.

    Raises:
        UsageError: a folder cannot be read, or there is too little in them to learn from.
    """
    try:
        return assemble(
            _examples(wanted),
            wanted.task,
            query=wanted.query,
            most=wanted.settings.most_pairs,
            seed=wanted.settings.seed,
        )
    except RefusedError as error:
        # They are the person's own folders: another choice of them is the remedy.
        raise UsageError(str(error)) from None


def train(wanted: Wanted, collected: Dataset, out: Path, *, tell: "Tell") -> "Trained":
    """Return the model made of `collected`; it is in `out` as well, unless a gate refuses it.

    Raises:
        RefusedError: training diverged.
        RetryLaterError: `out` cannot be written.
    """
    from trainer.home import Home
    from trainer.pipeline import pipeline
    from trainer.pipeline.folder import RunFolder
    from trainer.pipeline.kept import Order

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
    beside = pipeline.InService(*wanted.in_service) if wanted.in_service else None
    trained = pipeline.make(studio, collected, order, wanted.settings, tell=tell, in_service=beside)
    pipeline.conclude(studio, trained)
    if not trained.refusal:
        folder = RunFolder(out)
        folder.keep("manifest.json", trained.manifest.to_json().encode())
        folder.keep("model.tflite", trained.model)
    return trained


def result(trained: "Trained") -> dict[str, object]:
    """Return what came of it, for machines."""
    return {
        "model": trained.manifest.sha256,
        "run_id": trained.manifest.run_id,
        "folder": str(trained.folder.path),
        "refusal": trained.refusal,
        "metrics": trained.manifest.metrics,
        "evaluation": msgspec.to_builtins(trained.judgement),
    }


def text(trained: "Trained") -> str:
    """Return what came of it, for people."""
    judged, unit = trained.judgement, trained.manifest.task.unit
    converted = judged.converted
    lines = [
        f"model    {trained.manifest.sha256} ({trained.manifest.size_bytes} bytes)",
        f"run      {trained.manifest.run_id}",
        f"kept in  {trained.folder.path}",
        f"error    {converted.mae:.2f} {unit} in LiteRT int8, {judged.original.mae:.2f} in float",
        f"         95 % below {converted.p95:.1f}, on {converted.pictures} held-out pictures",
        f"baseline {judged.baseline_mae:.2f} {unit}: kernel ridge regression on 20 x 15 pixels",
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


def _examples(wanted: Wanted) -> Iterator[Example | str]:
    for folder in wanted.folders:
        yield from recorded.read(folder, wanted.task, setting=folder.resolve().name)
