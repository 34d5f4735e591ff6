"""Pictures of the rear camera: floor, wall, what stands there, a thousand a second.

Laws:
- a picture depends on the scene, the seed, the pose and the moment, on nothing else;
- geometry is that of the pinhole with radial distortion: what lies on the floor moves as the car
  moves, the foot of the wall lies where the distance puts it, to a fraction of a pixel;
- nothing that does not depend on the pose is computed twice.

Coordinates: the wall is the plane z = 0, the floor y = 0, the room is z > 0, x runs along the wall.
The camera looks along the car's rear axis, tilted down. A ray meets the floor at a point that is
fixed in the car's frame, so the floor's sampling level is a table; the wall's follows its distance.
The foot and the baseboard's upper edge are blended by how much of a pixel lies below them, which
gives the sub-pixel information that a real lens gives; so are an obstacle's edges. A ray that the
floor mirrors meets the wall as high above the floor as it would have met it below without a floor.

Motion: a picture of a moving car is the mean of several, taken along its way during the exposure,
in light, before the sensor; a way that no pixel notices costs nothing.
"""

import math
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from hardware_sim.exposure import Sensor
from hardware_sim.lens import Rays
from hardware_sim.scene import Scene
from hardware_sim.scene_tables import Obstacle, Shadow
from hardware_sim.surfaces import Atlas, Floats
from shared.picture import Pixels

_SMEAR_STEP_MM: Final = 1.6
_MOST_SMEARS: Final = 5
_LEVER_MM: Final = 300.0
_MIRROR_BLUR: Final = 2.0
"""Over how many times as wide a spot a pixel sees the wall in a glossy floor."""


@dataclass(frozen=True, kw_only=True)
class Pose:
    """Where the car stands.

    `distance_mm` is from the bumper's centre to the wall along the car's axis, `angle_deg` between
    that axis and the wall's normal, `lateral_mm` where the axis meets the wall.
    """

    distance_mm: float
    angle_deg: float = 0.0
    lateral_mm: float = 0.0

    def way_mm(self, other: "Pose") -> float:
        """Return about how far the floor moves through the view between both poses."""
        turned = math.radians(other.angle_deg - self.angle_deg) * _LEVER_MM
        straight = other.distance_mm - self.distance_mm
        return math.hypot(straight, turned)

    def towards(self, other: "Pose", share: float) -> "Pose":
        """Return the pose that lies that share of the way to `other`."""
        return Pose(
            distance_mm=self.distance_mm + (other.distance_mm - self.distance_mm) * share,
            angle_deg=self.angle_deg + (other.angle_deg - self.angle_deg) * share,
            lateral_mm=self.lateral_mm + (other.lateral_mm - self.lateral_mm) * share,
        )


@dataclass(frozen=True, kw_only=True)
class _Eye:
    """The lens above the floor: its place and the direction in which the car's rear points."""

    x: float
    z: float
    cos: float
    sin: float

    @classmethod
    def of(cls, pose: Pose, setback_mm: float) -> "_Eye":
        angle = math.radians(pose.angle_deg)
        cos, sin = math.cos(angle), math.sin(angle)
        reach = max(pose.distance_mm, 0.0) + setback_mm
        return cls(x=pose.lateral_mm - reach * sin, z=reach * cos, cos=cos, sin=sin)


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
        self._rays = Rays(scene.camera, width, height)
        self._floor_scales = self._floor.scales(self._floor.level_of(self._rays.floor_footprint_mm))
        self._sensor = Sensor(scene.camera, scene.light, self._rays, self._shape, self._rng)

    def picture(
        self,
        distance_mm: float,
        angle_deg: float = 0.0,
        *,
        lateral_mm: float | None = None,
        at_us: int | None = None,
        until: Pose | None = None,
    ) -> Pixels:
        """Return the picture taken from the given pose, RGB uint8, height x width x 3.

        Args:
            distance_mm: bumper to wall along the car's axis, 0 or more.
            angle_deg: between the car's axis and the wall's normal.
            lateral_mm: where along the wall; None draws from the scene's approach.
            at_us: the moment of exposure since the world's start, which fixes noise and exposure;
                None draws one.
            until: where the car stands at the exposure's end; None where it does not move.
        """
        if lateral_mm is None:
            lateral_mm = float(self._rng.uniform(*self._scene.approach.lateral_mm))
        if at_us is None:
            at_us = int(self._rng.integers(0, 1 << 40))
        pose = Pose(distance_mm=distance_mm, angle_deg=angle_deg, lateral_mm=lateral_mm)
        linear = self._lit(pose) if until is None else self._smeared(pose, until)
        return self._sensor.exposed(linear, at_us)

    def _smeared(self, start: Pose, end: Pose) -> Floats:
        """Return the mean light over a way from one pose to another."""
        count = min(1 + int(start.way_mm(end) / _SMEAR_STEP_MM), _MOST_SMEARS)
        shares = (np.arange(count) + 0.5) / count
        total = self._lit(start.towards(end, float(shares[0])))
        for share in shares[1:]:
            total += self._lit(start.towards(end, float(share)))
        total *= 1.0 / count
        return total

    def _lit(self, pose: Pose) -> Floats:
        """Return the light that reaches the lens, 0..255 and above, float32."""
        light, camera = self._scene.light, self._scene.camera
        eye = _Eye.of(pose, camera.setback_mm)
        gloss, obstacle = self._scene.floor.gloss, self._scene.obstacle
        picture, wall_y, pixel = self._wall_seen(eye)
        floor = self._floor_seen(eye)
        if gloss > 0.0:
            if obstacle is not None:
                self._put_before(picture, obstacle, eye, mirrored=True)
            floor += (picture - floor) * gloss
        picture += (floor - picture) * _covered(-wall_y, pixel)[..., None]
        if obstacle is not None:
            self._put_before(picture, obstacle, eye)
        picture *= 1.0 - light.near_shade * math.exp(-eye.z / light.near_shade_mm)
        return picture

    def _wall_seen(self, eye: _Eye) -> tuple[Floats, Floats, Floats]:
        """Return the wall over the whole picture; per pixel its height and a pixel's size there.

        Heights below 0 are where the ray met the floor first: there a glossy floor shows the wall's
        mirror image, which is what is returned.
        """
        rays, wall = self._rays, self._scene.wall
        to_wall = eye.z / np.maximum(rays.z * eye.cos - rays.x * eye.sin, 1e-3)
        x = eye.x + to_wall * (rays.x * eye.cos + rays.z * eye.sin)
        y = self._scene.camera.height_mm + to_wall * rays.y
        pixel = to_wall * rays.centre_pixel
        height = np.abs(y)
        # Lacquer is never quite flat: of what it mirrors the finest detail is lost.
        sizes = _single(eye.z * rays.centre_pixel * np.array([1.0, _MIRROR_BLUR]))
        upright, mirrored = self._wall.level_of(sizes)
        scales = self._wall.scales(np.where(y < 0.0, mirrored, upright))
        seen = self._wall.sample(_single(x), _single(height), scales)
        seen += (self._board - seen) * _covered(wall.baseboard_mm - height, pixel)[..., None]
        light = self._scene.light
        reflected = light.bleeding * np.exp(height * (-1.0 / light.bleeding_mm))
        seen *= 1.0 + _single(reflected)[..., None] * (self._floor_tint - 1.0)
        for shadow in light.shadows:
            seen *= _single(_lit_share(shadow, _single(x), 0.0))[..., None]
        return seen, _single(y), _single(pixel)

    def _floor_seen(self, eye: _Eye) -> Floats:
        """Return the floor over the whole picture, with the wall's shadow at its foot."""
        rays, light = self._rays, self._scene.light
        x = eye.x + rays.floor_x * eye.cos + rays.floor_z * eye.sin
        z = eye.z - rays.floor_z * eye.cos + rays.floor_x * eye.sin
        seen = self._floor.sample(_single(x), _single(z), self._floor_scales)
        shade = light.foot_shadow * np.exp(np.maximum(z, 0.0) * (-1.0 / light.foot_shadow_mm))
        lit = 1.0 - shade
        for shadow in light.shadows:
            lit *= _lit_share(shadow, x, z)
        if self._scene.obstacle is not None:
            lit *= 1.0 - light.foot_shadow * _before(
                self._scene.obstacle, x, z, light.foot_shadow_mm
            )
        seen *= _single(lit)[..., None]
        return seen

    def _put_before(
        self, picture: Floats, obstacle: Obstacle, eye: _Eye, *, mirrored: bool = False
    ) -> None:
        """Draw the obstacle's front, or its mirror image in the floor, over `picture`.

        Its edges are blended by how much of a pixel they cover.
        """
        rays, ahead_mm = self._rays, eye.z - obstacle.z_mm
        if ahead_mm <= 0.0:
            return
        ways = ahead_mm / np.maximum(rays.z * eye.cos - rays.x * eye.sin, 1e-3)
        x = eye.x + ways * (rays.x * eye.cos + rays.z * eye.sin)
        y = self._scene.camera.height_mm + ways * rays.y
        if mirrored:
            y = -y
        pixel = ways * rays.centre_pixel
        covered = _covered(obstacle.width_mm / 2.0 - np.abs(x - obstacle.x_mm), pixel)
        covered *= _covered(obstacle.height_mm - y, pixel) * _covered(y, pixel)
        front = np.asarray(obstacle.colour, dtype=np.float32)
        picture += (front - picture) * covered[..., None]


def _covered(margin_mm: npt.NDArray[Any], pixel_mm: npt.NDArray[Any]) -> Floats:
    """Return the share of each pixel on the side of an edge where `margin_mm` is positive."""
    return _single(np.clip(0.5 + margin_mm / pixel_mm, 0.0, 1.0))


def _lit_share(shadow: Shadow, x_mm: Floats, z_mm: Floats | float) -> Floats:
    """Return the share of the light that a shadow leaves at points of the floor (or wall: z 0)."""
    angle = math.radians(shadow.angle_deg)
    off_middle = np.abs((x_mm - shadow.x_mm) * math.cos(angle) - z_mm * math.sin(angle))
    inside = (shadow.width_mm + shadow.softness_mm) / 2.0 - off_middle
    return _single(1.0 - shadow.depth * np.clip(inside / shadow.softness_mm, 0.0, 1.0))


def _before(obstacle: Obstacle, x_mm: Floats, z_mm: Floats, fading_mm: float) -> Floats:
    """Return how near points of the floor lie before an obstacle's foot, 1 at it, fading to 0."""
    beside = np.maximum(np.abs(x_mm - obstacle.x_mm) - obstacle.width_mm / 2.0, 0.0)
    away = np.hypot(beside, np.maximum(z_mm - obstacle.z_mm, 0.0))
    return _single(np.exp(away * (-1.0 / fading_mm)))


def _single(values: npt.NDArray[Any]) -> Floats:
    return values.astype(np.float32, copy=False)
