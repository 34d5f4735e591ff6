"""A baseline that any network must beat: kernel ridge regression on 20 x 15 grey pixels.

Laws:
- it sees what the network sees: fitted on the training pictures, its two numbers chosen on the
  validation manoeuvres, judged on the same held-out ones;
- its cost is bounded: of more than `MOST` training pictures it takes so many, evenly.

Saunders, Gammerman and Vovk 1998, "Ridge regression learning algorithm in dual variables"; the
kernel is exp(-gamma |x - y|^2).
"""

from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from shared.picture import Pixels
from trainer.data.dataset import Dataset, Floats
from trainer.data.split import Split

WIDTH: Final = 20
HEIGHT: Final = 15
MOST: Final = 1500

_GAMMAS: Final = (0.003, 0.01, 0.03, 0.1, 0.3)
_RIDGES: Final = (0.001, 0.01, 0.1, 1.0)

_Rows = npt.NDArray[np.float64]


def answers(dataset: Dataset, split: Split) -> Floats:
    """Return the baseline's values (0..1, float32) for the test pictures of `split`."""
    rows = split.train
    if len(rows) > MOST:
        rows = rows[np.linspace(0, len(rows) - 1, MOST).astype(int)]
    fitted_on = _flat(dataset.pictures[rows])
    labels = dataset.labels[rows].astype(np.float64)
    chosen_by = _flat(dataset.pictures[split.validation])
    wanted = dataset.labels[split.validation]
    tried = [
        (float(np.mean(np.abs(_regress(fitted_on, labels, chosen_by, *each) - wanted))), *each)
        for each in ((gamma, ridge) for gamma in _GAMMAS for ridge in _RIDGES)
    ]
    _, gamma, ridge = min(tried)
    asked = _flat(dataset.pictures[split.test])
    return _regress(fitted_on, labels, asked, gamma, ridge).astype(np.float32)


def _flat(pictures: Pixels) -> _Rows:
    small = [
        cv2.resize(_grey(picture), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)
        for picture in pictures
    ]
    return np.stack(small).reshape(len(small), -1) / 255.0


def _grey(picture: Pixels) -> Any:
    return cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)


def _regress(known: _Rows, labels: _Rows, asked: _Rows, gamma: float, ridge: float) -> _Rows:
    kernel = _kernel(known, known, gamma) + ridge * np.eye(len(known))
    weights = np.linalg.solve(kernel, labels - labels.mean())
    answer: _Rows = _kernel(asked, known, gamma) @ weights + labels.mean()
    return answer


def _kernel(one: _Rows, other: _Rows, gamma: float) -> _Rows:
    squares = np.sum(one**2, axis=1)[:, None] + np.sum(other**2, axis=1) - 2 * one @ other.T
    kernel: _Rows = np.exp(-gamma * squares)
    return kernel
