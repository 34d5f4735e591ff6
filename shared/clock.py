"""Time, from one place, so that a laboratory can put another clock in.

Laws:
- nothing else in the project asks the operating system for the time or sleeps;
- monotonic time orders what one process sees; UTC is for people and other machines, and may jump;
- a clock that is not synchronised says so, and is believed in nothing but order.
"""

import ctypes
import time
from pathlib import Path
from typing import Final, Protocol

_SYNC_MARK: Final = Path("/run/systemd/timesync/synchronized")

_TIMEX_BYTES: Final = 512
"""More than `struct timex` takes on any machine; all of it zero asks and changes nothing."""

_TIME_ERROR: Final = 5
"""What adjtimex(2) returns for a clock that nobody has set by a time server's, or not for hours."""


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

    def __init__(self) -> None:
        """Have the C library at hand."""
        self._libc = ctypes.CDLL(None)

    def monotonic_us(self) -> int:
        """Return microseconds since boot."""
        return time.monotonic_ns() // 1000

    def utc_us(self) -> int:
        """Return microseconds since 1970-01-01T00:00Z."""
        return time.time_ns() // 1000

    def is_synced(self) -> bool:
        """Tell whether a time daemon follows its server, by systemd's mark or by the kernel.

        That a daemon runs says nothing: without a network it has nobody to follow.
        """
        if _SYNC_MARK.exists():
            return True
        state = int(self._libc.adjtimex(ctypes.create_string_buffer(_TIMEX_BYTES)))
        return 0 <= state < _TIME_ERROR

    def sleep_until_us(self, monotonic_us: int) -> None:
        """Sleep until the given moment."""
        remaining = monotonic_us - self.monotonic_us()
        if remaining > 0:
            time.sleep(remaining / 1_000_000)
