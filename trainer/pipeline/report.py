"""What the fleet server is told of a finished run, so that its model's past can be asked for there.

Laws:
- everything is read from the run's folder and its manifest: what is told is what was kept;
- the record names all that the model can be made again from: the data set by digest, each setting,
  the versions of what ran, and each step with the digests of what it read and made;
- a file that is too large for the server is named in its step by digest, and not sent.
"""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from trainer.notebook import environment
from trainer.pipeline import kept, steps
from trainer.pipeline.folder import RunFolder
from trainer.pipeline.kept import Begun, Gates
from trainer.pipeline.run import done_steps
from trainer.settings import TrainingSettings

MAX_FILE_BYTES: Final = 8 * 1024 * 1024
"""What the server takes of one file."""

_LONGEST_REFUSAL: Final = 2000

_FILES: Final = (
    "run.json", "settings.json", "dataset.json", "split.json", "search.json", "rounds.json",
    "evaluation.json", "gates.json", "requirements.txt", "model/card.md", "model/error.png",
    "model/settings.png", "model/calibration.png", "model/training.png", "model/worst.png",
)  # fmt: skip


def files(folder: RunFolder) -> Iterator[tuple[str, bytes]]:
    """Yield the files of a run that are kept beside its model, by name."""
    for name in _FILES:
        if folder.has(name) and len(body := folder.read(name)) <= MAX_FILE_BYTES:
            yield name.rpartition("/")[2], body


def record(folder: RunFolder) -> dict[str, Any]:
    """Return the record of a run, as the server's REST takes it."""
    manifest = kept.read_manifest(folder)
    begun = folder.read_json("run.json", Begun)
    settings = folder.read_json("settings.json", TrainingSettings)
    refusal = folder.read_json("gates.json", Gates).refusal
    return {
        "run": manifest.run_id,
        "experiment": begun.task.name,
        "dataset_sha256": manifest.dataset_sha256,
        "parameters": {
            name: steps.as_text(value) for name, value in msgspec.structs.asdict(settings).items()
        },
        "metrics": {**manifest.metrics, "refused": float(bool(refusal))},
        "versions": environment.versions(),
        "steps": [msgspec.to_builtins(_named(each)) for each in done_steps(folder)],
        "model": manifest.sha256,
        "refusal": refusal[:_LONGEST_REFUSAL],
    }


def _named(done: steps.Done) -> steps.Done:
    """Return `done` with its files named as the server has them."""

    def plain(digests: dict[str, str]) -> dict[str, str]:
        return {name.rpartition("/")[2]: digest for name, digest in digests.items()}

    return msgspec.structs.replace(done, inputs=plain(done.inputs), outputs=plain(done.outputs))
