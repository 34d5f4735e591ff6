"""The VL53L0X laser range sensor through Adafruit's driver, measuring without pause.

Laws:
- `poll` reads one register and returns at once where no measurement is ready;
- a reading's time is the middle of its measurement, not the moment it was fetched;
- a reading of 8190 mm or more means that nothing came back (datasheet DS11555, "out of range").
"""

from typing import Any

from adafruit_vl53l0x import VL53L0X

from device.hardware import RangeReading
from shared.clock import Clock
from shared.errors import HardwareError

_OUT_OF_RANGE_MM = 8190
_IO_TIMEOUT_S = 0.5


class Vl53l0xRange:
    """A `RangeSensor` on an I2C bus."""

    def __init__(self, i2c: Any, clock: Clock, *, offset_mm: float = 0.0) -> None:
        """Open the sensor on `i2c` (as `busio.I2C`) and start it.

        `offset_mm` is how far the sensor sits in front of the bumper; it is taken off each reading.

        Raises:
            HardwareError: the sensor does not answer.
        """
        self._clock = clock
        self._offset_mm = offset_mm
        try:
            self._sensor = VL53L0X(i2c, io_timeout_s=_IO_TIMEOUT_S)
            self._half_us = int(self._sensor.measurement_timing_budget) // 2
            self._sensor.start_continuous()
        except (OSError, RuntimeError, ValueError) as error:
            raise HardwareError(f"no VL53L0X range sensor answers on I2C: {error}") from error

    def poll(self) -> RangeReading | None:
        """Return a measurement that finished since the last call, or None.

        Raises:
            HardwareError: the bus failed.
        """
        try:
            if not self._sensor.data_ready:
                return None
            range_mm = self._sensor.read_range()
        except (OSError, RuntimeError) as error:
            raise HardwareError(f"VL53L0X: {error}") from error
        measured_us = max(0, self._clock.monotonic_us() - self._half_us)
        if range_mm >= _OUT_OF_RANGE_MM:
            return RangeReading(range_mm=None, status="out_of_range", measured_us=measured_us)
        return RangeReading(
            range_mm=range_mm - self._offset_mm, status="ok", measured_us=measured_us
        )

    def close(self) -> None:
        """Stop measuring.

        Raises:
            HardwareError: the bus failed.
        """
        try:
            self._sensor.stop_continuous()
        except (OSError, RuntimeError) as error:
            raise HardwareError(f"VL53L0X: {error}") from error
