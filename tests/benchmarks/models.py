"""Model files of the trainer's network, untrained, for figures in which only time matters.

    python -m tests.benchmarks.models FOLDER SEED...

Its own process, so that no figure is taken beside TensorFlow's threads.
"""

import subprocess
import sys
from pathlib import Path

from shared.ids import sha256_hex
from shared.manifest import Manifest
from shared.task import WALL_DISTANCE


def make(folder: Path, *seeds: int) -> list[Manifest]:
    """Return the manifests of models with those seeds, made in `folder` under a car's names."""
    words = [sys.executable, "-m", "tests.benchmarks.models", str(folder), *map(str, seeds)]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    found = (Manifest.from_json(path.read_bytes()) for path in sorted(folder.glob("*.json")))
    return list(found)


def _write(folder: Path, seed: int) -> None:
    import numpy as np

    from trainer.learning import network
    from trainer.learning.quantise import to_int8
    from trainer.pipeline import manifest
    from trainer.settings import TrainingSettings

    settings = TrainingSettings(seed=seed)
    rng = np.random.default_rng(seed)
    shape = (16, WALL_DISTANCE.picture_height, WALL_DISTANCE.picture_width, 3)
    pictures = rng.integers(0, 256, shape, dtype=np.uint8)
    model = to_int8(network.build(WALL_DISTANCE, settings), pictures, WALL_DISTANCE, settings)
    digest = sha256_hex(model)
    (folder / f"{digest}.tflite").write_bytes(model)
    described = manifest.build(
        model,
        task=WALL_DISTANCE,
        deployment="bench",
        release_seq=seed,
        metrics={},
        run_id="bench",
        dataset_sha256="0" * 64,
        created_utc_us=0,
        trainer="bench",
    )
    (folder / f"{digest}.json").write_text(described.to_json())


if __name__ == "__main__":
    for number in sys.argv[2:]:
        _write(Path(sys.argv[1]), int(number))
