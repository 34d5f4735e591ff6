import math

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hardware_sim.scene_tables import Obstacle
from hardware_sim.world import STEP_US, Chassis, Placement, World
from tests.hardware_sim.worlds import START_US, a_world, exact_scene, let_pass, with_fault

_EQUAL = Chassis(unequal=0.0, slip=0.0)


def _equal_world(z_mm: float = 300.0, heading_deg: float = 0.0) -> World:
    world = World(exact_scene(), 1, start_us=START_US, chassis=_EQUAL)
    world.place(Placement(x_mm=0.0, z_mm=z_mm, heading_deg=heading_deg))
    return world


def _drive(world: World, left: float, right: float, seconds: float) -> None:
    world.set_duty(0, left)
    world.set_duty(1, right)
    let_pass(world, seconds)


def test_reversing_brings_the_car_nearer_by_what_its_wheels_turn() -> None:
    world = _equal_world()
    _drive(world, -0.3, -0.3, 1.0)
    left, right = world.travel_mm
    assert left == right
    assert world.distance_mm == pytest.approx(300.0 - left, abs=0.01)
    assert left > 50.0


def test_a_motor_takes_its_time_and_rolls_out() -> None:
    world = _equal_world()
    _drive(world, -0.3, -0.3, STEP_US / 1e6)
    assert abs(world.speeds_mm_s[0]) < 10.0
    let_pass(world, 0.5)
    steady = world.speeds_mm_s[0]
    _drive(world, 0.0, 0.0, 0.02)
    assert steady < world.speeds_mm_s[0] < 0.0


def test_unequal_motors_turn_the_car_and_equal_ones_do_not() -> None:
    unequal, equal = a_world(seed=3), _equal_world()
    unequal.unbalance(0.05)
    for world in (unequal, equal):
        _drive(world, -0.4, -0.4, 1.0)
    assert abs(unequal.placement.heading_deg) > 0.2
    assert equal.placement.heading_deg == pytest.approx(0.0)


def test_a_faster_left_wheel_away_from_the_wall_swings_the_rear_towards_larger_x() -> None:
    world = _equal_world()
    _drive(world, 0.4, 0.2, 0.5)
    assert world.placement.heading_deg > 1.0
    assert world.placement.pose().angle_deg == world.placement.heading_deg


def test_the_dead_band_moves_nothing() -> None:
    world = _equal_world()
    _drive(world, -0.06, -0.06, 1.0)
    assert world.distance_mm == 300.0


def test_the_wall_holds_the_car_and_counts_one_touch() -> None:
    world = _equal_world(z_mm=20.0)
    _drive(world, -0.5, -0.5, 2.0)
    assert world.contacts == 1
    assert world.placement.z_mm == pytest.approx(0.0, abs=0.01)
    _drive(world, 0.5, 0.5, 0.5)
    _drive(world, -0.5, -0.5, 1.5)
    assert world.contacts == 2


def test_a_turned_car_touches_with_its_corner() -> None:
    world = _equal_world(z_mm=60.0, heading_deg=20.0)
    _drive(world, -0.5, -0.5, 2.0)
    corner = _EQUAL.bumper_width / 2 * math.sin(math.radians(world.placement.heading_deg))
    assert world.contacts == 1
    assert world.placement.z_mm == pytest.approx(corner, abs=0.5)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(st.floats(-1, 1), st.floats(-1, 1)), min_size=1, max_size=6),
    st.integers(0, 1000),
)
def test_the_car_is_never_inside_the_wall(duties: list[tuple[float, float]], seed: int) -> None:
    world = a_world(seed=seed, z_mm=60.0)
    for left, right in duties:
        _drive(world, left, right, 0.3)
        reach = 55.0 * abs(math.sin(math.radians(world.placement.heading_deg)))
        assert world.placement.z_mm >= reach - 1e-6


def test_the_same_seed_and_commands_give_the_same_world() -> None:
    ends = set()
    for _ in range(2):
        world = a_world(seed=5)
        _drive(world, -0.4, -0.35, 0.7)
        ends.add(world.placement)
    assert len(ends) == 1


def test_the_past_is_remembered_between_steps() -> None:
    world = _equal_world()
    seen = {}
    world.set_duty(0, -0.3)
    world.set_duty(1, -0.3)
    for _ in range(500):
        world.step()
        seen[world.now_us] = world.distance_mm
    moment = world.now_us - 100 * STEP_US
    assert world.true_mm_at(moment) == pytest.approx(seen[moment])
    between = world.true_mm_at(moment + STEP_US // 2)
    assert seen[moment + STEP_US] < between < seen[moment]
    assert world.true_mm_at(world.now_us + 10**6) == world.distance_mm


def test_a_stalled_motor_leaves_one_wheel_standing() -> None:
    world = a_world(with_fault(exact_scene(), "motor_stalled"))
    _drive(world, -0.4, -0.4, 0.5)
    assert world.travel_mm[0] == 0.0
    assert world.travel_mm[1] > 10.0


def _world_with_box(x_mm: float, heading_deg: float = 0.0) -> World:
    scene = msgspec.structs.replace(
        exact_scene(), obstacle=Obstacle(x_mm=x_mm, z_mm=120.0, width_mm=60.0)
    )
    world = World(scene, 1, start_us=START_US, chassis=_EQUAL)
    world.place(Placement(x_mm=0.0, z_mm=300.0, heading_deg=heading_deg))
    return world


def test_the_distance_ends_at_an_obstacle_behind_the_car_and_not_at_one_beside_its_axis() -> None:
    assert _world_with_box(0.0).distance_mm == pytest.approx(180.0)
    assert _world_with_box(70.0).distance_mm == pytest.approx(300.0)


@pytest.mark.parametrize("x_mm", [0.0, 70.0, -70.0])
def test_an_obstacle_that_the_bumper_meets_holds_the_car(x_mm: float) -> None:
    world = _world_with_box(x_mm)
    _drive(world, -0.5, -0.5, 3.0)
    assert world.contacts == 1
    assert world.placement.z_mm == pytest.approx(120.0, abs=0.01)


def test_an_obstacle_beside_the_bumper_lets_the_car_pass() -> None:
    world = _world_with_box(120.0)
    _drive(world, -0.5, -0.5, 3.0)
    assert world.placement.z_mm == pytest.approx(0.0, abs=0.01)


def test_a_turned_car_meets_an_obstacle_with_the_corner_that_is_nearer() -> None:
    world = _world_with_box(-80.0, heading_deg=20.0)
    _drive(world, -0.5, -0.5, 3.0)
    assert world.contacts == 1
    heading = math.radians(world.placement.heading_deg)
    assert world.placement.z_mm < 120.0 + 55.0 * math.sin(heading) + 0.01


def test_a_car_at_thirty_degrees_stops_forty_millimetres_off_without_touching() -> None:
    world = _equal_world(z_mm=40.0 * math.cos(math.radians(30.0)), heading_deg=30.0)
    _drive(world, -0.5, -0.5, STEP_US / 1e6)
    assert world.contacts == 0
