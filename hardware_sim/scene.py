"""A scene: the setting that cars drive in, read from a TOML file and checked once.

Laws:
- a scene says everything about a setting that a picture or a reading depends on, and nothing about
  the car's software;
- an unknown key, a value outside its range or a missing texture is a `UsageError` of one line;
- file names inside a scene are relative to that scene's own folder;
- lengths are millimetres, angles degrees, colours 0..255 per channel in the order red, green, blue.

Scenes that ship with the project lie in `hardware_sim/scenes/` and are known by their file's stem;
`load` takes such a name or the path of any file.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec

from hardware_sim.faults import Fault
from shared import settings
from shared.errors import UsageError
from shared.ids import Name

S = TypeVar("S", bound="Surface")

SCENES = Path(__file__).parent / "scenes"

Unit = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Positive = Annotated[float, msgspec.Meta(gt=0.0, le=1e5)]
NotNegative = Annotated[float, msgspec.Meta(ge=0.0, le=1e5)]
Angle = Annotated[float, msgspec.Meta(ge=-60.0, le=60.0)]
Channel = Annotated[int, msgspec.Meta(ge=0, le=255)]
Colour = tuple[Channel, Channel, Channel]


class _Part(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of a scene's tables: closed, so that a misspelt key never passes for its default."""


class Surface(_Part, frozen=True):
    """A plane's look: `colour`, modulated by `texture` (or by fine grain where there is none).

    One tile of the texture covers `texture_mm`; `contrast` scales its deviation from its own mean.
    """

    colour: Colour
    texture: str | None = None
    texture_mm: Positive = 300.0
    contrast: Annotated[float, msgspec.Meta(ge=0.0, le=4.0)] = 1.0


class Floor(Surface, frozen=True):
    """The floor; `gloss` is the share of the wall's mirror image in it (0 carpet, 0.4 lacquer)."""

    gloss: Unit = 0.0


class Wall(Surface, frozen=True):
    """The wall and the baseboard at its foot."""

    baseboard_mm: NotNegative = 55.0
    baseboard_colour: Colour = (226, 224, 218)


class Light(_Part, frozen=True):
    """How the scene is lit.

    `foot_shadow` is how much darker the floor is right at the wall, fading over `foot_shadow_mm`;
    `near_shade` how much the car's own body takes from the gap once it is close. `bleeding` is the
    share of the floor's colour in the light that falls on the wall right above it, fading upwards
    over `bleeding_mm`.
    """

    level: Annotated[float, msgspec.Meta(gt=0.0, le=4.0)] = 1.0
    colour: Colour = (255, 255, 255)
    foot_shadow: Unit = 0.45
    foot_shadow_mm: Positive = 18.0
    near_shade: Unit = 0.3
    near_shade_mm: Positive = 90.0
    bleeding: Unit = 0.3
    bleeding_mm: Positive = 60.0


class CameraModel(_Part, frozen=True):
    """The rear camera: where it sits, its lens and its sensor.

    Defaults are those of a Camera Module 3 Wide (Raspberry Pi, product brief: 102 x 67 degrees for
    the 16:9 sensor; a 4:3 picture of full height is 83 degrees wide). `setback_mm` is how far the
    lens lies in front of the bumper's rear edge. `auto_exposure` is the share of a change in
    brightness that the exposure control takes back, `auto_white_balance` that of a change in colour
    ("grey world"); `exposure_hunting` and `colour_hunting` are the relative amplitudes by which
    both wander. `read_noise` is in grey levels, `shot_noise` the standard deviation in grey levels
    at full white. Frames come `frame_hz` times a second, each `latency_ms` after its exposure.
    """

    height_mm: Positive = 90.0
    setback_mm: NotNegative = 40.0
    tilt_deg: Angle = 25.0
    fov_deg: Annotated[float, msgspec.Meta(gt=10.0, le=150.0)] = 83.0
    distortion_k1: Annotated[float, msgspec.Meta(ge=-0.4, le=0.4)] = -0.06
    vignetting: Unit = 0.35
    focus_blur_px: Annotated[float, msgspec.Meta(ge=0.0, le=8.0)] = 0.5
    auto_exposure: Unit = 0.6
    auto_white_balance: Unit = 0.2
    exposure_hunting: Unit = 0.03
    colour_hunting: Unit = 0.012
    read_noise: NotNegative = 1.2
    shot_noise: NotNegative = 3.0
    frame_hz: Annotated[float, msgspec.Meta(gt=0.0, le=120.0)] = 30.0
    latency_ms: Annotated[float, msgspec.Meta(ge=0.0, le=500.0)] = 19.0
    latency_jitter_ms: Annotated[float, msgspec.Meta(ge=0.0, le=100.0)] = 2.0


class Approach(_Part, frozen=True):
    """Where the person puts the car; each pair is the range of a uniform draw."""

    start_mm: tuple[Positive, Positive] = (300.0, 350.0)
    angle_deg: tuple[Angle, Angle] = (-3.0, 3.0)
    lateral_mm: tuple[float, float] = (-150.0, 150.0)
    stop_mm: Positive = 40.0


class RangeSensorModel(_Part, frozen=True):
    """The VL53L0X as it measures this wall.

    Source: ST datasheet DocID029104 (VL53L0X), table "Ranging accuracy": at a timing budget of
    33 ms a white target (88 %) at 1.2 m shows a standard deviation of 4 %, a grey one (17 %) at
    0.7 m of 7 %. Both say about 48 mm at the far end. There the noise is that of ambient and dark
    counts against a return that falls with the square of the distance, so
    sigma = hypot(noise_floor_mm, noise_far * range_mm^2), with noise_far = 48 / 1200^2 per mm for
    white and 49 / 700^2 for grey, and falls with the square root of the timing budget.
    `dropout` is the share of measurements that find no target and read 8190.
    """

    offset_mm: Annotated[float, msgspec.Meta(ge=-100.0, le=100.0)] = 0.0
    scale: Annotated[float, msgspec.Meta(gt=0.0, le=4.0)] = 1.0
    noise_floor_mm: NotNegative = 1.5
    noise_far: NotNegative = 3.33e-5
    max_range_mm: Positive = 1200.0
    dropout: Unit = 0.005


class Scene(_Part, frozen=True):
    """One setting; see the tables' own docstrings."""

    name: Name
    summary: str
    floor: Floor
    wall: Wall
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
