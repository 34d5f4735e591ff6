"""A small recording, made on the spot."""

from collections.abc import Iterable
from pathlib import Path

import cv2
import numpy as np

from hardware_sim import scene as scenes
from hardware_sim.render import Renderer
from shared.picture import encode_jpeg

HEADER = "file,distance_mm,manoeuvre,t_ms,weather"


def write_picture(folder: Path, name: str, level: int = 90, *, grey: bool = False) -> None:
    """Write a plain JPEG of 160 x 120 into `images/`."""
    picture = np.full((120, 160) if grey else (120, 160, 3), level, np.uint8)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(folder / "images" / name), picture)


def write_labels(folder: Path, rows: Iterable[str], header: str = HEADER) -> None:
    """Write `labels.csv`."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "labels.csv").write_text("\n".join([header, *rows]) + "\n")


def record_approaches(folder: Path, manoeuvres: int, pictures: int, seed: int = 1) -> None:
    """Write a recording of approaches on beige, about seven rendered pictures a second each."""
    renderer = Renderer(scenes.load("beige"), seed, width=160, height=120)
    (folder / "images").mkdir(parents=True)
    rows = []
    for manoeuvre in range(manoeuvres):
        for number in range(pictures):
            distance_mm = 340.0 - 300.0 * (number + manoeuvre / manoeuvres) / pictures
            name = f"{manoeuvre:02d}-{number:03d}.jpg"
            (folder / "images" / name).write_bytes(encode_jpeg(renderer.picture(distance_mm)))
            rows.append(f"{name},{distance_mm:.1f},approach {manoeuvre},{number * 143},dry")
    write_labels(folder, rows)
