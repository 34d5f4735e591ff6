"""What a car believes of the wall, and how far the senses behind the belief disagree.

Laws:
- distance is kept as the place of the wall on the car's own odometer (what was measured plus what
  had been rolled by then): that place does not move, so measurements of any age can be averaged;
- a measurement that was worked in already changes nothing, nor does one from before the start;
- whatever may stop the car starts from nothing wrong, so that no single picture can;
- the wall stands still: whose wall wanders while the wheels turn does not see it, be it a model or
  a sensor that is stuck. This needs nothing to compare with.
"""

import math
from dataclasses import dataclass, replace
from typing import Final

_GAIN: Final = 0.25
"""Of an exponential average over about four pictures: 0.13 s at 30 Hz."""

_MEMORY_MM: Final = 50.0
"""How far the car rolls until the longer memory of the wall has turned over by 1 - 1/e.

Where a model says the same whatever is rolled, the newest place runs ahead of the remembered one by
just this.
"""


@dataclass(frozen=True)
class Fix:
    """A distance seen at `at_us`, when the odometer said `travelled_mm`."""

    distance_mm: float
    at_us: int
    travelled_mm: float
    sigma_mm: float | None = None

    @property
    def wall_mm(self) -> float:
        """Where on the odometer the wall is."""
        return self.distance_mm + self.travelled_mm


@dataclass(frozen=True, kw_only=True)
class Belief:
    """The place of the wall by what steers, and what speaks against it; averages, lengths in mm.

    `wall_mm` follows the newest fixes, `remembered_mm` those of the last few centimetres.
    `apart_mm` is how far model and sensor differ, `sigma_mm` how unsure the model is.
    """

    wall_mm: float | None = None
    remembered_mm: float = 0.0
    apart_mm: float = 0.0
    sigma_mm: float = 0.0
    fixes: int = 0
    last_fix_us: int = -1
    travelled_mm: float = 0.0

    @property
    def wandered_mm(self) -> float:
        """How far the wall has moved, which it cannot, within the memory."""
        return 0.0 if self.wall_mm is None else abs(self.wall_mm - self.remembered_mm)

    def learn(self, steering: Fix, reading: Fix | None) -> "Belief":
        """Return the belief with `steering` worked in; `reading` is what it is compared with."""
        if steering.at_us <= self.last_fix_us:
            return self
        fixes = self.fixes + 1
        rolled_mm = abs(steering.travelled_mm - self.travelled_mm) if self.fixes else 0.0
        # The mean of the first few fixes, then the average over the last ones, or over the way.
        newest = _toward(self.wall_mm, steering.wall_mm, max(_GAIN, 1 / fixes))
        forgotten = 1.0 - math.exp(-rolled_mm / _MEMORY_MM)
        remembered = self.remembered_mm if self.fixes else None
        apart_mm = self.apart_mm
        if reading is not None:
            apart_mm += _GAIN * (abs(steering.wall_mm - reading.wall_mm) - apart_mm)
        return replace(
            self,
            wall_mm=newest,
            remembered_mm=_toward(remembered, newest, max(forgotten, 1 / fixes)),
            apart_mm=apart_mm,
            sigma_mm=self.sigma_mm + _GAIN * ((steering.sigma_mm or 0.0) - self.sigma_mm),
            fixes=fixes,
            last_fix_us=steering.at_us,
            travelled_mm=steering.travelled_mm,
        )


def _toward(former: float | None, new: float, gain: float) -> float:
    return new if former is None else former + gain * (new - former)
