"""The golden pictures: the same few for every trainer and every car, to compare answers on.

Laws:
- a set is named by the digest of its pixels: another picture, or another order, is another set;
- rendered pictures only: they travel in every car's software, where nobody can erase them;
- the trainer writes a model's answers into its manifest, the car compares its own with them: what
  differs is the runtime, the processor or the file, never the pictures.

`tests/shared/golden_pictures.py` says which scenes they show and renders a set.
"""

from importlib import resources

import cv2
import numpy as np

from shared.ids import Sha256, sha256_hex
from shared.picture import Pixels
from shared.task import Task

FOLDER = "golden_pictures"
"""Where they lie in this package: PNG, in the order of their names."""


def pictures() -> tuple[Pixels, ...]:
    """Return the set, RGB, uint8, height x width x 3."""
    folder = resources.files("shared").joinpath(FOLDER)
    files = sorted((each for each in folder.iterdir() if each.name.endswith(".png")), key=str)
    return tuple(_decoded(each.read_bytes()) for each in files)


def set_id(shown: tuple[Pixels, ...]) -> Sha256:
    """Return the name of a set of pictures."""
    parts = (repr(each.shape).encode() + each.tobytes() for each in shown)
    return sha256_hex(b"".join(parts))


def suits(shown: tuple[Pixels, ...], task: Task) -> bool:
    """Tell whether the pictures are of the size that models of `task` take."""
    size = (task.picture_height, task.picture_width, 3)
    return bool(shown) and all(each.shape == size for each in shown)


def _decoded(data: bytes) -> Pixels:
    bgr = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR)
    if bgr is None:
        raise RuntimeError("a golden picture of this installation is damaged: install it again")
    return np.asarray(cv2.cvtColor(bgr, cv2.COLOR_BGR2RGB), dtype=np.uint8)
