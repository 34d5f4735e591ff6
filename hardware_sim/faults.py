"""Named faults of a scene: which instrument misbehaves, from when on and for how long.

Laws:
- a fault is named in the scene and acts in the instrument, never in the car's software;
- whether it acts at a moment depends on that moment alone, so a run repeats exactly;
- moments are seconds since the world's start.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

import msgspec

FaultName = Literal[
    "frozen_camera",
    "black_frames",
    "sensor_stuck",
    "sensor_dropout",
    "i2c_error",
    "motor_stalled",
    "encoder_lost",
]
"""What can be made to fail; each is documented where it acts."""


class Fault(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One fault, acting from `from_s` for `for_s` seconds (None: for good)."""

    name: FaultName
    from_s: Annotated[float, msgspec.Meta(ge=0.0)] = 0.0
    for_s: Annotated[float, msgspec.Meta(gt=0.0)] | None = None

    def acts_at(self, seconds: float) -> bool:
        """Tell whether the fault acts `seconds` after the world's start."""
        return self.from_s <= seconds and (self.for_s is None or seconds < self.from_s + self.for_s)


class Faults:
    """The faults of a world, asked by its instruments."""

    def __init__(self, faults: Sequence[Fault], *, start_us: int) -> None:
        self._faults = tuple(faults)
        self._start_us = start_us

    def acts(self, name: FaultName, now_us: int) -> bool:
        """Tell whether the named fault acts at `now_us`."""
        if not self._faults:
            return False
        seconds = (now_us - self._start_us) / 1e6
        return any(fault.name == name and fault.acts_at(seconds) for fault in self._faults)
