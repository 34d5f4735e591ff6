"""Pictures of scenes for people: one by one, or all on one sheet with their distances.

Laws:
- what is shown is what a car gets: the renderer's own picture, enlarged without smoothing it over;
- the same arguments write the same bytes.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from hardware_sim.render import Renderer
from hardware_sim.scene import Scene
from shared.errors import UsageError
from shared.picture import Pixels

_SCALE: Final = 3
_MARGIN: Final = 8
_CAPTION: Final = 22
_PAPER: Final = 250
_INK: Final = (40, 40, 40)


@dataclass(frozen=True, kw_only=True)
class Shot:
    """One picture and where it was taken; `number` counts pictures of the same place."""

    scene: str
    distance_mm: float
    angle_deg: float
    number: int
    picture: Pixels

    @property
    def file_name(self) -> str:
        """A file name that sorts by scene, angle and distance."""
        angle = f"{self.angle_deg:+03.0f}deg"
        return f"{self.scene}_{angle}_{self.distance_mm:04.0f}mm_{self.number:03d}.png"

    @property
    def caption(self) -> str:
        """What stands above the picture on a sheet."""
        angle = f", {self.angle_deg:g} deg" if self.angle_deg else ""
        return f"{self.scene}, {self.distance_mm:g} mm{angle}"


def shoot(
    scenes: Sequence[Scene],
    distances_mm: Sequence[float],
    angles_deg: Sequence[float] | None,
    *,
    count: int,
    seed: int,
) -> Iterator[Shot]:
    """Yield `count` pictures of every scene, angle and distance, in that order.

    Angles None stands for the middle of each scene's own approach.
    """
    for scene in scenes:
        renderer = Renderer(scene, seed)
        own = sum(scene.approach.angle_deg) / 2.0
        for angle_deg in [own] if angles_deg is None else angles_deg:
            for number in range(count):
                for distance_mm in distances_mm:
                    yield Shot(
                        scene=scene.name,
                        distance_mm=distance_mm,
                        angle_deg=angle_deg,
                        number=number,
                        picture=renderer.picture(distance_mm, angle_deg),
                    )


def write_each(shots: Sequence[Shot], folder: Path) -> list[Path]:
    """Write every picture as a PNG of its own size into `folder`; return the files.

    Raises:
        UsageError: the folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {folder}: {error.strerror}") from None
    return [_write(folder / shot.file_name, shot.picture) for shot in shots]


def write_sheet(shots: Sequence[Shot], file: Path, *, columns: int) -> Path:
    """Write all pictures on one sheet, `columns` side by side, threefold and with captions.

    Raises:
        UsageError: the file cannot be written.
    """
    tiles = [_tile(shot) for shot in shots]
    blank = np.full_like(tiles[0], _PAPER)
    tiles += [blank] * (-len(tiles) % columns)
    rows = [np.hstack(tiles[at : at + columns]) for at in range(0, len(tiles), columns)]
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"cannot make the folder {file.parent}: {error.strerror}") from None
    return _write(file, np.vstack(rows))


def _tile(shot: Shot) -> Pixels:
    height, width = (side * _SCALE for side in shot.picture.shape[:2])
    tile = np.full((height + _CAPTION + _MARGIN, width + 2 * _MARGIN, 3), _PAPER, np.uint8)
    large = cv2.resize(shot.picture, (width, height), interpolation=cv2.INTER_NEAREST)
    tile[_CAPTION : _CAPTION + height, _MARGIN : _MARGIN + width] = large
    place = (_MARGIN, _CAPTION - 7)
    cv2.putText(tile, shot.caption, place, cv2.FONT_HERSHEY_SIMPLEX, 0.45, _INK, 1, cv2.LINE_AA)
    return tile


def _write(file: Path, picture: Pixels) -> Path:
    smallest = [cv2.IMWRITE_PNG_COMPRESSION, 9]
    done, data = cv2.imencode(".png", cv2.cvtColor(picture, cv2.COLOR_RGB2BGR), smallest)
    if not done:
        raise RuntimeError(f"OpenCV could not encode a picture of shape {picture.shape}")
    try:
        file.write_bytes(data.tobytes())
    except OSError as error:
        raise UsageError(f"cannot write {file}: {error.strerror}") from None
    return file
