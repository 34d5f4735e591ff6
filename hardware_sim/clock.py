"""Time that advances a world instead of passing by itself.

Laws:
- virtual time moves only in `sleep_until_us` and `advance_us`; computing costs none, so a slow
  machine changes nothing that happens in the world;
- with a `speed` of 1 one virtual second takes one real second, with 8 an eighth, with 0 only as
  long as it takes to compute;
- it starts at the real UTC in microseconds, so that no moment of one run is ever one of another;
- a clock that runs at another speed than 1 does not follow UTC and says so.

Faults: `clock_jump` sets UTC off, as a time server's first answer does; monotonic time goes on.

A machine that falls behind is not made to catch up in a burst: the pace starts anew from there.
"""

from typing import Final

from hardware_sim.world import STEP_US, World
from shared.clock import Clock

_PATIENCE_US: Final = 100_000
"""How far behind its pace the world may fall before the pace starts anew."""

_SHORTEST_SLEEP_US: Final = 1_000


class VirtualClock:
    """A `shared.clock.Clock` over one world."""

    def __init__(
        self, world: World, real: Clock, *, speed: float = 1.0, rest_speed: float = 0.0
    ) -> None:
        """Pace `world` by the `real` clock; a `rest_speed` of 0 is none of its own.

        Raises:
            ValueError: a speed is negative.
        """
        if min(speed, rest_speed) < 0.0:
            raise ValueError(f"speed {min(speed, rest_speed)} is negative")
        self._world = world
        self._real = real
        self._speed = self._pace_now = speed
        self._rest_speed = rest_speed or speed
        self._now_us = world.now_us
        self._anchor_virtual_us = world.now_us
        self._anchor_real_us = real.monotonic_us()

    def monotonic_us(self) -> int:
        """Return microseconds; the start is the real UTC of the world's start."""
        return self._now_us

    def utc_us(self) -> int:
        """Return the same as `monotonic_us`, but for a `clock_jump`."""
        jump = self._world.faults.acting("clock_jump", self._now_us)
        return self._now_us + (round(jump.by_s * 1e6) if jump else 0)

    def is_synced(self) -> bool:
        """Tell whether a virtual second lasts a real one."""
        return self._speed == 1.0

    def sleep_until_us(self, monotonic_us: int) -> None:
        """Advance the world to the given moment, not faster than the pace allows."""
        self.advance_us(monotonic_us - self._now_us)
        self._pace()

    def advance_us(self, duration_us: int) -> None:
        """Let time pass without waiting for the pace, as a bus transfer or a computation does."""
        if duration_us <= 0:
            return
        self._now_us += duration_us
        while self._world.now_us + STEP_US <= self._now_us:
            self._world.step()

    def _pace(self) -> None:
        speed = self._rest_speed if self._world.rests else self._speed
        if speed != self._pace_now:
            self._pace_now = speed
            self._anchor()
        if speed == 0.0:
            return
        virtual_us = self._now_us - self._anchor_virtual_us
        due_us = self._anchor_real_us + int(virtual_us / speed)
        ahead_us = due_us - self._real.monotonic_us()
        if ahead_us > _SHORTEST_SLEEP_US:
            self._real.sleep_until_us(due_us)
        elif ahead_us < -_PATIENCE_US:
            self._anchor()

    def _anchor(self) -> None:
        self._anchor_virtual_us = self._now_us
        self._anchor_real_us = self._real.monotonic_us()
