"""A VL53L0X on an I2C bus, register by register, as far as its drivers look.

Laws:
- nothing here knows a driver: registers, pages and timing behave as the chip's, so that Adafruit's
  driver (and ST's sequence that it follows) runs unchanged;
- every transfer takes its time on the bus, so that a driver that polls for a result gets there;
- a measurement takes the timing budget that the registers hold and sees the distance in its middle;
- beyond its reach the chip reads 8190.

Sources: ST datasheet DocID029104 for identification, ranging modes and accuracy; ST's API
(VL53L0X_api_core.c) for the registers that the datasheet leaves out: the page select 0xFF, SPAD
info behind page 7, the stop variable, time-outs in macro periods, and the device range status.

Faults: `sensor_stuck` repeats one value, `sensor_dropout` finds no target, `i2c_error` fails every
transfer as a loose wire does.
"""

import errno
import math
from typing import Any, Final

import numpy as np

from hardware_sim.clock import VirtualClock
from hardware_sim.world import World

ADDRESS: Final = 0x29
_NO_TARGET_MM: Final = 8190
_TRANSFER_US: Final = 70
"""What the kernel's driver and the start and stop conditions take, per transfer (Pi 4, measured by
many at 50 to 100 us)."""
_BYTE_US: Final = 23
"""Nine clock pulses at 400 kHz."""

_SYSRANGE_START: Final = 0x00
_SEQUENCE_CONFIG: Final = 0x01
_INTERRUPT_CONFIG: Final = 0x0A
_INTERRUPT_CLEAR: Final = 0x0B
_INTERRUPT_STATUS: Final = 0x13
_RANGE_STATUS: Final = 0x14
_RANGE_MM: Final = 0x1E
_MSRC_TIMEOUT: Final = 0x46
_PRE_RANGE_VCSEL: Final = 0x50
_PRE_RANGE_TIMEOUT: Final = 0x51
_FINAL_RANGE_VCSEL: Final = 0x70
_FINAL_RANGE_TIMEOUT: Final = 0x71
_STROBE: Final = 0x83
_SPAD_INFO: Final = 0x92
_STOP_VARIABLE: Final = 0x91
_SLAVE_ADDRESS: Final = 0x8A
_PAGE: Final = 0xFF

_MODE_SINGLE, _MODE_BACK_TO_BACK = 0x01, 0x02
_MODES: Final = 0x0F
_VALID, _NO_TARGET = 11, 4
_CALIBRATION_US: Final = 4_000

_POWER_ON: Final = {
    (0, 0xC0): 0xEE,
    (0, 0xC1): 0xAA,
    (0, 0xC2): 0x10,
    (0, 0x84): 0x10,
    (0, _SEQUENCE_CONFIG): 0xFF,
    (0, _MSRC_TIMEOUT): 0x25,
    (0, _PRE_RANGE_VCSEL): 0x06,
    (0, _PRE_RANGE_TIMEOUT + 1): 0x96,
    (0, _FINAL_RANGE_VCSEL): 0x04,
    (0, _FINAL_RANGE_TIMEOUT): 0x01,
    (0, _FINAL_RANGE_TIMEOUT + 1): 0xFE,
    (1, _STOP_VARIABLE): 0x3C,
    # Five reference SPADs, of the kind with an aperture, and all of the map good.
    (7, _SPAD_INFO): 0x85,
    **{(0, 0xB0 + n): 0xFF for n in range(6)},
}


class Vl53l0x:
    """The chip: 256 registers a page, a measurement under way or none."""

    def __init__(self, world: World, seed: int) -> None:
        """Point the sensor at the wall behind the car."""
        self.address = ADDRESS
        self._world = world
        self._rng = np.random.default_rng((seed, 0x746F66))
        self._registers = dict(_POWER_ON)
        self._page = 0
        self._pointer = 0
        self._continuous = False
        self._started_us: int | None = None
        self._finishes_us = 0
        self._stuck_mm: int | None = None

    def write(self, data: bytes, now_us: int) -> None:
        """Take one write transfer: the register's number, then bytes for it and its followers."""
        self._settle(now_us)
        if not data:
            return
        self._pointer = data[0]
        for value in data[1:]:
            self._store(self._pointer, value, now_us)
            self._pointer = (self._pointer + 1) & 0xFF

    def read(self, length: int, now_us: int) -> bytes:
        """Answer one read transfer from the register written last onwards."""
        self._settle(now_us)
        values = bytes(self._get(self._page, (self._pointer + n) & 0xFF) for n in range(length))
        self._pointer = (self._pointer + length) & 0xFF
        return values

    def timing_budget_us(self) -> int:
        """Return how long one measurement takes by the registers, as ST's API reckons it."""
        sequence = self._get(0, _SEQUENCE_CONFIG)
        pre_pclks = (self._get(0, _PRE_RANGE_VCSEL) + 1) << 1
        final_pclks = (self._get(0, _FINAL_RANGE_VCSEL) + 1) << 1
        pre_mclks = _decoded_timeout(self._get16(_PRE_RANGE_TIMEOUT))
        final_mclks = _decoded_timeout(self._get16(_FINAL_RANGE_TIMEOUT))
        msrc_us = _mclks_us(self._get(0, _MSRC_TIMEOUT) + 1, pre_pclks)
        budget_us = 1910 + 960
        if sequence & 0x10:
            budget_us += msrc_us + 590
        if sequence & 0x08:
            budget_us += 2 * (msrc_us + 690)
        elif sequence & 0x04:
            budget_us += msrc_us + 660
        if sequence & 0x40:
            budget_us += _mclks_us(pre_mclks, pre_pclks) + 660
            final_mclks -= pre_mclks
        if sequence & 0x80:
            budget_us += _mclks_us(max(final_mclks, 0), final_pclks) + 550
        return budget_us

    def _get(self, page: int, register: int) -> int:
        return self._registers.get((page, register), 0)

    def _get16(self, register: int) -> int:
        return self._get(0, register) << 8 | self._get(0, register + 1)

    def _store(self, register: int, value: int, now_us: int) -> None:
        if register == _PAGE:
            self._page = value
            return
        self._registers[self._page, register] = value
        if self._page == 7 and register == _STROBE and value == 0x00:
            # The strobe asks for SPAD info; the chip sets it once the info can be read.
            self._registers[7, _STROBE] = 0x01
        if self._page != 0:
            return
        if register == _SYSRANGE_START:
            self._command(value, now_us)
        elif register == _INTERRUPT_CLEAR and value & 0x01:
            self._registers[0, _INTERRUPT_STATUS] = 0
        elif register == _SLAVE_ADDRESS:
            self.address = value & 0x7F

    def _command(self, value: int, now_us: int) -> None:
        mode = value & _MODES
        # The start bit clears itself as soon as the measurement is under way.
        self._registers[0, _SYSRANGE_START] = value & ~_MODE_SINGLE
        self._continuous = mode == _MODE_BACK_TO_BACK
        if mode in (_MODE_SINGLE, _MODE_BACK_TO_BACK):
            self._begin(now_us)
        else:
            self._started_us = None

    def _begin(self, now_us: int) -> None:
        calibrating = self._get(0, _SEQUENCE_CONFIG) in (0x01, 0x02)
        duration_us = _CALIBRATION_US if calibrating else self.timing_budget_us()
        self._started_us = now_us
        self._finishes_us = now_us + duration_us

    def _settle(self, now_us: int) -> None:
        """Finish what is due; without being read, back-to-back results overwrite each other."""
        while self._started_us is not None and self._finishes_us <= now_us:
            started_us, finished_us = self._started_us, self._finishes_us
            self._started_us = None
            if self._continuous:
                self._begin(finished_us)
                if self._finishes_us <= now_us:
                    continue
            self._publish((started_us + finished_us) // 2)

    def _publish(self, moment_us: int) -> None:
        range_mm, status = self._measured(moment_us)
        self._registers[0, _RANGE_MM] = range_mm >> 8
        self._registers[0, _RANGE_MM + 1] = range_mm & 0xFF
        self._registers[0, _RANGE_STATUS] = status << 3 | 0x01
        if self._get(0, _INTERRUPT_CONFIG) & 0x07 == 0x04:
            self._registers[0, _INTERRUPT_STATUS] = 0x04

    def _measured(self, moment_us: int) -> tuple[int, int]:
        model, faults = self._world.scene.range_sensor, self._world.faults
        if faults.acts("sensor_stuck", moment_us) and self._stuck_mm is not None:
            return self._stuck_mm, _VALID
        true_mm = self._world.true_mm_at(moment_us)
        lost = float(self._rng.random()) < model.dropout or true_mm > model.max_range_mm
        noise_mm = float(self._rng.standard_normal()) * self._sigma_mm(true_mm)
        if lost or faults.acts("sensor_dropout", moment_us):
            return _NO_TARGET_MM, _NO_TARGET
        measured = true_mm * model.scale + model.offset_mm + noise_mm
        self._stuck_mm = min(max(round(measured), 0), _NO_TARGET_MM - 1)
        return self._stuck_mm, _VALID

    def _sigma_mm(self, true_mm: float) -> float:
        model = self._world.scene.range_sensor
        shorter = math.sqrt(33_000.0 / max(self.timing_budget_us(), 1))
        return math.hypot(model.noise_floor_mm, model.noise_far * true_mm**2) * shorter


class I2cBus:
    """The bus, with the face of `busio.I2C`, and one sensor on it."""

    def __init__(self, sensor: Vl53l0x, world: World, clock: VirtualClock) -> None:
        """Connect `sensor`; transfers let `clock` advance."""
        self._sensor = sensor
        self._world = world
        self._clock = clock
        self._locked = False

    def try_lock(self) -> bool:
        """Take the bus; False where somebody holds it."""
        free, self._locked = not self._locked, True
        return free

    def unlock(self) -> None:
        """Give the bus back.

        Raises:
            ValueError: nobody holds it.
        """
        if not self._locked:
            raise ValueError("Not locked")
        self._locked = False

    def scan(self) -> list[int]:
        """Return the addresses that answer."""
        return [self._sensor.address]

    def writeto(self, address: int, buffer: Any, *, start: int = 0, end: int | None = None) -> None:
        """Write `buffer[start:end]` to the chip at `address`.

        Raises:
            OSError: nothing answers there.
        """
        data = bytes(memoryview(buffer)[start:end])
        self._transfer(address, len(data))
        self._sensor.write(data, self._clock.monotonic_us())

    def readfrom_into(
        self, address: int, buffer: Any, *, start: int = 0, end: int | None = None
    ) -> None:
        """Fill `buffer[start:end]` from the chip at `address`.

        Raises:
            OSError: nothing answers there.
        """
        view = memoryview(buffer)[start:end]
        self._transfer(address, len(view))
        view[:] = self._sensor.read(len(view), self._clock.monotonic_us())

    def writeto_then_readfrom(
        self,
        address: int,
        buffer_out: Any,
        buffer_in: Any,
        *,
        out_start: int = 0,
        out_end: int | None = None,
        in_start: int = 0,
        in_end: int | None = None,
        stop: bool = False,  # noqa: ARG002 - busio's own signature
    ) -> None:
        """Write, then read without giving the bus away in between.

        Raises:
            OSError: nothing answers there.
        """
        self.writeto(address, buffer_out, start=out_start, end=out_end)
        self.readfrom_into(address, buffer_in, start=in_start, end=in_end)

    def deinit(self) -> None:
        """Release the bus."""
        self._locked = False

    def _transfer(self, address: int, length: int) -> None:
        self._clock.advance_us(_TRANSFER_US + _BYTE_US * (length + 1))
        if address != self._sensor.address:
            raise OSError(errno.ENXIO, "No such device or address")
        if self._world.faults.acts("i2c_error", self._clock.monotonic_us()):
            raise OSError(errno.EREMOTEIO, "Remote I/O error")


def _decoded_timeout(encoded: int) -> int:
    """Return macro periods from the chip's form: (low byte * 2^high byte) + 1."""
    return ((encoded & 0xFF) << (encoded >> 8)) + 1


def _mclks_us(mclks: int, vcsel_pclks: int) -> int:
    """Return macro periods as microseconds; one is 2304 VCSEL periods of 1.655 ns clocks."""
    macro_ns = (2304 * vcsel_pclks * 1655 + 500) // 1000
    return (mclks * macro_ns + macro_ns // 2) // 1000
