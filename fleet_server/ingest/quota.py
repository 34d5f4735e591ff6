"""How much one car may send: pure rules.

Laws:
- a car has a balance of bytes and one of rows, which fill up evenly to what it may send in a
  minute, and no further; a message is taken in while neither is used up, and may overdraw once;
- what is not taken in is neither stored nor answered: the car's journal keeps it, and it is sent
  again later. It costs no more than a look at its length;
- one car's balance is nothing to another's.

Each ingest process keeps its own balances: with several of them, which share the batches evenly, a
car may send as many times as much.
"""

from dataclasses import dataclass

_MINUTE_US = 60_000_000
_MANY = 10_000


@dataclass(frozen=True, kw_only=True)
class Quota:
    """What a car may send in a minute."""

    size_bytes: int
    rows: int


@dataclass(slots=True)
class _Balance:
    size_bytes: float
    rows: float
    at_us: int
    held_back: int = 0


class Quotas:
    """The balances of all cars. Times are monotonic microseconds."""

    def __init__(self, quota: Quota) -> None:
        """Hold every car to `quota`."""
        self._quota = quota
        self._balances: dict[str, _Balance] = {}

    def admits(self, device: str, size_bytes: int, now_us: int) -> bool:
        """Tell whether a message of `size_bytes` is taken in; if so, it is accounted for."""
        balance = self._filled(device, now_us)
        if balance.size_bytes <= 0 or balance.rows <= 0:
            balance.held_back += 1
            return False
        balance.size_bytes -= size_bytes
        return True

    def charge(self, device: str, rows: int) -> None:
        """Account for the rows of a message that was taken in, or for what it is worth in rows."""
        if device in self._balances:
            self._balances[device].rows -= rows

    def held_back(self, device: str) -> int:
        """Return how many messages of the car in a row were not taken in."""
        return self._balances[device].held_back if device in self._balances else 0

    def _filled(self, device: str, now_us: int) -> _Balance:
        quota = self._quota
        balance = self._balances.get(device)
        if balance is None:
            if len(self._balances) >= _MANY:
                self._forget_full(now_us)
            balance = _Balance(quota.size_bytes, quota.rows, now_us)
            self._balances[device] = balance
        share = (now_us - balance.at_us) / _MINUTE_US
        was_used_up = balance.size_bytes <= 0 or balance.rows <= 0
        balance.size_bytes = min(quota.size_bytes, balance.size_bytes + share * quota.size_bytes)
        balance.rows = min(quota.rows, balance.rows + share * quota.rows)
        balance.at_us = now_us
        if was_used_up and balance.size_bytes > 0 and balance.rows > 0:
            balance.held_back = 0
        return balance

    def _forget_full(self, now_us: int) -> None:
        """Forget the cars whose balance is full by now: a new one is the same."""
        self._balances = {
            name: each
            for name, each in self._balances.items()
            if now_us - each.at_us < 2 * _MINUTE_US
        }
