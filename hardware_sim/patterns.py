"""Printed patterns of floors and walls: where a tile of a surface bears its second colour.

Laws:
- a mask tiles without a seam in both directions;
- edges are soft by a texel, so that a far pattern fades to its mean instead of flickering.

A mask's rows run away from the wall (on a wall: upwards), its columns along the wall.
"""

from collections.abc import Callable, Mapping
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from hardware_sim.scene_tables import Pattern

Floats = npt.NDArray[np.float32]
_Cells = npt.NDArray[np.float64]

_JOINT: Final = 0.07
"""Width of a joint as a share of a tile's side."""
_SUPERSAMPLING: Final = 4


def mask(pattern: Pattern, count: int, side: int) -> Floats:
    """Return the share of each texel that bears the pattern, 0..1, `side` x `side`."""
    large = side * _SUPERSAMPLING
    cells = (np.arange(large) + 0.5) / large * count
    column, row = np.meshgrid(cells, cells)
    printed = _PRINTS[pattern](column, row).astype(np.float32)
    shrunk = cv2.resize(printed, (side, side), interpolation=cv2.INTER_AREA)
    return np.asarray(shrunk, dtype=np.float32)


def _none(column: _Cells, row: _Cells) -> npt.NDArray[np.bool_]:
    return np.zeros((len(row), len(column)), dtype=np.bool_)


def _stripes(_column: _Cells, row: _Cells) -> npt.NDArray[np.bool_]:
    return np.asarray(row % 1.0 < 0.5)


def _checks(column: _Cells, row: _Cells) -> npt.NDArray[np.bool_]:
    return np.asarray((column % 1.0 < 0.5) ^ (row % 1.0 < 0.5))


def _tiles(column: _Cells, row: _Cells) -> npt.NDArray[np.bool_]:
    return np.asarray((column % 1.0 < _JOINT) | (row % 1.0 < _JOINT))


def _planks(column: _Cells, row: _Cells) -> npt.NDArray[np.bool_]:
    # One end joint a plank and tile, shifted from plank to plank as they are laid.
    count = column.max() + column.min()
    along = (column / count + 0.37 * np.floor(row)) % 1.0
    return np.asarray((row % 1.0 < _JOINT) | (along < _JOINT / count))


def _dots(column: _Cells, row: _Cells) -> npt.NDArray[np.bool_]:
    return np.asarray(np.hypot(column % 1.0 - 0.5, row % 1.0 - 0.5) < 0.3)


_PRINTS: Final[Mapping[Pattern, Callable[[_Cells, _Cells], npt.NDArray[np.bool_]]]] = {
    "none": _none,
    "stripes": _stripes,
    "checks": _checks,
    "tiles": _tiles,
    "planks": _planks,
    "dots": _dots,
}
