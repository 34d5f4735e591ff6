"""One car as a terminal console knows it.

Laws:
- what is not fresh is not live: a value without its time is none;
- a car that the server signed no wish for is not vouched for, whatever it says of itself;
- no clock: moments are handed in.
"""

from dataclasses import dataclass, field

from fleet_server.cars import registry
from fleet_server.cars.registry import Known
from fleet_server.terminal.trace import Trace
from shared.messages import Desired, Status, Telemetry
from shared.releases import digest_in

SILENT_US = 30_000_000
"""A connected car reports every five seconds; after this it counts as silent."""

FRESH_US = 3_000_000
"""How long a live value counts as now."""


@dataclass(frozen=True, kw_only=True)
class Car:
    """One car, as it is shown. `is_vouched`: the server signed a wish for it."""

    name: str
    known: Known = field(default_factory=Known)
    is_seen: bool = False
    heard_us: int = 0
    status: Status | None = None
    desired: Desired | None = None
    telemetry: Telemetry | None = None
    telemetry_us: int = 0
    trace: Trace = field(default_factory=Trace)

    @property
    def is_vouched(self) -> bool:
        """Whether the server signed what this car is to run."""
        return self.desired is not None

    def presence(self, now_us: int) -> str:
        """Return online, silent, offline, or unknown before the car said anything."""
        if not self.is_seen:
            return "unknown"
        is_silent = now_us - self.heard_us > SILENT_US
        return registry.presence(online=self.known.online, is_silent=is_silent)

    def live(self, now_us: int) -> Telemetry | None:
        """Return the live values, while they are fresh."""
        return self.telemetry if now_us - self.telemetry_us <= FRESH_US else None

    def error_now(self, now_us: int) -> float | None:
        """Return estimate less measured distance, while both are fresh, in the task's unit."""
        live = self.live(now_us)
        if live is None or live.estimate is None or live.label is None:
            return None
        return live.estimate - live.label

    @property
    def wanted(self) -> str | None:
        """Return the digest of the model that the server wants here."""
        return _digest(self.desired.target) if self.desired else None

    @property
    def candidate(self) -> str | None:
        """Return the digest of the model that the server wants tried here."""
        return _digest(self.desired.candidate) if self.desired else None


def _digest(target: str | None) -> str | None:
    return None if target is None else digest_in(target)
