"""The range driver speaks to a VL53L0X's registers without ever waiting."""

from typing import Any

import pytest

from device.drivers.rangefinder import Vl53l0xRange
from shared.errors import HardwareError
from tests.device.fakes import FakeClock, World


class Registers:
    """An I2C bus with a VL53L0X's registers, as far as Adafruit's driver goes."""

    def __init__(self) -> None:
        self.range_mm = 123
        self.is_ready = True
        self.is_cut = False
        self.memory = {0xC0: 0xEE, 0xC1: 0xAA, 0xC2: 0x10, 0x83: 0x01}

    def try_lock(self) -> bool:
        return True

    def unlock(self) -> None:
        pass

    def writeto(self, address: int, buffer: Any, *, start: int = 0, end: int | None = None) -> None:
        if self.is_cut or address != 0x29:
            raise OSError(121, "Remote I/O error")
        data = bytes(buffer[start:end])
        self.pointer = data[0] if data else 0
        for offset, value in enumerate(data[1:]):
            self.memory[self.pointer + offset] = value
        if data[:1] == b"\x0b":
            self.is_ready = False

    def readfrom_into(
        self, address: int, buffer: Any, *, start: int = 0, end: int | None = None
    ) -> None:
        if self.is_cut or address != 0x29:
            raise OSError(121, "Remote I/O error")
        for offset in range(len(buffer[start:end])):
            buffer[start + offset] = self.read(self.pointer + offset)

    def read(self, register: int) -> int:
        calibrates = self.memory.get(0x00, 0) & 0x41 and register == 0x13
        if register == 0x13:
            return 0x04 if self.is_ready or calibrates else 0x00
        if register in (0x1E, 0x1F):
            return self.range_mm.to_bytes(2, "big")[register - 0x1E]
        if register == 0x00:
            return 0x00
        return {0x83: 0x01}.get(register, self.memory.get(register, 0))


@pytest.fixture
def registers() -> Registers:
    return Registers()


def test_a_reading_belongs_to_the_middle_of_its_measurement(registers: Registers) -> None:
    world = World(now_us=5_000_000)
    sensor = Vl53l0xRange(registers, FakeClock(world), offset_mm=3.0)
    registers.is_ready = False
    assert sensor.poll() is None
    registers.is_ready = True
    reading = sensor.poll()
    assert reading is not None
    assert (reading.range_mm, reading.status) == (120.0, "ok")
    assert 0 < 5_000_000 - reading.measured_us < 33_000
    assert sensor.poll() is None


@pytest.mark.parametrize("raw_mm", [8190, 8191])
def test_nothing_coming_back_is_out_of_range(registers: Registers, raw_mm: int) -> None:
    sensor = Vl53l0xRange(registers, FakeClock(World()))
    registers.range_mm, registers.is_ready = raw_mm, True
    reading = sensor.poll()
    assert reading is not None
    assert (reading.range_mm, reading.status) == (None, "out_of_range")


def test_a_bus_that_fails_is_a_hardware_error_and_heals(registers: Registers) -> None:
    sensor = Vl53l0xRange(registers, FakeClock(World()))
    registers.is_cut = True
    for action in (sensor.poll, sensor.close):
        with pytest.raises(HardwareError):
            action()
    registers.is_cut, registers.is_ready = False, True
    assert sensor.poll() is not None


def test_another_chip_or_none_is_a_hardware_error(registers: Registers) -> None:
    registers.memory[0xC0] = 0x00
    with pytest.raises(HardwareError, match="no VL53L0X"):
        Vl53l0xRange(registers, FakeClock(World()))
    registers.is_cut = True
    with pytest.raises(HardwareError, match="no VL53L0X"):
        Vl53l0xRange(registers, FakeClock(World()))
