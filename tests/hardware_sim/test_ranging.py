"""What the range sensor's cone sees."""

import math

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware_sim import scene as scenes
from hardware_sim.ranging import Cone, Echo
from hardware_sim.scene import Scene
from hardware_sim.scene_tables import Obstacle
from hardware_sim.world import Placement

_BUDGET_US = 33_000.0


def _scene(*, wall: float = 0.88, obstacle: Obstacle | None = None, **sensor: float) -> Scene:
    scene = scenes.load("beige")
    return msgspec.structs.replace(
        scene,
        wall=msgspec.structs.replace(scene.wall, reflectance=wall),
        obstacle=obstacle,
        range_sensor=msgspec.structs.replace(scene.range_sensor, **sensor),
    )


def _echo(scene: Scene, z_mm: float, heading_deg: float = 0.0) -> Echo:
    placement = Placement(x_mm=0.0, z_mm=z_mm, heading_deg=heading_deg)
    echo = Cone(scene).echo(placement)
    assert echo is not None
    return echo


@settings(max_examples=30, deadline=None)
@given(st.floats(5.0, 400.0), st.floats(0.05, 1.0))
def test_straight_before_a_bare_wall_it_reads_the_distance(z_mm: float, wall: float) -> None:
    echo = _echo(_scene(wall=wall), z_mm)
    assert echo.range_mm == pytest.approx(z_mm, rel=1e-6)
    assert echo.reflectance == pytest.approx(wall, rel=1e-6)


def test_a_low_mount_sees_the_floor_before_a_far_wall_and_not_before_a_near_one() -> None:
    low = _scene(height_mm=25.0)
    assert _echo(low, 100.0).range_mm == pytest.approx(100.0, abs=0.5)
    assert _echo(low, 330.0).range_mm < 320.0
    assert _echo(_scene(height_mm=90.0), 330.0).range_mm == pytest.approx(330.0, abs=0.5)


def test_a_sensor_that_looks_down_sees_the_floor_and_one_that_looks_up_less() -> None:
    down, up = (_echo(_scene(height_mm=40.0, tilt_deg=tilt), 330.0) for tilt in (10.0, -6.0))
    assert down.range_mm < 260.0
    assert up.range_mm > 320.0


def test_a_narrow_view_sees_less_floor() -> None:
    wide, narrow = (_echo(_scene(height_mm=25.0, fov_deg=fov), 330.0) for fov in (25.0, 8.0))
    assert narrow.range_mm == pytest.approx(330.0, abs=1.0)
    assert wide.range_mm < narrow.range_mm


@pytest.mark.parametrize("heading_deg", [10.0, 30.0, -30.0])
def test_a_slanted_wall_weighs_more_on_its_near_side(heading_deg: float) -> None:
    along_axis = 150.0 / math.cos(math.radians(heading_deg))
    echo = _echo(_scene(), 150.0, heading_deg)
    assert 0.96 * along_axis < echo.range_mm < along_axis
    assert echo.reflectance < 0.88


def test_left_and_right_are_alike() -> None:
    assert _echo(_scene(), 200.0, 20.0).range_mm == pytest.approx(
        _echo(_scene(), 200.0, -20.0).range_mm
    )


def test_an_obstacle_in_the_view_is_nearer_than_the_wall_and_beside_it_is_not() -> None:
    box = Obstacle(x_mm=0.0, z_mm=100.0, width_mm=200.0, height_mm=300.0)
    assert _echo(_scene(obstacle=box), 300.0).range_mm == pytest.approx(200.0, abs=1.0)
    thin = msgspec.structs.replace(box, width_mm=20.0)
    assert 200.0 < _echo(_scene(obstacle=thin), 300.0).range_mm < 300.0
    beside = msgspec.structs.replace(box, x_mm=400.0)
    assert _echo(_scene(obstacle=beside), 300.0).range_mm == pytest.approx(300.0, abs=0.1)


def test_noise_is_the_datasheets_for_white_and_grey_at_their_farthest() -> None:
    cone = Cone(_scene(noise_floor_mm=0.0))
    white = cone.sigma_mm(Echo(range_mm=1200.0, reflectance=0.88), _BUDGET_US)
    grey = cone.sigma_mm(Echo(range_mm=700.0, reflectance=0.17), _BUDGET_US)
    assert white == pytest.approx(0.04 * 1200.0, rel=0.02)
    assert grey == pytest.approx(0.07 * 700.0, rel=0.02)


def test_the_reach_is_the_datasheets_for_white_and_grey_and_grows_with_the_budget() -> None:
    cone = Cone(_scene())
    grey = Echo(range_mm=700.0, reflectance=0.17)
    assert cone.reach_mm(Echo(range_mm=1.0, reflectance=0.88), _BUDGET_US) == pytest.approx(1200.0)
    assert cone.reach_mm(grey, _BUDGET_US) == pytest.approx(700.0, rel=0.02)
    assert cone.reach_mm(grey, 200_000.0) > 1.4 * cone.reach_mm(grey, _BUDGET_US)


def test_four_times_the_budget_halves_the_noise() -> None:
    cone, echo = Cone(_scene()), Echo(range_mm=500.0, reflectance=0.5)
    assert cone.sigma_mm(echo, 4 * _BUDGET_US) == pytest.approx(
        cone.sigma_mm(echo, _BUDGET_US) / 2.0
    )


def test_a_dirty_cover_glass_shortens_far_ranges_and_hardly_near_ones() -> None:
    glass = _scene(crosstalk=0.01)
    assert _echo(glass, 50.0).range_mm == pytest.approx(50.0, rel=0.01)
    assert _echo(glass, 350.0).range_mm < 0.93 * 350.0
