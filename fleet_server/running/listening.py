"""Listens to the live values of the cars that somebody looks at.

Laws:
- it is a connection of its own: a burst of live values never stands before a batch or a report;
- what cannot be read, or is said for another car, is dropped: the next one comes in a moment;
- one process of a fleet does this; where another one does, pages say that they hear nothing.
"""

import logging
import threading

from fleet_server.cars.live import Live
from shared import codec
from shared.clock import Clock
from shared.errors import RefusedError
from shared.messages import Telemetry
from shared.mqtt import Connection
from shared.mqtt_events import Connected, Received
from shared.topics import TELEMETRY

logger = logging.getLogger(__name__)

_WAIT_S = 0.1


class Listening:
    """Runs the connection; see `run`."""

    def __init__(self, connection: Connection, live: Live, clock: Clock) -> None:
        """Tell `live` what is heard over `connection`."""
        self._connection = connection
        self._live = live
        self._clock = clock
        self._asked: frozenset[str] = frozenset()

    def run(self, stop: threading.Event) -> None:
        """Listen until `stop` is set."""
        self._connection.start()
        try:
            while not stop.is_set():
                self._turn()
        finally:
            self._live.is_connected = False
            self._connection.stop()

    def _turn(self) -> None:
        event = self._connection.next_event(_WAIT_S)
        if isinstance(event, Connected):
            self._asked = frozenset()
        elif isinstance(event, Received):
            self._take(event)
        self._live.is_connected = self._connection.connected
        if self._connection.connected:
            self._ask()

    def _ask(self) -> None:
        wanted = self._live.wanted(self._clock.monotonic_us())
        for device in wanted - self._asked:
            self._connection.subscribe(TELEMETRY.topic(id=device), TELEMETRY.qos)
        for device in self._asked - wanted:
            self._connection.unsubscribe(TELEMETRY.topic(id=device))
        self._asked = wanted

    def _take(self, message: Received) -> None:
        named = TELEMETRY.parts(message.topic)
        if named is None:
            return
        try:
            said = codec.decode(Telemetry, message.payload, limit_bytes=TELEMETRY.limit_bytes)
        except RefusedError as error:
            logger.info("telemetry_refused device=%s reason=%r", named["id"], str(error))
            return
        if said.device == named["id"]:
            self._live.take(said, self._clock.monotonic_us())
