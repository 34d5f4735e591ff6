"""Print the estimates of a model for stored pictures, as JSON: run by each runtime's environment.

`python -m tests.contracts.estimate_pictures MODEL MANIFEST PICTURES.npy`
"""

import json
import sys
from pathlib import Path

import numpy as np

from device.drivers.tflite import TfliteModel
from shared.manifest import Manifest


def main(model: Path, manifest: Path, pictures: Path) -> None:
    """Estimate every picture (n x height x width x 3, uint8) and print (value, sigma) pairs."""
    loaded = TfliteModel(model, Manifest.from_json(manifest.read_text()))
    found = [loaded.estimate(picture) for picture in np.load(pictures)]
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
