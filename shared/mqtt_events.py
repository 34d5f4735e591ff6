"""What became of an MQTT connection, and what it brought: events in a queue.

Laws:
- messages wait in bounded memory, and what does not fit is counted;
- that the connection came or went is told whatever else waits;
- events come out in the order in which they went in.
"""

import queue
import threading
from dataclasses import dataclass

_MESSAGES = 10_000
_BYTES = 64 * 1024 * 1024
"""Several times the largest model with its metadata."""


@dataclass(frozen=True, kw_only=True)
class Connected:
    """The broker accepted us; subscriptions must be made anew."""


@dataclass(frozen=True, kw_only=True)
class Disconnected:
    """The connection is gone, or was refused; `reason` says why. It is tried again by itself."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class Received:
    """A message arrived. `acknowledge` takes it by `mid`, which holds for `connection` alone."""

    topic: str
    payload: bytes
    qos: int
    retained: bool
    mid: int
    connection: int = 0


Event = Connected | Disconnected | Received


class EventQueue:
    """Events on their way from the network thread to the one that owns the connection."""

    def __init__(self) -> None:
        """Hold nothing yet."""
        self._events: queue.Queue[Event] = queue.Queue()
        self._lock = threading.Lock()
        self._waiting = self._waiting_bytes = 0
        self.dropped = 0

    def put(self, event: Event) -> None:
        """Have `event` wait, but for a message that there is no room for."""
        if isinstance(event, Received) and not self._has_room(event):
            # Not acknowledged, so the broker or its sender keeps it; counted, so that it is seen.
            self.dropped += 1
            return
        self._events.put(event)

    def get(self, timeout_s: float) -> Event | None:
        """Return the next event, or None where none came within `timeout_s`."""
        try:
            if timeout_s > 0:
                event = self._events.get(timeout=timeout_s)
            else:
                event = self._events.get_nowait()
        except queue.Empty:
            return None
        if isinstance(event, Received):
            with self._lock:
                self._waiting -= 1
                self._waiting_bytes -= len(event.payload)
        return event

    def _has_room(self, message: Received) -> bool:
        with self._lock:
            size_bytes = self._waiting_bytes + len(message.payload)
            if self._waiting >= _MESSAGES or size_bytes > _BYTES:
                return False
            self._waiting += 1
            self._waiting_bytes = size_bytes
            return True
