"""Renders the golden pictures: `python -m tests.shared.golden_pictures FOLDER`.

A set is rendered once and then stays as it is: a renderer that learns something new would render
another set, on which no model of before can be compared. So write a new set only where the pictures
themselves have to be others (another size, other things to be seen).
"""

import sys
from pathlib import Path

from hardware_sim.gallery import Shot, write_each
from hardware_sim.render import Renderer
from hardware_sim.scene import load

VIEWS = (
    ("beige", 1, 25.0, 0.0),
    ("red", 2, 60.0, 4.0),
    ("beige-dim", 3, 100.0, -6.0),
    ("patterned", 4, 145.0, 0.0),
    ("green", 5, 190.0, 8.0),
    ("obstacle", 6, 240.0, 0.0),
    ("angled-30", 7, 290.0, 30.0),
    ("beige-bright", 8, 340.0, -3.0),
)
"""Scene, seed, distance of the bumper to the wall in mm, its angle in degrees."""


def shots() -> list[Shot]:
    """Return the set as this renderer makes it."""
    return [
        Shot(
            scene=f"{number}-{scene}",
            distance_mm=distance_mm,
            angle_deg=angle_deg,
            number=0,
            picture=Renderer(load(scene), seed).picture(distance_mm, angle_deg),
        )
        for number, (scene, seed, distance_mm, angle_deg) in enumerate(VIEWS, start=1)
    ]


if __name__ == "__main__":
    write_each(shots(), Path(sys.argv[1]))
