"""A VL53L0X, register by register, as far as its drivers look.

Laws:
- nothing here knows a driver: registers, pages and timing behave as the chip's, so that Adafruit's
  driver (and ST's sequence that it follows) runs unchanged;
- a measurement takes the timing budget that the registers hold and sees what `hardware_sim.ranging`
  says, from where the car is in its middle;
- where it finds nothing it reads 8190, where what it finds is too noisy 8191.

Sources: ST datasheet DocID029104 for identification and ranging modes; ST's API
(VL53L0X_api_core.c) for the registers that the datasheet leaves out: the page select 0xFF, SPAD
info behind page 7, the stop variable, time-outs in macro periods, and the device range status. ST's
support (community forum) on 8190 and 8191: 8192 less the error, 1 for sigma, 2 for signal.

Faults: `sensor_stuck` repeats one value, `sensor_dropout` finds no target.
"""

from typing import Final

import numpy as np

from hardware_sim.ranging import Cone
from hardware_sim.scene import Scene
from hardware_sim.world import World

ADDRESS: Final = 0x29
_NO_SIGNAL_MM: Final = 8190
_TOO_NOISY_MM: Final = 8191
_TOO_NOISY_UP_TO: Final = 1.2
"""Share of its reach up to which a target is still noticed, though not measured."""

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
_VALID, _NO_TARGET, _SIGMA_FAIL = 11, 4, 7
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
        self._cone: tuple[Scene, Cone] | None = None

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
        lost = float(self._rng.random()) < model.dropout
        noise = float(self._rng.standard_normal())
        cone = self._view()
        echo = cone.echo(self._world.placement_at(moment_us))
        if lost or echo is None or faults.acts("sensor_dropout", moment_us):
            return _NO_SIGNAL_MM, _NO_TARGET
        budget_us = self.timing_budget_us()
        share = echo.range_mm / cone.reach_mm(echo, budget_us)
        if share > 1.0:
            noticed = share <= _TOO_NOISY_UP_TO
            return (_TOO_NOISY_MM, _SIGMA_FAIL) if noticed else (_NO_SIGNAL_MM, _NO_TARGET)
        noise_mm = noise * cone.sigma_mm(echo, budget_us)
        measured = echo.range_mm * model.scale + model.offset_mm + noise_mm
        self._stuck_mm = min(max(round(measured), 0), _NO_SIGNAL_MM - 1)
        return self._stuck_mm, _VALID

    def _view(self) -> Cone:
        """Return the view in the world's present scene."""
        scene = self._world.scene
        if self._cone is None or self._cone[0] is not scene:
            self._cone = scene, Cone(scene)
        return self._cone[1]


def _decoded_timeout(encoded: int) -> int:
    """Return macro periods from the chip's form: (low byte * 2^high byte) + 1."""
    return ((encoded & 0xFF) << (encoded >> 8)) + 1


def _mclks_us(mclks: int, vcsel_pclks: int) -> int:
    """Return macro periods as microseconds; one is 2304 VCSEL periods of 1.655 ns clocks."""
    macro_ns = (2304 * vcsel_pclks * 1655 + 500) // 1000
    return (mclks * macro_ns + macro_ns // 2) // 1000
