"""How much a message may hold, from what receipts tell of the link.

Laws:
- a message is no larger than the link carries in the time that it may take, as measured;
- failures halve it, down to an eighth: a slow link looks like silence;
- what a small message takes says more about the server than about the link, and is not measured.
"""

SLOWEST = 3
"""A message is never below 1 / 2^3 of the largest, nor patience above 2^3 times the usual."""

_GAIN = 0.3


class Link:
    """The link of one connection; `largest_bytes` is never exceeded."""

    def __init__(self, largest_bytes: int, message_us: int) -> None:
        """Know nothing yet; a message should take `message_us` at most."""
        self._largest_bytes = largest_bytes
        self._message_us = message_us
        self._bytes_per_us: float | None = None

    def forget(self) -> None:
        """Know nothing again."""
        self._bytes_per_us = None

    def measure(self, size_bytes: int, answered_us: int) -> None:
        """Learn that a message of that size was answered after that time."""
        if size_bytes >= self._largest_bytes >> SLOWEST:
            measured = size_bytes / max(1, answered_us)
            known = self._bytes_per_us if self._bytes_per_us is not None else measured
            self._bytes_per_us = known + _GAIN * (measured - known)

    def budget_bytes(self, failures: int) -> int:
        """Return how large the next message may be, after so many failures in a row."""
        most = self._largest_bytes
        if self._bytes_per_us is not None:
            most = min(most, int(self._bytes_per_us * self._message_us))
        least = self._largest_bytes >> SLOWEST
        return max(least, most >> min(failures, SLOWEST))
