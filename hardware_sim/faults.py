"""Named faults of a scene: which instrument misbehaves, from when on and for how long.

Laws:
- a fault is named in the scene and acts in the instrument, never in the car's software;
- whether it acts at a moment depends on that moment alone, so a run repeats exactly;
- a scene's faults count virtual seconds since the car came into the scene, those of the command
  line since the world's start.
"""

from collections.abc import Sequence
from typing import Annotated, Literal, get_args

import msgspec

from shared.errors import UsageError

FaultName = Literal[
    "frozen_camera",
    "black_frames",
    "sensor_stuck",
    "sensor_dropout",
    "i2c_error",
    "motor_stalled",
    "encoder_lost",
    "clock_jump",
    "disk_full",
    "power_cut",
]
"""What can be made to fail; each is documented where it acts: camera, VL53L0X, I2C bus, world,
pins, clock, disk, power supply."""

FAULT_NAMES: tuple[FaultName, ...] = get_args(FaultName)

_Start = Annotated[float, msgspec.Meta(ge=0.0)]
_Length = Annotated[float, msgspec.Meta(gt=0.0)]


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One fault, acting from `from_s` for `for_s` seconds (None: for good).

    `by_s` is how far `clock_jump` sets UTC off; no other fault has a measure.
    """

    name: FaultName
    from_s: _Start = 0.0
    for_s: _Length | None = None
    by_s: Annotated[float, msgspec.Meta(ge=-1e9, le=1e9)] = -86_400.0

    def acts_at(self, seconds: float) -> bool:
        """Tell whether the fault acts `seconds` after its beginning of time."""
        return self.from_s <= seconds and (self.for_s is None or seconds < self.from_s + self.for_s)


class Faults:
    """The faults of a world, asked by its instruments."""

    def __init__(
        self, faults: Sequence[Fault], *, start_us: int, beside: "Faults | None" = None
    ) -> None:
        """Count the moments of `faults` from `start_us`; those `beside` them from their own."""
        self._faults = tuple(faults)
        self._start_us = start_us
        self._beside = beside

    def acts(self, name: FaultName, now_us: int) -> bool:
        """Tell whether the named fault acts at `now_us`."""
        return self.acting(name, now_us) is not None

    def acting(self, name: FaultName, now_us: int) -> Fault | None:
        """Return the named fault if it acts at `now_us`, the first where there are several."""
        if self._faults:
            seconds = (now_us - self._start_us) / 1e6
            for fault in self._faults:
                if fault.name == name and fault.acts_at(seconds):
                    return fault
        return self._beside.acting(name, now_us) if self._beside else None


def parse(text: str) -> Fault:
    """Return the fault that a command line names: `NAME@SECONDS` or `NAME@SECONDS+LENGTH`.

    Raises:
        UsageError: it is none; the text names the form or the names there are.
    """
    name, _, moment = text.partition("@")
    start, plus, length = moment.partition("+")
    told = {"name": name, "from_s": start} | ({"for_s": length} if plus else {})
    try:
        return msgspec.convert(told, Fault, strict=False)
    except msgspec.ValidationError:
        raise UsageError(
            f"{text!r} is no fault: write NAME@SECONDS or NAME@SECONDS+LENGTH, for example "
            f"i2c_error@5+2; names: {', '.join(FAULT_NAMES)}"
        ) from None
