"""Adafruit's VL53L0X driver, unchanged, on the simulated bus: what its source expects of the chip.

Each test names the public member of `adafruit_vl53l0x.VL53L0X` whose expectations it holds up.
"""

from typing import Any

import pytest
from adafruit_vl53l0x import VL53L0X

from hardware_sim.clock import VirtualClock
from hardware_sim.i2c import I2cBus
from hardware_sim.vl53l0x import Vl53l0x
from hardware_sim.world import Placement, World
from tests.hardware_sim.worlds import a_clock, a_world, exact_scene

_INTERRUPT_STATUS, _RANGE_STATUS, _SYSRANGE_START = 0x13, 0x14, 0x00


def _opened(chip: type[Vl53l0x] = Vl53l0x) -> tuple[Any, I2cBus, VirtualClock, World]:
    world = a_world(exact_scene())
    clock = a_clock(world)
    bus = I2cBus(chip(world, 1), world, clock)
    return VL53L0X(bus, io_timeout_s=1.0), bus, clock, world


def _register(bus: I2cBus, register: int) -> int:
    answer = bytearray(1)
    bus.writeto_then_readfrom(0x29, bytes([register]), answer)
    return answer[0]


def test_range_waits_for_the_interrupt_reads_the_result_and_clears_the_interrupt() -> None:
    sensor, bus, _, _ = _opened()
    assert sensor.range == 300
    assert _register(bus, _INTERRUPT_STATUS) & 0x07 == 0
    assert _register(bus, _RANGE_STATUS) >> 3 == 11


def test_distance_is_the_range_in_centimetres() -> None:
    sensor, _, _, _ = _opened()
    assert sensor.distance == 30.0


def test_do_range_measurement_sees_its_start_bit_clear_and_the_result_come_later() -> None:
    sensor, bus, clock, _ = _opened()
    sensor.do_range_measurement()
    assert _register(bus, _SYSRANGE_START) & 0x01 == 0
    assert not sensor.data_ready
    clock.advance_us(int(sensor.measurement_timing_budget))
    assert _register(bus, _INTERRUPT_STATUS) & 0x07 == 4
    assert sensor.data_ready
    assert sensor.read_range() == 300
    assert not sensor.data_ready


@pytest.mark.parametrize("budget_us", [20_000, 33_000, 50_000, 100_000, 200_000, 500_000])
def test_measurement_timing_budget_reads_back_what_was_set(budget_us: int) -> None:
    sensor, _, clock, _ = _opened()
    sensor.measurement_timing_budget = budget_us
    assert sensor.measurement_timing_budget == pytest.approx(budget_us, rel=0.06)
    before_us = clock.monotonic_us()
    assert sensor.range == 300
    assert clock.monotonic_us() - before_us == pytest.approx(budget_us, rel=0.15)


def test_measurement_timing_budget_below_20_ms_is_refused() -> None:
    sensor, _, _, _ = _opened()
    with pytest.raises(AssertionError):
        sensor.measurement_timing_budget = 19_999


def test_signal_rate_limit_is_kept_in_the_chips_fixed_point() -> None:
    sensor, _, _, _ = _opened()
    assert sensor.signal_rate_limit == pytest.approx(0.25)
    sensor.signal_rate_limit = 0.1
    assert sensor.signal_rate_limit == pytest.approx(0.1, abs=1 / 128)


def test_continuous_mode_delivers_one_result_a_budget_until_it_ends() -> None:
    sensor, _, clock, world = _opened()
    sensor.start_continuous()
    ready = 0
    start_us = clock.monotonic_us()
    while clock.monotonic_us() < start_us + 1_000_000:
        if sensor.data_ready:
            sensor.read_range()
            ready += 1
        clock.advance_us(1_000)
    assert ready == pytest.approx(1e6 / sensor.measurement_timing_budget, abs=1.5)
    sensor.stop_continuous()
    assert not sensor.is_continuous_mode
    # The driver's own way back to single mode is one more measurement, whose result waits.
    clock.advance_us(200_000)
    assert sensor.read_range() == 300
    world.place(Placement(x_mm=0.0, z_mm=100.0, heading_deg=0.0))
    clock.advance_us(200_000)
    assert not sensor.data_ready
    assert sensor.range == 100


@pytest.mark.parametrize("register", [0xC0, 0xC1, 0xC2])
def test_a_wrong_id_in_any_register_raises_the_drivers_error(register: int) -> None:
    class OtherChip(Vl53l0x):
        def __init__(self, world: World, seed: int) -> None:
            super().__init__(world, seed)
            self._registers[0, register] ^= 0x01

    with pytest.raises(RuntimeError, match="Failed to find expected ID register values"):
        _opened(OtherChip)
