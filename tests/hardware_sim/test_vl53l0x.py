"""Adafruit's own driver on the simulated bus."""

import statistics
from typing import Any

import pytest
from adafruit_vl53l0x import VL53L0X

from hardware_sim.clock import VirtualClock
from hardware_sim.i2c import I2cBus
from hardware_sim.scene import Scene
from hardware_sim.vl53l0x import Vl53l0x
from hardware_sim.world import Placement, World
from tests.hardware_sim.worlds import a_clock, a_world, exact_scene, with_fault


def _bus(scene: Scene | None = None, z_mm: float = 300.0) -> tuple[I2cBus, World, VirtualClock]:
    world = a_world(scene, z_mm=z_mm)
    clock = a_clock(world)
    return I2cBus(Vl53l0x(world, 1), world, clock), world, clock


def _driver(bus: I2cBus) -> Any:
    return VL53L0X(bus, io_timeout_s=1.0)


def test_a_single_range_is_the_distance_and_takes_the_timing_budget() -> None:
    bus, _, clock = _bus()
    sensor = _driver(bus)
    before_us = clock.monotonic_us()
    assert sensor.range == 300
    took_us = clock.monotonic_us() - before_us
    assert took_us == pytest.approx(sensor.measurement_timing_budget, abs=4_000)


@pytest.mark.parametrize("budget_us", [20_000, 33_000, 66_000, 200_000])
def test_a_timing_budget_reads_back_and_sets_the_pace(budget_us: int) -> None:
    bus, _, clock = _bus()
    sensor = _driver(bus)
    sensor.measurement_timing_budget = budget_us
    assert sensor.measurement_timing_budget == pytest.approx(budget_us, rel=0.06)
    before_us = clock.monotonic_us()
    assert sensor.range == 300
    assert clock.monotonic_us() - before_us == pytest.approx(budget_us, rel=0.15)


def test_the_default_budget_is_that_of_the_datasheet() -> None:
    bus, _, _ = _bus()
    assert _driver(bus).measurement_timing_budget == pytest.approx(33_000, rel=0.06)


def test_in_continuous_mode_the_interrupt_tells_and_reading_clears_it() -> None:
    bus, world, clock = _bus()
    sensor = _driver(bus)
    with sensor.continuous_mode():
        assert sensor.is_continuous_mode
        assert not sensor.data_ready
        clock.advance_us(40_000)
        assert sensor.data_ready
        assert sensor.range == 300
        assert not sensor.data_ready
        world.place(Placement(x_mm=0.0, z_mm=120.0, heading_deg=0.0))
        clock.advance_us(40_000)
        clock.advance_us(40_000)
        assert sensor.range == 120
    assert not sensor.is_continuous_mode
    assert sensor.range == 120


def test_a_result_that_nobody_fetches_gives_way_to_the_next() -> None:
    bus, world, clock = _bus()
    sensor = _driver(bus)
    sensor.start_continuous()
    clock.advance_us(40_000)
    world.place(Placement(x_mm=0.0, z_mm=90.0, heading_deg=0.0))
    clock.advance_us(500_000)
    assert sensor.range == 90


def test_a_range_belongs_to_the_middle_of_its_measurement() -> None:
    bus, world, _ = _bus()
    sensor = _driver(bus)
    for side in (0, 1):
        world.set_duty(side, -0.3)
    before_mm = world.distance_mm
    measured = sensor.range
    assert measured == pytest.approx((before_mm + world.distance_mm) / 2, abs=1.0)


def test_beyond_its_reach_it_reads_8190() -> None:
    bus, world, _ = _bus()
    sensor = _driver(bus)
    world.place(Placement(x_mm=0.0, z_mm=1_500.0, heading_deg=0.0))
    assert sensor.range == 8190


def test_a_target_just_beyond_its_reach_is_too_noisy_and_reads_8191() -> None:
    bus, world, _ = _bus()
    sensor = _driver(bus)
    world.place(Placement(x_mm=0.0, z_mm=1_250.0, heading_deg=0.0))
    assert sensor.range == 8191


@pytest.mark.slow
def test_noise_grows_with_the_distance_and_shrinks_with_the_budget() -> None:
    scene = exact_scene(noise_floor_mm=1.5, noise_far=3.33e-5)
    bus, world, _ = _bus(scene)
    sensor = _driver(bus)

    def spread(z_mm: float) -> float:
        world.place(Placement(x_mm=0.0, z_mm=z_mm, heading_deg=0.0))
        return statistics.stdev(float(sensor.range) for _ in range(80))

    near, far = spread(50.0), spread(1_000.0)
    sensor.measurement_timing_budget = 200_000
    assert 1.0 < near < 2.2
    assert 25.0 < far < 42.0
    assert spread(1_000.0) < 0.6 * far


def test_offset_and_scale_are_the_scenes() -> None:
    bus, _, _ = _bus(exact_scene(offset_mm=15.0, scale=1.1))
    assert _driver(bus).range == 345


def test_another_scene_has_another_view() -> None:
    bus, world, _ = _bus()
    sensor = _driver(bus)
    world.change_scene(exact_scene(height_mm=20.0, tilt_deg=15.0))
    assert sensor.range < 200


def test_another_chip_is_refused_by_its_id() -> None:
    _, world, clock = _bus()

    class OtherChip(Vl53l0x):
        def read(self, length: int, now_us: int) -> bytes:  # noqa: ARG002 - the chip's own
            return bytes(length)

    with pytest.raises(RuntimeError, match="ID register"):
        _driver(I2cBus(OtherChip(world, 1), world, clock))


def test_nobody_answers_at_another_address() -> None:
    bus, _, _ = _bus()
    with pytest.raises(ValueError, match="No I2C device"):
        VL53L0X(bus, address=0x30)


def test_the_address_can_be_changed() -> None:
    bus, _, _ = _bus()
    sensor = _driver(bus)
    sensor.set_address(0x30)
    assert bus.scan() == [0x30]
    assert sensor.range == 300


def test_a_loose_wire_is_an_os_error() -> None:
    bus, _, clock = _bus(with_fault(exact_scene(), "i2c_error", from_s=1.0))
    sensor = _driver(bus)
    clock.advance_us(1_000_000)
    with pytest.raises(OSError, match="Remote I/O"):
        _ = sensor.range


def test_a_stuck_sensor_repeats_itself_wherever_the_car_goes() -> None:
    bus, world, clock = _bus(with_fault(exact_scene(), "sensor_stuck", from_s=1.0))
    sensor = _driver(bus)
    assert sensor.range == 300
    clock.advance_us(1_000_000)
    world.place(Placement(x_mm=0.0, z_mm=80.0, heading_deg=0.0))
    clock.advance_us(10_000)
    assert sensor.range == 300


def test_a_dropout_finds_no_target() -> None:
    bus, _, clock = _bus(with_fault(exact_scene(), "sensor_dropout", from_s=1.0))
    sensor = _driver(bus)
    clock.advance_us(1_000_000)
    assert sensor.range == 8190


def test_the_bus_is_one_holders_at_a_time() -> None:
    bus, _, _ = _bus()
    assert bus.try_lock()
    assert not bus.try_lock()
    bus.unlock()
    assert bus.try_lock()
    bus.unlock()
    with pytest.raises(ValueError, match="Not locked"):
        bus.unlock()


def test_write_then_read_needs_no_second_start() -> None:
    bus, _, _ = _bus()
    answer = bytearray(3)
    bus.writeto_then_readfrom(0x29, b"\xc0", answer)
    assert bytes(answer) == b"\xee\xaa\x10"
