"""What cars say of themselves right now, for who looks at one: held in memory, never stored.

Laws:
- a car is listened to while somebody looks at it and for `LOOKS_US` after that, no longer: the
  live values of a fleet are many, and nobody reads them all;
- the newest word counts; one of an earlier boot, or for another car, is not taken;
- it may be lost at any moment: what is to be kept comes as samples.
"""

import threading
from dataclasses import dataclass

from shared.messages import Telemetry

LOOKS_US = 5_000_000
MOST = 200
"""Cars that are listened to at once."""


@dataclass(frozen=True, kw_only=True)
class Heard:
    """A car's last word, and when it came by this machine's monotonic clock."""

    said: Telemetry
    monotonic_us: int


class Live:
    """The live values of cars that somebody looks at; shared between threads.

    `is_connected` tells whether the broker is there.
    """

    def __init__(self) -> None:
        """Hold nothing yet."""
        self._lock = threading.Lock()
        self.is_connected = False
        self._looked_us: dict[str, int] = {}
        self._heard: dict[str, Heard] = {}

    def look(self, device: str, now_us: int) -> Heard | None:
        """Return a car's last word, and have it listened to from now on."""
        with self._lock:
            if device in self._looked_us or len(self._looked_us) < MOST:
                self._looked_us[device] = now_us
            return self._heard.get(device)

    def wanted(self, now_us: int) -> frozenset[str]:
        """Return the cars to listen to, and forget the others."""
        with self._lock:
            gone = [name for name, at in self._looked_us.items() if now_us - at > LOOKS_US]
            for name in gone:
                del self._looked_us[name]
                self._heard.pop(name, None)
            return frozenset(self._looked_us)

    def take(self, said: Telemetry, now_us: int) -> None:
        """Keep a car's word, where somebody looks at it."""
        with self._lock:
            if said.device not in self._looked_us:
                return
            before = self._heard.get(said.device)
            if before is None or said.boot >= before.said.boot:
                self._heard[said.device] = Heard(said=said, monotonic_us=now_us)
