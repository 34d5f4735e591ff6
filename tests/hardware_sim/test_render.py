import cv2
import msgspec
import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware_sim import scene as scenes
from hardware_sim.render import Renderer
from hardware_sim.scene import Scene
from hardware_sim.scene_tables import CameraModel, Light
from shared.picture import Pixels

_PLAIN_CAMERA = CameraModel(
    distortion_k1=0.0,
    vignetting=0.0,
    focus_blur_px=0.0,
    auto_exposure=0.0,
    auto_white_balance=0.0,
    exposure_hunting=0.0,
    colour_hunting=0.0,
    read_noise=0.0,
    shot_noise=0.0,
)


def _plain(scene: Scene) -> Scene:
    """Return `scene` reduced to its geometry: black wall on a white floor, no lens, no chance."""
    return msgspec.structs.replace(
        scene,
        floor=msgspec.structs.replace(
            scene.floor, colour=(255, 255, 255), texture=None, contrast=0.0
        ),
        wall=msgspec.structs.replace(
            scene.wall, colour=(0, 0, 0), contrast=0.0, baseboard_mm=0.0, texture=None
        ),
        light=Light(foot_shadow=0.0, near_shade=0.0, bleeding=0.0),
        camera=_PLAIN_CAMERA,
    )


def _foot_row(picture: Pixels, column: int) -> float:
    """Return where the wall's foot lies in a column, in rows from the top, to sub-pixels."""
    return float(picture.shape[0]) - float(picture[:, column, 0].sum()) / 255.0


def _saturation(picture: npt.NDArray[np.uint8]) -> float:
    return float(cv2.mean(cv2.cvtColor(picture, cv2.COLOR_RGB2HSV))[1])


def test_a_picture_has_the_tasks_size_and_type() -> None:
    picture = Renderer(scenes.load("beige"), 1).picture(100.0)
    assert (picture.shape, picture.dtype) == ((75, 100, 3), np.dtype(np.uint8))


@pytest.mark.parametrize("distance_mm", [40.0, 80.0, 150.0, 250.0, 350.0])
def test_the_walls_foot_lies_where_the_pinhole_puts_it(distance_mm: float) -> None:
    scene = _plain(scenes.load("beige"))
    picture = Renderer(scene, 1).picture(distance_mm)
    camera = scene.camera
    focal = 50.0 / np.tan(np.radians(camera.fov_deg / 2.0))
    down = np.arctan2(camera.height_mm, distance_mm + camera.setback_mm)
    expected = 37.5 + focal * np.tan(down - np.radians(camera.tilt_deg))
    assert _foot_row(picture, 50) == pytest.approx(expected, abs=0.35)


@settings(max_examples=30, deadline=None)
@given(st.floats(20.0, 330.0), st.floats(3.0, 20.0))
def test_a_nearer_wall_stands_lower_in_the_picture(far_mm: float, by_mm: float) -> None:
    renderer = _PLAIN_RENDERER
    assert _foot_row(renderer.picture(far_mm), 50) < _foot_row(renderer.picture(far_mm - by_mm), 50)


def test_a_turned_car_sees_a_slanted_foot() -> None:
    straight = _PLAIN_RENDERER.picture(150.0, 0.0)
    turned = _PLAIN_RENDERER.picture(150.0, 15.0)
    assert _foot_row(straight, 5) == pytest.approx(_foot_row(straight, 94), abs=0.1)
    assert _foot_row(turned, 5) > _foot_row(turned, 94) + 10.0


def test_the_same_seed_pose_and_moment_give_the_same_bytes() -> None:
    scene = scenes.load("red")
    one, other = (
        Renderer(scene, 7).picture(120.0, 4.0, lateral_mm=3.0, at_us=99) for _ in range(2)
    )
    assert np.array_equal(one, other)


def test_two_moments_differ_by_noise_and_exposure_only() -> None:
    renderer = Renderer(scenes.load("beige"), 7)
    one = renderer.picture(120.0, lateral_mm=0.0, at_us=1_000_000).astype(np.int16)
    other = renderer.picture(120.0, lateral_mm=0.0, at_us=2_000_000).astype(np.int16)
    assert 0 < np.abs(one - other).mean() < 12


def test_the_floor_moves_under_the_car() -> None:
    renderer = Renderer(scenes.load("beige"), 7)
    here = renderer.picture(200.0, lateral_mm=0.0, at_us=5).astype(np.int16)
    there = renderer.picture(200.0, lateral_mm=40.0, at_us=5).astype(np.int16)
    assert np.abs(here - there)[40:].mean() > 3.0


@pytest.mark.slow
def test_the_red_floor_raises_saturation_strongly_and_brightness_hardly() -> None:
    beige, red = (
        np.array([Renderer(scenes.load(name), 1).picture(mm) for mm in range(40, 350, 10)])
        for name in ("beige", "red")
    )
    saturation = [np.mean([_saturation(picture) for picture in set_]) for set_ in (beige, red)]
    assert saturation[1] > 2.2 * saturation[0]
    assert abs(float(red.max(axis=3).mean()) - float(beige.max(axis=3).mean())) < 25


def test_a_larger_picture_shows_the_same_scene() -> None:
    scene = _plain(scenes.load("beige"))
    small = Renderer(scene, 1).picture(150.0)
    large = Renderer(scene, 1, width=200, height=150).picture(150.0)
    assert _foot_row(large, 100) == pytest.approx(2 * _foot_row(small, 50), abs=1.0)


_PLAIN_RENDERER = Renderer(_plain(scenes.load("beige")), 1)
