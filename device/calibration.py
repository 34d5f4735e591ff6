"""Where the range sensor sits and what it adds: measured once, numbered, named by every sample.

Laws:
- a calibration never changes: a new one has the next number, and samples name the one they were
  made under, so that a wrong one can be corrected afterwards;
- what cannot be a calibration is refused with what to look at, and changes nothing;
- a label is the sensor's reading less the calibration's correction, and nothing else.

Two things are taken off a reading: how far the sensor sits in front of the bumper (a ruler tells),
and what the sensor itself adds (datasheet DS11555, "offset calibration"; measured here against a
wall at a known distance, several millimetres with a cover glass).
"""

import math
from collections.abc import Sequence
from pathlib import Path
from statistics import median
from typing import Annotated

import msgspec

from device.hardware import Instruments, RangeReading
from device.home import Home
from shared.errors import HardwareError, RefusedError, RetryLaterError, UsageError
from shared.ids import Name
from shared.samples import Count
from shared.signing import write_secret

NONE = "none"
"""What a sample names that was made without a calibration."""

_DAMAGED = ".damaged"
"""What somebody adds to the name of a file that cannot be read, so that its number stays used."""

_LEAST_READINGS = 20
_MOST_NOISE_MM = 15.0
_MOST_OFFSET_MM = 60.0
_TO_SIGMA = 1.4826
"""A normal distribution's standard deviation, in median absolute deviations."""

_POLL_US = 5_000
_PATIENCE_US = 200_000

Millimetres = Annotated[float, msgspec.Meta(ge=-1000, le=5000)]


class Calibration(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One calibration.

    `sensor_to_bumper_mm` is how far the sensor sits behind the bumper (negative: in front of it);
    `range_offset_mm` is what the sensor adds to the truth; `noise_mm` is one standard deviation.
    """

    number: Annotated[int, msgspec.Meta(ge=1, le=999_999)]
    sensor_to_bumper_mm: Millimetres
    range_offset_mm: Millimetres
    noise_mm: Millimetres
    distance_mm: Millimetres
    readings: Count
    utc_us: Count

    @property
    def name(self) -> Name:
        """What samples name."""
        return f"calibration-{self.number}"

    @property
    def correction_mm(self) -> float:
        """What to take off a reading to get the distance from the bumper."""
        return self.sensor_to_bumper_mm + self.range_offset_mm


def calibrate(
    readings: Sequence[RangeReading],
    *,
    number: int,
    distance_mm: float,
    sensor_to_bumper_mm: float,
    utc_us: int,
) -> Calibration:
    """Return the calibration from `readings` of a wall at `distance_mm` from the bumper.

    Raises:
        RefusedError: too few good readings, too much noise, or an offset that no sensor has.
    """
    ranges = [r.range_mm for r in readings if r.status == "ok" and r.range_mm is not None]
    if len(ranges) < max(_LEAST_READINGS, len(readings) // 2):
        raise RefusedError(
            f"only {len(ranges)} of {len(readings)} readings are good: is the wall in front of the "
            "sensor, and the sensor free?"
        )
    middle = median(ranges)
    noise_mm = _TO_SIGMA * median(abs(each - middle) for each in ranges)
    if noise_mm > _MOST_NOISE_MM:
        raise RefusedError(f"readings scatter by {noise_mm:.0f} mm: hold the car still")
    offset_mm = middle - distance_mm - sensor_to_bumper_mm
    if not math.isfinite(offset_mm) or abs(offset_mm) > _MOST_OFFSET_MM:
        raise RefusedError(
            f"the sensor reads {middle:.0f} mm, {offset_mm:+.0f} mm off: measure again from bumper "
            "to wall, and say by --sensor-to-bumper where the sensor sits"
        )
    return Calibration(
        number=number,
        sensor_to_bumper_mm=sensor_to_bumper_mm,
        range_offset_mm=round(offset_mm, 2),
        noise_mm=round(noise_mm, 2),
        distance_mm=distance_mm,
        readings=len(ranges),
        utc_us=utc_us,
    )


def measure(instruments: Instruments, count: int) -> list[RangeReading]:
    """Return `count` readings of the standing car's sensor, fewer where it falls silent.

    Raises:
        UsageError: there is no range sensor.
        HardwareError: the sensor fails.
    """
    sensor, clock = instruments.range_sensor, instruments.clock
    if sensor is None:
        raise UsageError("this car has no range sensor: there is nothing to calibrate")
    found: list[RangeReading] = []
    heard_us = clock.monotonic_us()
    while len(found) < count and clock.monotonic_us() - heard_us < _PATIENCE_US:
        clock.sleep_until_us(clock.monotonic_us() + _POLL_US)
        reading = sensor.poll()
        if reading is not None:
            found.append(reading)
            heard_us = clock.monotonic_us()
    if not found:
        raise HardwareError("the range sensor says nothing: parkfleet device selftest")
    return found


def load_newest(home: Home) -> Calibration | None:
    """Return the calibration in force, or None before the first.

    Raises:
        UsageError: its file is damaged.
    """
    numbers = _numbers(home)
    if not numbers:
        return None
    file = _file(home, numbers[-1])
    try:
        return msgspec.json.decode(file.read_bytes(), type=Calibration)
    except (OSError, msgspec.MsgspecError) as error:
        raise UsageError(
            f"cannot read {file}: {error}; rename it to {file.name}{_DAMAGED}, and calibrate again"
        ) from None


def next_number(home: Home) -> int:
    """Return the number of the next calibration: one that no sample can name already."""
    return max([0, *_numbers(home), *_numbers(home, _DAMAGED)]) + 1


def store(home: Home, calibration: Calibration) -> Path:
    """Put `calibration` in force, from the next start of drive on; return its file.

    Raises:
        RetryLaterError: the disk takes nothing.
    """
    file = _file(home, calibration.number)
    try:
        home.calibrations.mkdir(exist_ok=True)
        write_secret(file, msgspec.json.format(msgspec.json.encode(calibration)) + b"\n")
    except OSError as error:
        raise RetryLaterError(f"cannot write {file}: {error.strerror}") from None
    return file


def _file(home: Home, number: int) -> Path:
    return home.calibrations / f"{number:04d}.json"


def _numbers(home: Home, suffix: str = "") -> list[int]:
    found = (file.name.split(".")[0] for file in home.calibrations.glob(f"[0-9]*.json{suffix}"))
    return sorted(int(number) for number in found if number.isdecimal())
