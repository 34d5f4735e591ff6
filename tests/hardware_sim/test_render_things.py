"""What stands, lies and moves in a picture: patterns, shadows, an obstacle, blur, the sensor."""

from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import pytest

from hardware_sim import scene as scenes
from hardware_sim.lens import Rays
from hardware_sim.render import Pose, Renderer
from hardware_sim.scene import Scene
from hardware_sim.scene_tables import CameraModel, Light, Obstacle, Shadow
from shared.picture import Pixels

_STILL_CAMERA = CameraModel(
    vignetting=0.0,
    focus_blur_px=0.0,
    auto_exposure=0.0,
    auto_white_balance=0.0,
    exposure_hunting=0.0,
    colour_hunting=0.0,
    read_noise=0.0,
    shot_noise=0.0,
)


def _scene(
    *,
    floor: dict[str, Any] | None = None,
    wall: dict[str, Any] | None = None,
    camera: dict[str, Any] | None = None,
    light: Light | None = None,
    obstacle: Obstacle | None = None,
) -> Scene:
    """Return a plain grey room, no chance in it, with the given changes."""
    plain = {"contrast": 0.0, "texture": None}
    scene = scenes.load("beige")
    change = msgspec.structs.replace
    return change(
        scene,
        floor=change(scene.floor, **plain, **(floor or {})),
        wall=change(scene.wall, **plain, **(wall or {})),
        camera=change(_STILL_CAMERA, **(camera or {})),
        light=light or Light(foot_shadow=0.0, near_shade=0.0, bleeding=0.0),
        obstacle=obstacle,
    )


def _shot(scene: Scene, distance_mm: float = 200.0, **place: Any) -> npt.NDArray[np.int16]:
    picture: Pixels = Renderer(scene, 1).picture(
        distance_mm, **{"lateral_mm": 0.0, "at_us": 5_000_000, **place}
    )
    return picture.astype(np.int16)


def test_stripes_lie_across_the_floor_and_checks_in_both_directions() -> None:
    printed = {"pattern_contrast": 1.0, "pattern_colour": (0, 0, 0), "pattern_count": 2}
    striped = _shot(_scene(floor={"pattern": "stripes", **printed}))[55:, 40:60, 0]
    assert striped.std(axis=0).mean() > 5 * striped.std(axis=1).mean()
    checked = _shot(_scene(floor={"pattern": "checks", **printed}))[55:, :, 0]
    assert checked.std(axis=1).mean() > 20


def test_a_shadow_darkens_its_band_of_floor_and_wall_and_nothing_else() -> None:
    shadow = Shadow(x_mm=0.0, width_mm=40.0, softness_mm=1.0, depth=0.5)
    light = Light(foot_shadow=0.0, near_shade=0.0, bleeding=0.0)
    plain = _shot(_scene(light=light))
    shaded = _shot(_scene(light=msgspec.structs.replace(light, shadows=(shadow,))))
    ratio = shaded[..., 1] / plain[..., 1]
    assert ratio[[15, 70], 50] == pytest.approx(0.5, abs=0.02)
    assert ratio[[15, 70], 2] == pytest.approx(1.0, abs=0.01)


def test_a_slanted_shadow_goes_over_the_floor_at_its_angle() -> None:
    shadow = Shadow(x_mm=0.0, angle_deg=45.0, width_mm=40.0, depth=0.9)
    light = Light(foot_shadow=0.0, near_shade=0.0, bleeding=0.0, shadows=(shadow,))
    picture = _shot(_scene(light=light))
    near, far = picture[74, :, 1].argmin(), picture[48, :, 1].argmin()
    assert abs(int(near) - int(far)) > 15


def test_an_obstacle_hides_the_wall_where_it_stands_and_is_as_large_as_it_is() -> None:
    box = Obstacle(x_mm=0.0, z_mm=100.0, width_mm=60.0, height_mm=400.0, colour=(0, 0, 0))
    scene = _scene(obstacle=box, camera={"distortion_k1": 0.0, "tilt_deg": 0.0})
    picture = _shot(scene, 300.0)
    dark = float((255 - np.clip(picture[20, :, 1] / picture[20, 2, 1], 0, 1) * 255).sum()) / 255
    focal_px = 50.0 / np.tan(np.radians(scene.camera.fov_deg / 2.0))
    depth_mm = 200.0 + scene.camera.setback_mm
    assert dark == pytest.approx(60.0 / depth_mm * focal_px, abs=0.6)


def _heights(scene: Scene, distance_mm: float) -> npt.NDArray[np.float32]:
    """Return how high each pixel's ray meets the wall; below 0 where the floor was in its way."""
    rays = Rays(scene.camera, 100, 75)
    to_wall = (distance_mm + scene.camera.setback_mm) / rays.z
    return np.asarray(scene.camera.height_mm + to_wall * rays.y, dtype=np.float32)


@pytest.mark.parametrize("distance_mm", [60.0, 150.0, 300.0])
def test_a_mirror_shows_the_walls_stripes_as_far_below_its_foot_as_they_are_above(
    distance_mm: float,
) -> None:
    stripe = {"pattern": "stripes", "pattern_count": 1, "pattern_colour": (0, 0, 0)}
    printed = {**stripe, "pattern_contrast": 1.0, "texture_mm": 80.0, "baseboard_mm": 0.0}
    scene = _scene(floor={"gloss": 1.0}, wall=printed)
    picture = _shot(scene, distance_mm)[..., 1]
    height = np.abs(_heights(scene, distance_mm))
    dark = height % 80.0 < 40.0
    clear = np.abs(height % 40.0 - 20.0) < 10.0
    floor = _heights(scene, distance_mm) < -3.0
    assert (floor & clear & dark).sum() > 50
    assert picture[floor & clear & dark].max() < 25
    assert picture[floor & clear & ~dark].min(initial=255) > 100


def test_a_glossy_floor_shows_its_share_of_the_walls_pattern_and_a_dull_one_none() -> None:
    checks = {"pattern": "checks", "pattern_contrast": 1.0, "pattern_colour": (0, 0, 0)}
    floor = _heights(_scene(), 200.0) < -3.0
    contrast = []
    for gloss in (0.0, 0.25, 0.5):
        shown, blank = (
            _shot(_scene(floor={"gloss": gloss}, wall=wall))[..., 1] for wall in (checks, {})
        )
        contrast.append(float(np.abs(shown - blank)[floor].max()))
    assert contrast[0] == 0.0
    assert contrast[2] == pytest.approx(2 * contrast[1], rel=0.15)


def test_a_glossy_floor_mirrors_an_obstacle_before_the_wall_behind_it() -> None:
    obstacle = Obstacle(x_mm=0.0, z_mm=60.0, width_mm=40.0, height_mm=30.0, colour=(255, 0, 0))
    scene = _scene(floor={"gloss": 0.5}, obstacle=obstacle)
    with_it, without = _shot(scene), _shot(_scene(floor={"gloss": 0.5}))
    # Where its plane is met: the foot's row and as far below it as the obstacle is high.
    height = _heights(scene, 200.0 - obstacle.z_mm)[:, 50]
    below = (height < -4.0) & (height > -26.0)
    assert below.sum() > 3
    redder = (with_it - without)[:, 50, 0] - (with_it - without)[:, 50, 1]
    assert redder[below].min() > 40
    assert np.abs(redder[height < -34.0]).max() <= 1


def test_an_obstacle_behind_the_lens_is_not_seen() -> None:
    box = Obstacle(x_mm=0.0, z_mm=250.0)
    light = Light(foot_shadow=0.0, near_shade=0.0, bleeding=0.0)
    assert np.array_equal(
        _shot(_scene(obstacle=box, light=light), 100.0), _shot(_scene(light=light), 100.0)
    )


_NEAR, _HIGH = slice(60, 75), slice(0, 20)


def _sharpness(picture: npt.NDArray[np.int16]) -> float:
    return float(np.abs(np.diff(picture[..., 1], axis=0)).mean())


def test_a_moving_car_smears_the_near_floor_more_than_the_wall() -> None:
    printed = {"pattern": "stripes", "pattern_count": 12, "texture_mm": 150.0}
    scene = _scene(floor=printed, wall=printed)
    still, moved = _shot(scene), _shot(scene, until=Pose(distance_mm=192.0, lateral_mm=0.0))
    lost = [1 - _sharpness(moved[rows]) / _sharpness(still[rows]) for rows in (_NEAR, _HIGH)]
    assert lost[0] > 0.3
    assert lost[0] > lost[1]


def test_a_way_that_no_pixel_notices_leaves_the_picture_sharp() -> None:
    scene = _scene()
    halfway = _shot(scene, 199.5)
    assert np.array_equal(_shot(scene, 200.0, until=Pose(distance_mm=199.0)), halfway)


def test_focus_hunts_over_time() -> None:
    scene = _scene(
        floor={"pattern": "tiles"}, camera={"focus_blur_px": 0.3, "focus_hunting_px": 3.0}
    )
    renderer = Renderer(scene, 1)
    sharp = [
        _sharpness(renderer.picture(200.0, lateral_mm=0.0, at_us=n * 300_000).astype(np.int16))
        for n in range(20)
    ]
    assert max(sharp) > 1.4 * min(sharp)


def test_a_dim_picture_is_amplified_with_its_noise() -> None:
    camera = {"auto_exposure": 1.0, "read_noise": 2.0}
    light = Light(foot_shadow=0.0, near_shade=0.0, bleeding=0.0)
    bright = _shot(_scene(camera=camera, light=light))
    dim = _shot(_scene(camera=camera, light=msgspec.structs.replace(light, level=0.2)))
    assert dim.mean() == pytest.approx(bright.mean(), abs=4)
    grain = [float(np.diff(each[:30, :, 1], axis=1).std()) for each in (dim, bright)]
    assert grain[0] > 2.0 * grain[1]


def test_vignetting_darkens_the_corners() -> None:
    picture = _shot(_scene(camera={"vignetting": 0.5, "auto_exposure": 0.0}))
    assert picture[2, 2, 1] < 0.75 * picture[2, 50, 1]


@pytest.mark.parametrize("name", scenes.shipped())
def test_every_shipped_scene_shows_where_the_car_stands(name: str) -> None:
    renderer = Renderer(scenes.load(name), 1)
    far, near = (
        renderer.picture(mm, lateral_mm=0.0, at_us=1_000_000).astype(np.int16)
        for mm in (320.0, 160.0)
    )
    assert np.abs(far - near).mean() > 2.0
