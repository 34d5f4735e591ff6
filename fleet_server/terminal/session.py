"""A console's connection: what the broker sends goes into the model, orders go out signed.

Laws:
- one thread owns it, that of the screen; nothing here waits but `start`;
- live values are asked for only of cars that are on the screen, whatever the size of the fleet;
- an order is handed to the broker at once or not at all: nothing waits to be said later;
- the connection comes back by itself, and everything is asked for anew.
"""

from collections.abc import Iterable
from typing import Protocol

from fleet_server.terminal.home import Access
from fleet_server.terminal.model import Fleet
from shared.clock import Clock
from shared.errors import RefusedError, RetryLaterError, UsageError
from shared.messages import Command
from shared.mqtt import Connection
from shared.mqtt_events import Connected, Disconnected, Event, Received
from shared.signing import seal
from shared.topics import (
    COMMAND,
    DESIRED,
    OPERATORS,
    PRESENCE,
    RESULT,
    STATUS,
    TELEMETRY,
    UPDATE,
)

CONNECT_US = 10_000_000
"""How long the first connection may take."""

_WAIT_S = 0.1
_AT_ONCE = 500
"""How many messages are taken between two looks at the keyboard."""

_ROWS = (DESIRED, OPERATORS, PRESENCE, STATUS, UPDATE, RESULT)


class Line(Protocol):
    """What a console needs of a connection (`shared.mqtt.Connection`)."""

    @property
    def connected(self) -> bool:
        """Whether something can be said now."""
        ...

    @property
    def dropped(self) -> int:
        """How many messages there was no room for."""
        ...

    def start(self) -> None:
        """Begin to connect."""
        ...

    def stop(self) -> None:
        """Say good-bye."""
        ...

    def next_event(self, timeout_s: float) -> Event | None:
        """Return what came, or None where nothing did within `timeout_s`."""
        ...

    def subscribe(self, topic_filter: str, qos: int = 1) -> None:
        """Ask for messages."""
        ...

    def unsubscribe(self, topic_filter: str) -> None:
        """Ask for no more."""
        ...

    def publish(self, topic: str, payload: bytes) -> None:
        """Hand over a message, or raise RetryLaterError."""
        ...

    def acknowledge(self, message: Received) -> None:
        """Tell the broker that `message` is taken."""
        ...

    def refused_filters(self) -> tuple[str, ...]:
        """Return what the broker refused to send."""
        ...


class Session:
    """One console at one broker."""

    def __init__(self, access: Access, clock: Clock, line: Line | None = None) -> None:
        """Prepare over `line`, MQTT unless given; `start` connects."""
        self.access = access
        self.clock = clock
        self.fleet = Fleet(
            own=access.name, may_order=access.role == "operator", server_key=access.server_key
        )
        self._connection: Line = line or Connection(access.address)
        self._watched: frozenset[str] = frozenset()
        self._dropped = 0

    @property
    def place(self) -> str:
        """Where the broker is."""
        return f"{self.access.address.host}:{self.access.address.port}"

    def start(self) -> None:
        """Connect, and return once the broker has said yes.

        Raises:
            UsageError: it is not reached, or does not let this console in.
        """
        self._connection.start()
        deadline_us = self.clock.monotonic_us() + CONNECT_US
        while not self.fleet.is_connected:
            event = self._connection.next_event(_WAIT_S)
            if isinstance(event, Disconnected):
                self.stop()
                raise UsageError(f"the broker at {self.place}: {_in_words(event.reason)}")
            if event is not None:
                self._take(event)
            elif self.clock.monotonic_us() > deadline_us:
                self.stop()
                raise UsageError(f"the broker at {self.place} does not answer: is it the address?")

    def stop(self) -> None:
        """Say good-bye."""
        self._connection.stop()

    def poll(self) -> None:
        """Take what came, up to a bound, and see to what is overdue."""
        for _ in range(_AT_ONCE):
            event = self._connection.next_event(0.0)
            if event is None:
                break
            self._take(event)
        utc_us = self.clock.utc_us()
        if self._connection.dropped > self._dropped:
            self._dropped = self._connection.dropped
            self.fleet.note(f"{self._dropped} messages dropped: more came than fit", utc_us)
        for topic_filter in self._connection.refused_filters():
            self.fleet.note(f"the broker refuses {topic_filter}", utc_us)
        for order in self.fleet.orders.overdue(self.clock.monotonic_us()):
            self.fleet.note(f"{order.verb}: the car did not answer", utc_us, order.device)

    def watch(self, cars: Iterable[str]) -> None:
        """Ask for live values of `cars` and of no others."""
        wanted = frozenset(cars)
        if not self._connection.connected or wanted == self._watched:
            return
        for name in self._watched - wanted:
            self._connection.unsubscribe(TELEMETRY.filter(id=name))
        for name in wanted - self._watched:
            self._connection.subscribe(TELEMETRY.filter(id=name), TELEMETRY.qos)
        self._watched = wanted

    def order(self, device: str, verb: str, arguments: dict[str, str]) -> Command:
        """Order `verb` of a car; the answer comes as an event.

        Raises:
            RefusedError: this console may not, or the car cannot be given that order now.
            RetryLaterError: there is no connection; nothing was said.
        """
        car = self.fleet.car(device)
        if car is None:
            raise RefusedError("no car is chosen")
        command = self.fleet.orders.give(
            device=device,
            known=car.known,
            verb=verb,
            arguments=arguments,
            utc_us=self.clock.utc_us(),
            now_us=self.clock.monotonic_us(),
        )
        topic = COMMAND.topic(id=device, actor=self.access.name)
        try:
            self._connection.publish(topic, seal(command, topic=topic, key=self.access.key))
        except RetryLaterError:
            self.fleet.orders.unsent(command)
            raise
        self.fleet.note(f"{verb} ordered", self.clock.utc_us(), device, is_bad=False)
        return command

    def _take(self, event: Event) -> None:
        utc_us = self.clock.utc_us()
        match event:
            case Connected():
                self.fleet.connected(utc_us)
                self._watched = frozenset()
                for row in _ROWS:
                    self._connection.subscribe(row.filter(), row.qos)
            case Disconnected(reason=reason):
                self.fleet.disconnected(_in_words(reason), utc_us)
            case Received():
                self.fleet.hear(
                    event.topic,
                    event.payload,
                    utc_us=utc_us,
                    now_us=self.clock.monotonic_us(),
                    retained=event.retained,
                )
                self._connection.acknowledge(event)


def _in_words(reason: str) -> str:
    if reason.startswith("refused"):
        return (
            "it does not know this console: the grant was revoked, or is another broker's "
            f"({reason})"
        )
    return reason
