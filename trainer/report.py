"""What the fleet server is told of a finished run, so that its model's past can be asked for there.

Laws:
- everything is read from the run's folder and its manifest: what is told is what was kept;
- the record names all that the model can be made again from: the data set by digest, each setting,
  the versions of what ran, and each step with the digests of what it read and made;
- a file that is too large for the server is named in its step by digest, and not sent.
"""

import platform
from collections.abc import Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec

from shared import __version__
from shared.ids import sha256_hex
from trainer.pipeline import Trained
from trainer.settings import TrainingSettings

MAX_FILE_BYTES = 8 * 1024 * 1024
"""What the server takes of one file."""

_FILES = ("settings.json", "dataset.json", "split.json", "rounds.json", "evaluation.json")
_LIBRARIES = ("tensorflow", "keras", "ai-edge-litert", "numpy", "opencv-python-headless")
_SPLIT_SETTINGS = ("seed", "validation_share", "test_share")


def files(trained: Trained) -> Iterator[tuple[str, bytes]]:
    """Yield the files of a run that are kept beside its model, by name."""
    for name in _FILES:
        body = (trained.folder / name).read_bytes()
        if len(body) <= MAX_FILE_BYTES:
            yield name, body


def record(trained: Trained, settings: TrainingSettings) -> dict[str, Any]:
    """Return the record of a run, as the server's REST takes it."""
    manifest = trained.manifest
    chosen = {name: _text(value) for name, value in msgspec.structs.asdict(settings).items()}
    return {
        "run": manifest.run_id,
        "experiment": manifest.task.name,
        "dataset_sha256": manifest.dataset_sha256,
        "parameters": chosen,
        "metrics": manifest.metrics,
        "versions": _versions(),
        "steps": list(_steps(trained, chosen)),
    }


def _steps(trained: Trained, chosen: Mapping[str, str]) -> Iterator[dict[str, Any]]:
    kept = {name: sha256_hex((trained.folder / name).read_bytes()) for name in _FILES}
    model = {"model.tflite": trained.manifest.sha256}
    data = {"dataset": trained.manifest.dataset_sha256}
    split = {"split.json": kept["split.json"]}
    rounds = {"rounds.json": kept["rounds.json"]}
    of_split = {name: chosen[name] for name in _SPLIT_SETTINGS}
    of_fit = {name: each for name, each in chosen.items() if name not in of_split}
    yield {
        "name": "split",
        "inputs": data,
        "outputs": {**split, "dataset.json": kept["dataset.json"]},
        "parameters": of_split,
    }
    yield {
        "name": "fit",
        "inputs": {**data, **split},
        "outputs": rounds,
        "parameters": of_fit,
        "seconds": _fit_seconds(trained.folder),
    }
    yield {
        "name": "quantise",
        "inputs": {**data, **split, **rounds},
        "outputs": model,
        "parameters": {"quantisation": "int8"},
    }
    yield {
        "name": "evaluate",
        "inputs": {**data, **split, **model},
        "outputs": {"evaluation.json": kept["evaluation.json"]},
    }


def _fit_seconds(folder: Path) -> float:
    kept = msgspec.json.decode((folder / "rounds.json").read_bytes())
    return float(kept["seconds"])


def _versions() -> dict[str, str]:
    found = {"parkfleet": __version__, "python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def _text(value: object) -> str:
    return msgspec.json.encode(value).decode().strip('"')
