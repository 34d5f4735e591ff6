"""The tables of a scene file: what a picture and a range depend on, with ranges and defaults.

Laws:
- every table is closed: a misspelt key never passes for its default;
- what a table leaves out has the default of a plain room in daylight, seen by the parts that the
  car is built of;
- lengths are millimetres, angles degrees, colours 0..255 per channel in the order red, green, blue.
"""

from typing import Annotated, Literal

import msgspec

Unit = Annotated[float, msgspec.Meta(ge=0.0, le=1.0)]
Positive = Annotated[float, msgspec.Meta(gt=0.0, le=1e5)]
NotNegative = Annotated[float, msgspec.Meta(ge=0.0, le=1e5)]
Place = Annotated[float, msgspec.Meta(ge=-1e5, le=1e5)]
Angle = Annotated[float, msgspec.Meta(ge=-60.0, le=60.0)]
Direction = Annotated[float, msgspec.Meta(ge=-90.0, le=90.0)]
Channel = Annotated[int, msgspec.Meta(ge=0, le=255)]
Colour = tuple[Channel, Channel, Channel]
Pattern = Literal["none", "stripes", "checks", "tiles", "planks", "dots"]


class Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of a scene's tables."""


class Surface(Table, frozen=True):
    """A plane's look: `colour`, modulated by `texture` (or by fine grain where there is none).

    One tile of texture and pattern covers `texture_mm`; `contrast` scales the texture's deviation
    from its own mean. A `pattern` of `pattern_count` stripes, fields, tiles, planks or dots a tile
    is printed on top, in `pattern_colour`, as strongly as `pattern_contrast` says: stripes and
    planks run along the wall, tiles and planks have joints in that colour.
    `reflectance` is the share of the range sensor's infrared light (940 nm) that comes back, as in
    its datasheet: 0.88 white, 0.17 grey; eyes cannot tell it from the colour.
    """

    colour: Colour
    texture: str | None = None
    texture_mm: Positive = 300.0
    contrast: Annotated[float, msgspec.Meta(ge=0.0, le=4.0)] = 1.0
    pattern: Pattern = "none"
    pattern_count: Annotated[int, msgspec.Meta(ge=1, le=16)] = 4
    pattern_colour: Colour = (70, 66, 60)
    pattern_contrast: Unit = 0.7
    reflectance: Annotated[float, msgspec.Meta(gt=0.0, le=1.0)] = 0.88


class Floor(Surface, frozen=True):
    """The floor; `gloss` is the share of the room's mirror image in it (0 carpet, 0.4 lacquer)."""

    gloss: Unit = 0.0
    reflectance: Annotated[float, msgspec.Meta(gt=0.0, le=1.0)] = 0.5


class Wall(Surface, frozen=True):
    """The wall and the baseboard at its foot."""

    baseboard_mm: NotNegative = 55.0
    baseboard_colour: Colour = (226, 224, 218)


class Obstacle(Table, frozen=True):
    """Something upright that is not the wall: the front of a box that stands before it.

    Its middle is at `x_mm` along the wall, its front `z_mm` from the wall, `width_mm` wide and
    `height_mm` high. Camera and range sensor see it, and the car cannot drive through it.
    """

    x_mm: Place = 0.0
    z_mm: Positive = 120.0
    width_mm: Positive = 60.0
    height_mm: Positive = 110.0
    colour: Colour = (150, 118, 84)
    reflectance: Annotated[float, msgspec.Meta(gt=0.0, le=1.0)] = 0.6


class Shadow(Table, frozen=True):
    """A straight band of shadow over the floor that goes on up the wall.

    Its middle line crosses the wall's foot at `x_mm`, `angle_deg` off the wall's normal; it is
    `width_mm` wide with edges that fade over `softness_mm`, and takes the share `depth` of the
    light.
    """

    x_mm: Place = 0.0
    angle_deg: Direction = 0.0
    width_mm: Positive = 150.0
    softness_mm: Positive = 25.0
    depth: Unit = 0.5


class Light(Table, frozen=True):
    """How the scene is lit.

    `foot_shadow` is how much darker the floor is right at the wall, fading over `foot_shadow_mm`;
    `near_shade` how much the car's own body takes from the gap once it is close. `bleeding` is the
    share of the floor's colour in the light that falls on the wall right above it, fading upwards
    over `bleeding_mm`. `shadows` lie on floor and wall.
    """

    level: Annotated[float, msgspec.Meta(gt=0.0, le=4.0)] = 1.0
    colour: Colour = (255, 255, 255)
    foot_shadow: Unit = 0.45
    foot_shadow_mm: Positive = 18.0
    near_shade: Unit = 0.3
    near_shade_mm: Positive = 90.0
    bleeding: Unit = 0.3
    bleeding_mm: Positive = 60.0
    shadows: Annotated[tuple[Shadow, ...], msgspec.Meta(max_length=4)] = ()


class CameraModel(Table, frozen=True):
    """The rear camera: where it sits, its lens and its sensor.

    Defaults are those of a Camera Module 3 Wide (Raspberry Pi, product brief: 102 x 67 degrees for
    the 16:9 sensor; a 4:3 picture of full height is 83 degrees wide). `setback_mm` is how far the
    lens lies in front of the bumper's rear edge. `auto_exposure` is the share of a change in
    brightness that the exposure control takes back, `auto_white_balance` that of a change in colour
    ("grey world"); `exposure_hunting` and `colour_hunting` are the relative amplitudes by which
    both wander, `focus_hunting_px` that of the blur beside `focus_blur_px` (standard deviations in
    pixels of a picture 100 wide). An exposure lasts `exposure_ms` and smears what moves.
    `read_noise` is in grey levels, `shot_noise` the standard deviation in grey levels at full
    white; both grow as the exposure control amplifies a dim picture. Frames come `frame_hz` times a
    second, each `latency_ms` after its exposure.
    """

    height_mm: Positive = 90.0
    setback_mm: NotNegative = 40.0
    tilt_deg: Angle = 25.0
    fov_deg: Annotated[float, msgspec.Meta(gt=10.0, le=150.0)] = 83.0
    distortion_k1: Annotated[float, msgspec.Meta(ge=-0.4, le=0.4)] = -0.06
    vignetting: Unit = 0.35
    focus_blur_px: Annotated[float, msgspec.Meta(ge=0.0, le=8.0)] = 0.5
    focus_hunting_px: Annotated[float, msgspec.Meta(ge=0.0, le=8.0)] = 0.0
    auto_exposure: Unit = 0.6
    auto_white_balance: Unit = 0.2
    exposure_hunting: Unit = 0.03
    colour_hunting: Unit = 0.012
    exposure_ms: Annotated[float, msgspec.Meta(gt=0.0, le=100.0)] = 10.0
    read_noise: NotNegative = 1.2
    shot_noise: NotNegative = 3.0
    frame_hz: Annotated[float, msgspec.Meta(gt=0.0, le=120.0)] = 30.0
    latency_ms: Annotated[float, msgspec.Meta(ge=0.0, le=500.0)] = 19.0
    latency_jitter_ms: Annotated[float, msgspec.Meta(ge=0.0, le=100.0)] = 2.0


class Approach(Table, frozen=True):
    """Where the person puts the car; each pair is the range of a uniform draw."""

    start_mm: tuple[Positive, Positive] = (300.0, 350.0)
    angle_deg: tuple[Angle, Angle] = (-3.0, 3.0)
    lateral_mm: tuple[float, float] = (-150.0, 150.0)
    stop_mm: Positive = 40.0


class RangeSensorModel(Table, frozen=True):
    """The VL53L0X: where it sits and how it measures; `hardware_sim.ranging` has the physics.

    It sits at the bumper's edge, `height_mm` above the floor, looks back tilted down by `tilt_deg`
    and sees a cone of `fov_deg`; whatever lies in it takes part, the floor too. Noise: see
    `hardware_sim.ranging`; `noise_floor_mm` does not depend on the distance, `noise_far` (per mm)
    is for a white target at a timing budget of 33 ms. `max_range_mm` is its reach for such a
    target. `crosstalk` is the light that the cover glass sends back, as a share of a white target's
    at 100 mm. `offset_mm` and `scale` are errors of this one sensor; `dropout` is the share of
    measurements that find no target.
    """

    height_mm: Positive = 90.0
    tilt_deg: Angle = 0.0
    fov_deg: Annotated[float, msgspec.Meta(gt=1.0, le=60.0)] = 25.0
    offset_mm: Annotated[float, msgspec.Meta(ge=-100.0, le=100.0)] = 0.0
    scale: Annotated[float, msgspec.Meta(gt=0.0, le=4.0)] = 1.0
    crosstalk: Unit = 0.0
    noise_floor_mm: NotNegative = 1.5
    noise_far: NotNegative = 3.33e-5
    max_range_mm: Positive = 1200.0
    dropout: Unit = 0.005
