"""Model files with weights of chance, for figures in which only time matters.

    python -m tests.benchmarks.models FOLDER SEED...
    python -m tests.benchmarks.models FOLDER yardsticks

Its own process, so that no figure is taken beside TensorFlow's threads.

Yardsticks are networks that everybody knows, between the same picture and the same two outputs as
ours: MobileNetV2 (Sandler et al. 2018) of width 0.35 and 1.0, in float and in int8, and ours in
both.
"""

import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from shared.ids import sha256_hex
from shared.manifest import Manifest
from shared.picture import PREPROCESSING_ID
from shared.task import WALL_DISTANCE

if TYPE_CHECKING:
    import keras

_WIDTHS = (0.35, 1.0)


def make(folder: Path, *seeds: int) -> list[Manifest]:
    """Return the manifests of models with those seeds, made in `folder` under a car's names."""
    return _made(folder, *map(str, seeds))


def yardsticks(folder: Path) -> dict[str, Manifest]:
    """Return the manifests of the yardsticks, made in `folder`, by what they are called."""
    return {each.run_id: each for each in _made(folder, "yardsticks")}


def _made(folder: Path, *words: str) -> list[Manifest]:
    command = [sys.executable, "-m", "tests.benchmarks.models", str(folder), *words]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    found = (Manifest.from_json(path.read_bytes()) for path in sorted(folder.glob("*.json")))
    return list(found)


def _pictures(seed: int) -> Any:
    import numpy as np

    shape = (16, WALL_DISTANCE.picture_height, WALL_DISTANCE.picture_width, 3)
    return np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)


def _mobile_net(width: float) -> "keras.Model":
    import keras

    shape = (1, WALL_DISTANCE.picture_height, WALL_DISTANCE.picture_width, 3)
    picture = keras.Input(batch_shape=shape, name="picture")
    body = keras.applications.MobileNetV2(
        input_tensor=picture, alpha=width, include_top=False, weights=None, pooling="avg"
    )
    heads = {each: keras.layers.Dense(1, name=each) for each in ("value", "log_sigma")}
    return keras.Model(picture, {name: head(body.output) for name, head in heads.items()})


def _write(folder: Path, model: bytes, name: str, release_seq: int) -> None:
    from trainer.judging import evaluate

    found, digest = evaluate.tensors(model), sha256_hex(model)
    described = Manifest(
        sha256=digest,
        size_bytes=len(model),
        task=WALL_DISTANCE,
        deployment="bench",
        release_seq=release_seq,
        input=found["picture"],
        value=found["value"],
        log_sigma=found["log_sigma"],
        preprocessing=PREPROCESSING_ID,
        metrics={},
        run_id=name,
        dataset_sha256="0" * 64,
        minimum_device="0",
        created_utc_us=0,
        trainer="bench",
        golden=None,
    )
    (folder / f"{digest}.tflite").write_bytes(model)
    (folder / f"{digest}.json").write_text(described.to_json())


def _ours(folder: Path, seed: int) -> None:
    from trainer.learning import network
    from trainer.learning.quantise import to_int8
    from trainer.settings import TrainingSettings

    settings = TrainingSettings(seed=seed)
    model = to_int8(
        network.build(WALL_DISTANCE, settings), _pictures(seed), WALL_DISTANCE, settings
    )
    _write(folder, model, "bench", seed)


def _yardsticks(folder: Path) -> None:
    from trainer.learning import network
    from trainer.learning.quantise import converted
    from trainer.settings import TrainingSettings

    networks = {"ours": network.build(WALL_DISTANCE, TrainingSettings(seed=1), batch=1)}
    networks |= {f"MobileNetV2-{width:g}": _mobile_net(width) for width in _WIDTHS}
    for name, built in networks.items():
        for kind, pictures in (("float", None), ("int8", _pictures(1))):
            _write(folder, converted(built, pictures), f"{name}-{kind}", 1)


if __name__ == "__main__":
    place = Path(sys.argv[1])
    for word in sys.argv[2:]:
        if word == "yardsticks":
            _yardsticks(place)
        else:
            _ours(place, int(word))
