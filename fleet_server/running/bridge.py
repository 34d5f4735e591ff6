"""Between MQTT and the database: one thread that owns a connection of the server to the broker.

Laws:
- a message is acknowledged once what it says is committed or put aside with its reason, or the
  database cannot store now: its sender keeps a batch until the receipt, and what is retained is
  asked for again. (Left unacknowledged it would fill the broker's window for us until no message
  came any more.)
- what nobody asked for changes nothing;
- the broker may forget everything: on every connection the duty starts from nothing;
- nothing is decided here: a `Duty` says what to listen to, what to answer, and what is news.
"""

import logging
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from fleet_server.ingest.taking import Ingest
from shared import topics
from shared.clock import Clock
from shared.errors import RetryLaterError, UsageError
from shared.mqtt import Connection
from shared.mqtt_events import Connected, Received

logger = logging.getLogger(__name__)

_WAIT_S = 0.2
_NEWS_US = 300_000
_ASK_AGAIN_US = 5_000_000
_PAUSE_US = 20_000
_TOGETHER = 20
_TOGETHER_BYTES = 4 * 1024 * 1024
"""How much is taken together, since a commit costs as much as a batch does: no more than a fifth of
what a broker sends unacknowledged (`parkfleet broker config`), so that more comes meanwhile."""

SHARED_BATCHES = f"$share/ingest/{topics.BATCH.filter()}"
"""The filter under which each batch reaches one of several ingest processes."""


@dataclass(frozen=True, kw_only=True)
class Outgoing:
    """A message that waits for room in the network thread's queue."""

    topic: str
    body: bytes
    retained: bool = False


@dataclass(frozen=True, kw_only=True)
class Subscription:
    """What to listen to; what is retained under it is asked for again where it was not stored."""

    topic_filter: str
    qos: int = 1
    retained: bool = False


class Duty(Protocol):
    """What one connection does for the fleet."""

    def subscriptions(self) -> Iterable[Subscription]:
        """Say what to listen to, on every new connection; the broker has forgotten everything."""
        ...

    def refused(self, topic_filter: str) -> Iterable[Subscription]:
        """Say what to listen to instead of what the broker refused.

        Raises:
            UsageError: this duty cannot be done with this broker.
        """
        ...

    def take(self, messages: Sequence[Received]) -> Iterable[Outgoing]:
        """Take messages; return the answers, which are lost where they cannot be sent.

        Raises:
            RetryLaterError: what they say could not be stored now, all or in part.
        """
        ...

    def news(self) -> Iterator[Outgoing]:
        """Return what is to be published now; each message is kept until the broker took it.

        Raises:
            RetryLaterError: the database cannot be used now.
            UsageError: the release repository is damaged.
        """
        ...


class Bridge:
    """Runs one connection; see `run`."""

    def __init__(self, connection: Connection, duty: Duty, clock: Clock) -> None:
        """Do `duty` over `connection`."""
        self._connection = connection
        self._duty = duty
        self._clock = clock
        self._outbox: deque[Outgoing] = deque()
        self._retained: tuple[Subscription, ...] = ()
        self._next_news_us = 0
        self._ask_again_us: int | None = None

    def run(self, stop: threading.Event) -> None:
        """Serve until `stop` is set.

        Raises:
            UsageError: this broker does not do for this duty.
        """
        self._connection.start()
        try:
            while not stop.is_set():
                self._turn()
        finally:
            self._connection.stop()

    def _turn(self) -> None:
        messages = self._gather(0.0 if self._outbox else _WAIT_S)
        if messages:
            self._receive(messages)
        for topic_filter in self._connection.refused_filters():
            self._subscribe(self._duty.refused(topic_filter))
        now = self._clock.monotonic_us()
        if self._connection.connected and now >= self._next_news_us:
            self._next_news_us = now + _NEWS_US
            self._collect_news()
        if self._connection.connected and now >= (self._ask_again_us or now + 1):
            self._ask_again_us = None
            # Whoever subscribes again is sent again what is retained.
            self._subscribe(self._retained)
        self._send()

    def _begin(self) -> None:
        wanted = tuple(self._duty.subscriptions())
        self._outbox.clear()
        self._next_news_us = 0
        self._ask_again_us = None
        self._retained = tuple(each for each in wanted if each.retained)
        self._subscribe(wanted)

    def _subscribe(self, wanted: Iterable[Subscription]) -> None:
        for each in wanted:
            self._connection.subscribe(each.topic_filter, each.qos)

    def _gather(self, wait_s: float) -> list[Received]:
        """Return what came and waits, a bounded amount, in order; see to connections on the way."""
        messages: list[Received] = []
        size_bytes = 0
        event = self._connection.next_event(wait_s)
        while event is not None:
            if isinstance(event, Received):
                messages.append(event)
                size_bytes += len(event.payload)
            elif isinstance(event, Connected):
                logger.info("broker_connected")
                self._begin()
            else:
                logger.warning("broker_disconnected reason=%r", event.reason)
            full = len(messages) >= _TOGETHER or size_bytes >= _TOGETHER_BYTES
            event = None if full else self._connection.next_event(0.0)
        return messages

    def _receive(self, messages: Sequence[Received]) -> None:
        try:
            answers = self._duty.take(messages)
        except RetryLaterError as error:
            logger.error("not_stored messages=%d reason=%r", len(messages), str(error))  # noqa: TRY400 - a passing fault is no bug: its text says it all
            self._ask_again_us = self._clock.monotonic_us() + _ASK_AGAIN_US
        else:
            for answer in answers:
                self._answer(answer)
        for message in messages:
            self._connection.acknowledge(message)

    def _answer(self, answer: Outgoing) -> None:
        try:
            self._connection.publish(answer.topic, answer.body)
        except RetryLaterError:
            # The car sends the batch again and is told then that it is a duplicate.
            logger.info("receipt_not_sent topic=%s", answer.topic)

    def _collect_news(self) -> None:
        try:
            self._outbox.extend(self._duty.news())
        except (RetryLaterError, UsageError) as error:
            # Cars drive on with what they have; the operator reads why nothing new comes.
            logger.error("cannot_publish reason=%r", str(error))  # noqa: TRY400 - as above

    def _send(self) -> None:
        """Hand over what waits, as far as the network thread has room."""
        while self._outbox and self._connection.connected:
            head = self._outbox[0]
            try:
                self._connection.publish(head.topic, head.body, retained=head.retained)
            except RetryLaterError:
                self._clock.sleep_until_us(self._clock.monotonic_us() + _PAUSE_US)
                return
            self._outbox.popleft()


class Receiving:
    """The duty of an ingest process: batches in, receipts out."""

    def __init__(self, ingest: Ingest, *, number: int | None = None) -> None:
        """Take every batch, or, as ingest process `number`, those that no other one takes."""
        self._ingest = ingest
        self._number = number

    def subscriptions(self) -> Iterable[Subscription]:
        """Listen to all cars' batches."""
        topic_filter = topics.BATCH.filter() if self._number is None else SHARED_BATCHES
        return (Subscription(topic_filter=topic_filter),)

    def refused(self, topic_filter: str) -> Iterable[Subscription]:
        """Take all batches alone, as the first of several that the broker cannot tell apart.

        Raises:
            UsageError: this is not the first.
        """
        if topic_filter != SHARED_BATCHES:
            raise UsageError(f"the broker does not let this server listen to {topic_filter}")
        if self._number != 1:
            raise UsageError(
                "this broker shares no batches between several ingest processes: run one with it, "
                "or mosquitto (`parkfleet broker config`)"
            )
        logger.warning("batches_not_shared: with this broker, run this ingest process and no other")
        return (Subscription(topic_filter=topics.BATCH.filter()),)

    def take(self, messages: Sequence[Received]) -> Iterable[Outgoing]:
        """Store batches and return their receipts.

        Raises:
            RetryLaterError: the database cannot store now.
        """
        batches = []
        for each in messages:
            if topics.BATCH.parts(each.topic) is None:
                logger.warning("refused topic=%.200r reason='nobody asked for it'", each.topic)
            else:
                batches.append((each.topic, each.payload))
        replies = self._ingest.take_all(batches) if batches else ()
        return [Outgoing(topic=each.topic, body=each.body) for each in replies if each is not None]

    def news(self) -> Iterator[Outgoing]:
        """Return nothing: receipts are answers."""
        return iter(())
