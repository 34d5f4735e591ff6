"""Textures of floor and wall as atlases of ever coarser copies, so that far pixels do not flicker.

Laws:
- an atlas tiles without a seam in both directions at every level;
- sampling costs one `cv2.remap`, whatever levels the pixels need;
- what a surface looks like depends on its description and a seed, on nothing else.

A pixel that covers many texels takes a level whose texels are about its own size (Williams,
"Pyramidal parametrics", SIGGRAPH 1983); the level is the caller's to choose, from its geometry.
"""

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from hardware_sim import patterns
from hardware_sim.scene_tables import Surface
from shared.errors import UsageError

Floats = npt.NDArray[np.float32]

_LEVELS = 6
_GRAIN_SIZE = 128
_GRAIN = 0.05
"""Relative standard deviation of the grain of a surface without texture, about that of plaster."""


class Atlas:
    """One surface's texture: colours 0..255 as float32, all levels in one picture."""

    def __init__(self, surface: Surface, seed: int) -> None:
        """Build the levels of `surface`.

        Raises:
            UsageError: its texture file is not a picture.
        """
        base = _colours(surface, seed)
        self._height, self._width = base.shape[:2]
        self.texel_mm = surface.texture_mm / self._width
        self._picture, self._origins = _stack(base)
        shrunk = 2.0 ** np.arange(_LEVELS)
        self._per_mm = (1.0 / (self.texel_mm * shrunk)).astype(np.float32)
        self._widths = (self._width / shrunk).astype(np.float32)
        self._heights = (self._height / shrunk).astype(np.float32)

    def level_of(self, footprint_mm: Floats) -> npt.NDArray[np.intp]:
        """Return the level for pixels that each cover `footprint_mm` of the surface."""
        levels = np.log2(np.maximum(footprint_mm, self.texel_mm) / self.texel_mm)
        return np.asarray(np.clip(np.rint(levels), 0, _LEVELS - 1), dtype=np.intp)

    def scales(self, levels: npt.NDArray[np.intp]) -> tuple[Floats, Floats, Floats, Floats]:
        """Return per pixel what `sample` needs: texels per mm, tile width, height and origin."""
        tables = (self._per_mm, self._widths, self._heights, self._origins)
        per_mm, width, height, origin = (table[levels] for table in tables)
        return per_mm, width, height, origin

    def sample(self, x_mm: Floats, y_mm: Floats, scales: tuple[Floats, ...]) -> Floats:
        """Return the colours at points of the surface; shape of `x_mm` x 3."""
        per_mm, width, height, origin = scales
        column = x_mm * per_mm
        column -= np.floor(column / width) * width
        row = y_mm * per_mm
        row -= np.floor(row / height) * height
        row += origin
        sampled = cv2.remap(self._picture, column, row, cv2.INTER_LINEAR)
        return np.asarray(sampled, dtype=np.float32)


def _colours(surface: Surface, seed: int) -> Floats:
    """Return one tile of `surface`: its colour times the texture's deviation, and its pattern."""
    detail = _grain(seed) if surface.texture is None else _picture_detail(Path(surface.texture))
    modulation = np.clip(1.0 + surface.contrast * (detail - 1.0), 0.05, 2.5)
    colours = modulation * np.asarray(surface.colour, np.float32)
    if surface.pattern != "none":
        printed = patterns.mask(surface.pattern, surface.pattern_count, _GRAIN_SIZE)[..., None]
        print_colour = modulation * np.asarray(surface.pattern_colour, np.float32)
        colours = colours + surface.pattern_contrast * printed * (print_colour - colours)
    return np.asarray(colours, dtype=np.float32)


def _picture_detail(path: Path) -> Floats:
    """Return a texture file as factors around 1, power-of-two sized so that its levels tile.

    Raises:
        UsageError: the file is not a picture.
    """
    bgr = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if bgr is None:
        raise UsageError(f"texture {path} is not a picture that OpenCV can read")
    side = _GRAIN_SIZE
    rgb = cv2.cvtColor(
        cv2.resize(bgr, (side, side), interpolation=cv2.INTER_AREA), cv2.COLOR_BGR2RGB
    )
    levels = np.asarray(rgb, dtype=np.float32) + 1.0
    return np.asarray(levels / levels.mean(axis=(0, 1)), dtype=np.float32)


def _grain(seed: int) -> Floats:
    """Return fine and coarse noise around 1 that tiles without a seam."""
    rng = np.random.default_rng((seed, 0x6721))
    grain = np.zeros((_GRAIN_SIZE, _GRAIN_SIZE, 1), np.float32)
    for sigma, weight in ((0.8, 0.5), (3.0, 0.3), (10.0, 0.2)):
        white = rng.standard_normal((_GRAIN_SIZE, _GRAIN_SIZE)).astype(np.float32)
        wrapped = np.tile(white, (3, 3))
        smooth = cv2.GaussianBlur(wrapped, (0, 0), sigma)[_GRAIN_SIZE:-_GRAIN_SIZE]
        octave = np.asarray(smooth[:, _GRAIN_SIZE:-_GRAIN_SIZE], dtype=np.float32)
        grain[:, :, 0] += weight * octave / octave.std()
    return np.asarray(1.0 + _GRAIN * grain, dtype=np.float32)


def _stack(base: Floats) -> tuple[Floats, Floats]:
    """Return all levels of `base` above each other, each with a wrapped edge, and their rows."""
    tiles, origins, top = [], [], 0
    level = base
    for _ in range(_LEVELS):
        wrapped = np.pad(level, ((0, 1), (0, 1), (0, 0)), mode="wrap")
        padding = base.shape[1] + 1 - wrapped.shape[1]
        tiles.append(np.pad(wrapped, ((0, 0), (0, padding), (0, 0))))
        origins.append(top)
        top += wrapped.shape[0]
        halved = cv2.resize(
            level, (level.shape[1] // 2, level.shape[0] // 2), interpolation=cv2.INTER_AREA
        )
        level = np.asarray(halved, dtype=np.float32)
    return np.concatenate(tiles), np.asarray(origins, dtype=np.float32)
