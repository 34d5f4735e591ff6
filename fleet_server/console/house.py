"""What the pages work on: the server's parts, who looks, one look a second for all.

Laws:
- what is read is read in a thread of its own, at most once a second however many pages show it;
- a look that nobody asked for within a minute is forgotten.
"""

import asyncio
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, TypeVar

from fleet_server.api.context import Context
from fleet_server.console.asking import Asking
from fleet_server.console.sessions import Sessions
from shared.clock import Clock

V = TypeVar("V")

_FRESH_US = 900_000
_KEPT_US = 60_000_000


@dataclass
class _Look:
    lock: asyncio.Lock
    found: Any
    taken_us: int


class Looks:
    """Looks at the fleet, each at most one a second however many pages are open."""

    def __init__(self, clock: Clock) -> None:
        """Tell by `clock` how old a look is."""
        self._clock = clock
        self._looks: dict[Hashable, _Look] = {}

    async def at(self, what: Hashable, read: Callable[[Any], V]) -> V:
        """Return what `read` finds of `what`, not older than a second.

        `read` is handed the look before, or None: what cannot have changed need not be read again.

        Raises:
            RetryLaterError: the database is busy or gone for the moment.
        """
        self._forget()
        look = self._looks.setdefault(what, _Look(asyncio.Lock(), None, -_FRESH_US))
        async with look.lock:
            now_us = self._clock.monotonic_us()
            if look.found is None or now_us - look.taken_us >= _FRESH_US:
                look.found = await asyncio.to_thread(read, look.found)
                look.taken_us = now_us
            found: V = look.found
            return found

    def renew(self) -> None:
        """Read everything anew when it is asked for next: something was changed."""
        for look in self._looks.values():
            look.taken_us = -_FRESH_US

    def _forget(self) -> None:
        old_us = self._clock.monotonic_us() - _KEPT_US
        for what in [each for each, look in self._looks.items() if look.taken_us < old_us]:
            if not self._looks[what].lock.locked():
                del self._looks[what]


@dataclass(frozen=True, kw_only=True)
class House:
    """The parts that every page needs."""

    context: Context
    sessions: Sessions
    asking: Asking
    looks: Looks
