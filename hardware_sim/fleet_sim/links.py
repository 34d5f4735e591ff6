"""How a simulated car reaches its fleet: a link in memory, or a connection to a real broker.

Laws:
- a link carries what the car's agent asks for and brings what arrives, in order of arrival;
- in memory a message takes `latency_us` each way, and any message may be lost on the way, as
  brokers and radio do; what is lost is counted;
- the retained answer to a subscription is never lost: a broker hands it over again until it is
  acknowledged, and so does this link by not losing it at all.
"""

import random
from collections import deque
from collections.abc import Callable, Iterator
from typing import Final, Protocol

from device.agent.effects import Publish
from hardware_sim.fleet_sim.server import ModelServer, Said
from shared.errors import RetryLaterError
from shared.mqtt import Address, Connection, Will
from shared.mqtt_events import Connected, Event, Received

LATENCY_US: Final = 60_000


class Link(Protocol):
    """One car's way to the fleet; open while the car is awake. `lost` counts lost messages."""

    lost: int

    def open(self, will: Callable[[], Will], now_us: int) -> None:
        """Begin to connect."""
        ...

    def poll(self, now_us: int) -> Iterator[Event]:
        """Yield what arrived by `now_us`."""
        ...

    def publish(self, message: Publish, now_us: int) -> None:
        """Send a message, which may get lost."""
        ...

    def subscribe(self, topic_filter: str, now_us: int) -> None:
        """Ask for messages."""
        ...

    def unsubscribe(self, topic_filter: str) -> None:
        """Ask for no more messages."""
        ...

    def acknowledge(self, message: Received) -> None:
        """Say that `message` is in the car's keeping."""
        ...

    def close(self, last_words: Will) -> None:
        """Leave."""
        ...


class MemoryLink:
    """A link to a `ModelServer`."""

    def __init__(
        self, server: ModelServer, device: str, rng: random.Random, *, loss: float = 0.0
    ) -> None:
        """Connect `device`; `loss` is the share of messages that get lost, either way."""
        self._server, self._device = server, device
        self._rng, self._loss = rng, loss
        self._arriving: deque[tuple[int, Event]] = deque()
        self._mid = 0
        self.lost = 0

    def open(self, will: Callable[[], Will], now_us: int) -> None:
        """Connect, one round trip from now."""
        will()
        self._arriving.append((now_us + 2 * LATENCY_US, Connected()))

    def poll(self, now_us: int) -> Iterator[Event]:
        """Yield what arrived by `now_us`."""
        while self._arriving and self._arriving[0][0] <= now_us:
            yield self._arriving.popleft()[1]

    def publish(self, message: Publish, now_us: int) -> None:
        """Hand `message` to the server, and what it says to the car."""
        if self._gets_lost():
            return
        for said in self._server.published(self._device, message.topic, message.payload):
            if not self._gets_lost():
                self._deliver(said, now_us)

    def subscribe(self, topic_filter: str, now_us: int) -> None:
        """Have what is retained there delivered."""
        for said in self._server.subscribed(self._device, topic_filter):
            self._deliver(said, now_us)

    def unsubscribe(self, topic_filter: str) -> None:
        """Do nothing: what is not retained comes to this car alone."""

    def acknowledge(self, message: Received) -> None:
        """Do nothing: a message in memory is delivered once."""

    def close(self, last_words: Will) -> None:
        """Leave; what was under way to the car never arrives."""
        self._arriving.clear()
        self._server.published(self._device, last_words.topic, last_words.payload)

    def _gets_lost(self) -> bool:
        lost = self._rng.random() < self._loss
        self.lost += lost
        return lost

    def _deliver(self, said: Said, now_us: int) -> None:
        self._mid += 1
        message = Received(
            topic=said.topic, payload=said.payload, qos=1, retained=said.retained, mid=self._mid
        )
        self._arriving.append((now_us + 2 * LATENCY_US, message))


class BrokerLink:
    """A connection to a real broker."""

    def __init__(self, address: Address) -> None:
        """Prepare to connect to `address`."""
        self._address = address
        self._connection: Connection | None = None
        self.lost = 0

    def open(self, will: Callable[[], Will], now_us: int) -> None:  # noqa: ARG002 - real time
        """Connect in the background."""
        self._connection = Connection(self._address, will=will)
        self._connection.start()

    def poll(self, now_us: int) -> Iterator[Event]:  # noqa: ARG002 - real time
        """Yield what has arrived."""
        while self._connection is not None:
            event = self._connection.next_event(0.0)
            if event is None:
                return
            yield event

    def publish(self, message: Publish, now_us: int) -> None:  # noqa: ARG002 - real time
        """Hand `message` to the network; lost where there is no connection."""
        try:
            self._open().publish(
                message.topic, message.payload, qos=message.qos, retained=message.retained
            )
        except RetryLaterError:
            self.lost += 1

    def subscribe(self, topic_filter: str, now_us: int) -> None:  # noqa: ARG002 - real time
        """Ask the broker for messages."""
        self._open().subscribe(topic_filter)

    def unsubscribe(self, topic_filter: str) -> None:
        """Ask the broker for no more messages."""
        self._open().unsubscribe(topic_filter)

    def acknowledge(self, message: Received) -> None:
        """Tell the broker that `message` is in the car's keeping."""
        self._open().acknowledge(message)

    def close(self, last_words: Will) -> None:
        """Say good-bye and disconnect."""
        self._open().stop(last_words=last_words)
        self._connection = None

    def _open(self) -> Connection:
        if self._connection is None:
            raise RuntimeError("the link is not open")
        return self._connection
