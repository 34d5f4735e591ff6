"""A scene: the setting that cars drive in, read from a TOML file and checked once.

Laws:
- a scene says everything about a setting that a picture or a reading depends on, and nothing about
  the car's software;
- an unknown key, a value outside its range or a missing texture is a `UsageError` of one line;
- file names inside a scene are relative to that scene's own folder.

Scenes that ship with the project lie in `hardware_sim/scenes/` and are known by their file's stem;
`load` takes such a name or the path of any file.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec

from hardware_sim.faults import Fault
from hardware_sim.scene_tables import (
    Approach,
    CameraModel,
    Floor,
    Light,
    Obstacle,
    RangeSensorModel,
    Surface,
    Table,
    Wall,
)
from shared import settings
from shared.errors import UsageError
from shared.ids import Name

S = TypeVar("S", bound="Surface")

SCENES = Path(__file__).parent / "scenes"


class Scene(Table, frozen=True):
    """One setting: its `name`, a `summary` in a sentence, and its tables."""

    name: Name
    summary: str
    floor: Floor
    wall: Wall
    obstacle: Obstacle | None = None
    light: Light = Light()
    camera: CameraModel = CameraModel()
    approach: Approach = Approach()
    range_sensor: RangeSensorModel = RangeSensorModel()
    faults: tuple[Fault, ...] = ()


def shipped() -> tuple[str, ...]:
    """Return the names of the scenes that come with the project, sorted."""
    return tuple(sorted(path.stem for path in SCENES.glob("*.toml")))


def load(name_or_path: str) -> Scene:
    """Return a shipped scene by its name, or the scene in a file; texture paths made absolute.

    Raises:
        UsageError: there is no such scene, or its file breaks a law of this module.
    """
    shipped_path = SCENES / f"{name_or_path}.toml"
    path = shipped_path if name_or_path in shipped() else Path(name_or_path)
    if not path.is_file():
        known = ", ".join(shipped())
        raise UsageError(
            f"no scene {name_or_path!r}: give the path of a TOML file or one of {known}"
        )
    scene = settings.convert(settings.read_toml(path), Scene, source=str(path))
    for problem in _problems(scene):
        raise UsageError(f"{path}: {problem}")
    return msgspec.structs.replace(
        scene,
        floor=_resolved(scene.floor, path),
        wall=_resolved(scene.wall, path),
    )


def _problems(scene: Scene) -> Iterator[str]:
    approach = scene.approach
    for key in ("start_mm", "angle_deg", "lateral_mm"):
        low, high = getattr(approach, key)
        if low > high:
            yield f"approach.{key}: the lower end {low} lies above the upper end {high}"
    if approach.start_mm[0] <= approach.stop_mm:
        yield "approach.start_mm: the car must start farther away than approach.stop_mm"
    if scene.obstacle is not None and scene.obstacle.z_mm >= approach.start_mm[0]:
        yield "obstacle.z_mm: the obstacle must stand nearer to the wall than the car starts"


def _resolved(surface: S, scene_path: Path) -> S:
    """Return `surface` with its texture's path made absolute.

    Raises:
        UsageError: the texture is not there.
    """
    if surface.texture is None:
        return surface
    texture = (scene_path.parent / surface.texture).resolve()
    if not texture.is_file():
        raise UsageError(
            f"{scene_path}: texture {surface.texture!r} is not a file beside the scene"
        )
    return msgspec.structs.replace(surface, texture=str(texture))
