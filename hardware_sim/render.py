"""Pictures of the rear camera: floor, wall and the line where they meet, a thousand a second.

Laws:
- a picture depends on the scene, the seed, the pose and the moment, on nothing else;
- geometry is that of the pinhole with radial distortion: what lies on the floor moves as the car
  moves, the foot of the wall lies where the distance puts it, to a fraction of a pixel;
- nothing that does not depend on the pose is computed twice.

Coordinates: the wall is the plane z = 0, the floor y = 0, the room is z > 0, x runs along the wall.
The camera looks along the car's rear axis, tilted down. A ray meets the floor at a point that is
fixed in the car's frame, so the floor's sampling level is a table; the wall's follows its distance.
The foot and the baseboard's upper edge are blended by how much of a pixel lies below them, which
gives the sub-pixel information that a real lens gives.
"""

import math
from dataclasses import dataclass
from typing import Any, Final

import cv2
import numpy as np
import numpy.typing as npt

from hardware_sim.scene import Scene
from hardware_sim.scene_tables import Colour
from hardware_sim.surfaces import Atlas, Floats
from shared.picture import Pixels

Doubles = npt.NDArray[np.float64]

_FAR_MM: Final = 8000.0
_NOISE_BANK: Final = 1 << 18
_WANDER_PERIODS_S: Final = (1.7, 4.3, 11.9)
_TARGET_LEVEL: Final = 128.0
_MASK_64: Final = (1 << 64) - 1


@dataclass(frozen=True, kw_only=True)
class Pose:
    """Where the car stands.

    `distance_mm` is from the bumper's centre to the wall along the car's axis, `angle_deg` between
    that axis and the wall's normal, `lateral_mm` where the axis meets the wall.
    """

    distance_mm: float
    angle_deg: float = 0.0
    lateral_mm: float = 0.0


class Renderer:
    """Renders one scene at one picture size; not safe for use by two threads at once."""

    def __init__(self, scene: Scene, seed: int = 0, *, width: int = 100, height: int = 75) -> None:
        """Prepare the tables for pictures of `width` x `height`.

        Raises:
            UsageError: a texture of the scene is not a picture.
        """
        self._scene = scene
        self._rng = np.random.default_rng((seed, 0x72656E64))
        self._shape = (height, width)
        self._floor = Atlas(scene.floor, seed)
        self._wall = Atlas(scene.wall, seed + 1)
        self._board = np.asarray(scene.wall.baseboard_colour, dtype=np.float32)
        self._floor_tint = np.asarray(scene.floor.colour, dtype=np.float32) / 255.0
        self._rays = _Rays(scene, width, height)
        self._floor_scales = self._floor.scales(self._floor.level_of(self._rays.floor_footprint_mm))
        self._gain = _light_colour(scene.light.colour) * scene.light.level
        self._noise = self._rng.standard_normal(_NOISE_BANK + height * width * 3, dtype=np.float32)
        self._phases = self._rng.uniform(0.0, 2.0 * math.pi, (4, len(_WANDER_PERIODS_S)))

    def picture(
        self,
        distance_mm: float,
        angle_deg: float = 0.0,
        *,
        lateral_mm: float | None = None,
        at_us: int | None = None,
    ) -> Pixels:
        """Return the picture taken from the given pose, RGB uint8, height x width x 3.

        Args:
            distance_mm: bumper to wall along the car's axis, 0 or more.
            angle_deg: between the car's axis and the wall's normal.
            lateral_mm: where along the wall; None draws from the scene's approach.
            at_us: the moment of exposure, which fixes noise and exposure; None draws one.
        """
        if lateral_mm is None:
            lateral_mm = float(self._rng.uniform(*self._scene.approach.lateral_mm))
        if at_us is None:
            at_us = int(self._rng.integers(0, 1 << 40))
        pose = Pose(distance_mm=distance_mm, angle_deg=angle_deg, lateral_mm=lateral_mm)
        return self._exposed(self._lit(pose), at_us)

    def _lit(self, pose: Pose) -> Floats:
        """Return the light that reaches the lens, 0..255 and above, float32."""
        light, camera = self._scene.light, self._scene.camera
        cos, sin = math.cos(math.radians(pose.angle_deg)), math.sin(math.radians(pose.angle_deg))
        reach = max(pose.distance_mm, 0.0) + camera.setback_mm
        lens_x, lens_z = pose.lateral_mm - reach * sin, reach * cos
        picture, wall_y, pixel = self._wall_seen(lens_x, lens_z, cos, sin)
        floor = self._floor_seen(lens_x, lens_z, cos, sin)
        if self._scene.floor.gloss > 0.0:
            floor += (self._mirrored(wall_y, pixel) - floor) * self._scene.floor.gloss
        picture += (floor - picture) * _covered(-wall_y, pixel)[..., None]
        picture *= 1.0 - light.near_shade * math.exp(-lens_z / light.near_shade_mm)
        return picture

    def _wall_seen(
        self, lens_x: float, lens_z: float, cos: float, sin: float
    ) -> tuple[Floats, Floats, Floats]:
        """Return the wall over the whole picture; per pixel its height and a pixel's size there.

        Heights below 0 are where the ray met the floor first.
        """
        rays, wall = self._rays, self._scene.wall
        to_wall = lens_z / np.maximum(rays.z * cos - rays.x * sin, 1e-3)
        x = lens_x + to_wall * (rays.x * cos + rays.z * sin)
        y = self._scene.camera.height_mm + to_wall * rays.y
        pixel = to_wall * rays.centre_pixel
        level = self._wall.level_of(np.full((1, 1), lens_z * rays.centre_pixel, np.float32))
        scales = self._wall.scales(np.broadcast_to(level, self._shape))
        seen = self._wall.sample(_single(x), _single(y), scales)
        seen += (self._board - seen) * _covered(wall.baseboard_mm - y, pixel)[..., None]
        light = self._scene.light
        reflected = light.bleeding * np.exp(np.maximum(y, 0.0) * (-1.0 / light.bleeding_mm))
        seen *= 1.0 + _single(reflected)[..., None] * (self._floor_tint - 1.0)
        return seen, _single(y), _single(pixel)

    def _mirrored(self, wall_y: Floats, pixel: Floats) -> Floats:
        """Return the wall's mirror image in the floor: plain colours, as gloss is never sharp."""
        on_board = _covered(self._scene.wall.baseboard_mm + wall_y, pixel)[..., None]
        plain = np.asarray(self._scene.wall.colour, dtype=np.float32)
        return plain + (self._board - plain) * on_board

    def _floor_seen(self, lens_x: float, lens_z: float, cos: float, sin: float) -> Floats:
        """Return the floor over the whole picture, with the wall's shadow at its foot."""
        rays, light = self._rays, self._scene.light
        x = lens_x + rays.floor_x * cos + rays.floor_z * sin
        z = lens_z - rays.floor_z * cos + rays.floor_x * sin
        seen = self._floor.sample(_single(x), _single(z), self._floor_scales)
        shade = light.foot_shadow * np.exp(np.maximum(z, 0.0) * (-1.0 / light.foot_shadow_mm))
        seen *= _single(1.0 - shade)[..., None]
        return seen

    def _exposed(self, linear: Floats, at_us: int) -> Pixels:
        """Return what the sensor makes of `linear` at a moment: lens, exposure, noise, 8 bits."""
        camera = self._scene.camera
        gain = self._gain * self._wander(at_us)
        means = np.maximum(np.asarray(cv2.mean(linear)[:3], dtype=np.float32) * gain, 1.0)
        grey = float(means.mean())
        gain = gain * (grey / means) ** camera.auto_white_balance
        gain = gain * (_TARGET_LEVEL / grey) ** camera.auto_exposure
        linear *= self._rays.vignette
        linear *= gain.astype(np.float32)
        if camera.focus_blur_px > 0.0:
            linear = np.asarray(cv2.GaussianBlur(linear, (0, 0), camera.focus_blur_px), np.float32)
        np.clip(linear, 0.0, 255.0, out=linear)
        start = _mixed(at_us) % _NOISE_BANK
        noise = self._noise[start : start + linear.size].reshape(linear.shape)
        # Variances of read and shot noise add; the latter grows with the light collected.
        per_level = camera.shot_noise**2 / 255.0
        linear += noise * np.sqrt(camera.read_noise**2 + per_level * linear)
        return np.asarray(cv2.convertScaleAbs(np.maximum(linear, 0.0)), dtype=np.uint8)

    def _wander(self, at_us: int) -> Floats:
        """Return the factors per channel by which exposure and white balance hunt at a moment."""
        angles = 2.0 * math.pi * (at_us / 1e6) / np.asarray(_WANDER_PERIODS_S)
        waves = np.sin(angles + self._phases).mean(axis=1)
        camera = self._scene.camera
        return np.asarray(
            1.0 + camera.exposure_hunting * waves[0] + camera.colour_hunting * waves[1:], np.float32
        )


class _Rays:
    """All that depends on the camera alone: directions, floor points, pixel sizes, vignette.

    Directions are in the car's frame: x to the right of the picture, y up, z to the rear; each has
    length 1 along the lens axis, so that depth times `centre_pixel` is what one pixel covers.
    """

    def __init__(self, scene: Scene, width: int, height: int) -> None:
        camera = scene.camera
        half_width = math.tan(math.radians(camera.fov_deg) / 2.0)
        self.centre_pixel = 2.0 * half_width / width
        across = ((np.arange(width) + 0.5) / width * 2.0 - 1.0) * half_width
        down = ((np.arange(height) + 0.5) * 2.0 - height) / width * half_width
        bent_x, bent_y = np.meshgrid(across, down)
        straight_x, straight_y = _undistorted(bent_x, bent_y, camera.distortion_k1)
        tilt = math.radians(camera.tilt_deg)
        self.x = straight_x.astype(np.float32)
        self.y = (-math.sin(tilt) - straight_y * math.cos(tilt)).astype(np.float32)
        self.z = (math.cos(tilt) - straight_y * math.sin(tilt)).astype(np.float32)
        to_floor = np.minimum(camera.height_mm / np.maximum(-self.y, 1e-6), _FAR_MM)
        self.floor_x = (to_floor * self.x).astype(np.float32)
        self.floor_z = (to_floor * self.z).astype(np.float32)
        # Across, a pixel covers distance x size; in depth it is stretched by the grazing view.
        # The geometric mean of both keeps detail without flicker.
        stretch = np.sqrt(np.maximum(np.hypot(self.z, self.y) / np.maximum(-self.y, 1e-3), 1.0))
        self.floor_footprint_mm = (to_floor * self.centre_pixel * stretch).astype(np.float32)
        radius = np.hypot(bent_x, bent_y) / math.hypot(half_width, half_width * height / width)
        self.vignette = (1.0 - camera.vignetting * radius**2)[..., None].astype(np.float32)


def _covered(margin_mm: npt.NDArray[Any], pixel_mm: npt.NDArray[Any]) -> Floats:
    """Return the share of each pixel on the side of an edge where `margin_mm` is positive."""
    return _single(np.clip(0.5 + margin_mm / pixel_mm, 0.0, 1.0))


def _undistorted(x: Doubles, y: Doubles, k1: float) -> tuple[Doubles, Doubles]:
    """Return the points whose images under r' = r (1 + k1 r^2) are (x, y), by fixed point steps."""
    straight_x, straight_y = x, y
    for _ in range(12):
        factor = 1.0 + k1 * (straight_x**2 + straight_y**2)
        straight_x, straight_y = x / factor, y / factor
    return straight_x, straight_y


def _light_colour(colour: Colour) -> Floats:
    return np.asarray(colour, dtype=np.float32) / 255.0


def _mixed(value: int) -> int:
    """Return `value` spread over 64 bits (splitmix64), so that neighbours in time share nothing."""
    mixed = (value + 0x9E3779B97F4A7C15) & _MASK_64
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & _MASK_64
    return mixed ^ (mixed >> 27)


def _single(values: npt.NDArray[Any]) -> Floats:
    return values.astype(np.float32, copy=False)
