"""Time, from one place, so that a laboratory can put another clock in.

Laws:
- nothing else in the project asks the operating system for the time or sleeps;
- monotonic time orders what one process sees; UTC is for people and other machines, and may jump;
- a clock that is not synchronised says so, and is believed in nothing but order.
"""

import time
from pathlib import Path
from typing import Protocol

_SYNC_MARKS = (Path("/run/systemd/timesync/synchronized"), Path("/run/chrony/chronyd.pid"))


class Clock(Protocol):
    """What any clock can do."""

    def monotonic_us(self) -> int:
        """Return microseconds since an arbitrary start; never goes back."""
        ...

    def utc_us(self) -> int:
        """Return microseconds since 1970-01-01T00:00Z; may jump."""
        ...

    def is_synced(self) -> bool:
        """Tell whether `utc_us` follows a time server."""
        ...

    def sleep_until_us(self, monotonic_us: int) -> None:
        """Return when `monotonic_us()` has reached the given moment."""
        ...


class SystemClock:
    """The machine's own clock."""

    def monotonic_us(self) -> int:
        """Return microseconds since boot."""
        return time.monotonic_ns() // 1000

    def utc_us(self) -> int:
        """Return microseconds since 1970-01-01T00:00Z."""
        return time.time_ns() // 1000

    def is_synced(self) -> bool:
        """Tell whether a time daemon of this machine reports that it follows its server."""
        return any(mark.exists() for mark in _SYNC_MARKS)

    def sleep_until_us(self, monotonic_us: int) -> None:
        """Sleep until the given moment."""
        remaining = monotonic_us - self.monotonic_us()
        if remaining > 0:
            time.sleep(remaining / 1_000_000)
