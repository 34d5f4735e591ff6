"""Two unequal motors turn at the same, wanted speed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.wheel_control import Chassis, WheelControl
from tests.device.fakes import FakeWheels, World

TURN_US = 33_333


def reverse(world: World, speeds: list[float], *, chassis: Chassis | None = None) -> WheelControl:
    """Reverse turn by turn at the wanted `speeds`."""
    control, wheels = WheelControl(chassis or Chassis()), FakeWheels(world)
    for wanted in speeds:
        control.observe(wheels.edges(), world.now_us)
        wheels.set_duty(*control.duties(wanted))
        world.advance(world.now_us + TURN_US)
    return control


@pytest.mark.parametrize("wanted", [25.0, 40.0, 80.0])
@pytest.mark.parametrize("strength", [(1.0, 1.0), (1.1, 0.9), (0.8, 0.85)])
def test_both_wheels_hold_a_speed_and_the_car_goes_straight(
    wanted: float, strength: tuple[float, float]
) -> None:
    world = World(distance_mm=1000.0, strength=strength)
    control = reverse(world, [wanted] * 120)
    for way in world.rolled:
        assert way == pytest.approx(wanted * 4.0, rel=0.1)
    assert abs(world.rolled[0] - world.rolled[1]) < 1.5
    assert control.speed_mm_s == pytest.approx(wanted, rel=0.2)


@given(st.lists(st.sampled_from([0.0, 25.0, 80.0, 150.0]), max_size=40))
def test_no_duty_is_ever_forward_and_speed_zero_is_duty_zero(speeds: list[float]) -> None:
    world = World(distance_mm=5000.0)
    reverse(world, speeds)
    for wanted, duties in zip(speeds, world.duties, strict=True):
        assert all(-1.0 <= duty <= 0.0 for duty in duties)
        if wanted == 0.0:
            assert duties == (0.0, 0.0)


def test_a_driven_wheel_without_edges_is_stalled_a_standing_one_is_not() -> None:
    world = World(left_stalls_from_us=0)
    assert not reverse(world, [0.0] * 60).is_stalled
    assert not reverse(world, [40.0] * 10).is_stalled
    assert reverse(world, [40.0] * 16).is_stalled


def test_a_car_that_is_held_is_stalled_though_its_wheels_creep() -> None:
    world = World(distance_mm=1000.0)
    free = reverse(world, [25.0] * 60)
    assert not free.is_stalled
    world.strength = (0.05, 0.05)
    assert reverse(world, [25.0] * 40).is_stalled


@pytest.mark.parametrize("strength", [(0.6, 0.6), (1.2, 0.7)])
@pytest.mark.parametrize("wanted", [25.0, 80.0])
def test_a_weak_motor_is_not_taken_for_a_stalled_one(
    strength: tuple[float, float], wanted: float
) -> None:
    world = World(distance_mm=5000.0, strength=strength)
    assert not any(reverse(world, [wanted] * turns).is_stalled for turns in range(1, 60, 3))


def test_wheels_of_unequal_size_are_held_to_the_same_way_on_the_floor() -> None:
    world = World(distance_mm=1000.0)
    reverse(world, [60.0] * 120, chassis=Chassis(left_larger=0.02))
    left_mm, right_mm = world.rolled  # As the encoders count: the left wheel is larger than that.
    assert left_mm * 1.01 == pytest.approx(right_mm * 0.99, abs=1.0)


def test_the_odometer_answers_for_moments_gone_by() -> None:
    world = World(distance_mm=1000.0)
    control = reverse(world, [60.0] * 60)
    for ago_us in (0, 18_000, 50_000, 400_000):
        moment_us = world.now_us - TURN_US - ago_us
        rolled_mm = 1000.0 - world.distance_at(moment_us)
        assert control.travelled_at(moment_us) == pytest.approx(rolled_mm, abs=1.0)
