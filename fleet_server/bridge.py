"""Between MQTT and the database: one thread that owns the server's connection to the broker.

Laws:
- a message is acknowledged once what it says is committed or put aside with its reason, or the
  database cannot store now: its sender keeps a batch until the receipt, and what is retained is
  asked for again. (Left unacknowledged it would fill the broker's window for us until no message
  came any more.)
- what nobody asked for changes nothing;
- the broker may forget everything: on every connection all that is retained is published anew, the
  pieces of a model before the metadata that names them and both before the desired states;
- what is published is read from committed rows, so that a kill loses nothing;
- nothing is decided here.
"""

import logging
import threading
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import select

from fleet_server.ingest import Ingest
from fleet_server.releases.online import OnlineRepository
from fleet_server.storage.database import Database
from fleet_server.storage.tables import desired, devices
from fleet_server.twin import Twin
from shared import codec, topics
from shared.clock import Clock
from shared.errors import RefusedError, RetryLaterError, UsageError
from shared.messages import Desired, ReleaseMetadata
from shared.mqtt import Connected, Connection, Disconnected, Received
from shared.releases import split
from shared.signing import SigningKey, seal

logger = logging.getLogger(__name__)

_WAIT_S = 0.2
_NEWS_US = 300_000
_REFRESH_US = 60_000_000
_ASK_AGAIN_US = 5_000_000

_REPORTS = (topics.PRESENCE, topics.STATUS, topics.UPDATE)
_SUBSCRIBED = (topics.BATCH, *_REPORTS, topics.RESULT)


@dataclass(frozen=True, kw_only=True)
class Outgoing:
    """A message that waits for room in the network thread's queue."""

    topic: str
    body: bytes


class Bridge:
    """Runs the server's connection; see `run`."""

    def __init__(
        self,
        connection: Connection,
        *,
        database: Database,
        repository: OnlineRepository,
        key: SigningKey,
        clock: Clock,
        ingest: Ingest,
    ) -> None:
        """Move messages between `connection` and `database`; desired states are signed by `key`."""
        self._connection = connection
        self._database = database
        self._repository = repository
        self._key = key
        self._clock = clock
        self._ingest = ingest
        self._twin = Twin(database, clock)
        self._outbox: deque[Outgoing] = deque()
        self._next_news_us = 0
        self._next_refresh_us = 0
        self._ask_again_us: int | None = None
        self._forget_published()

    def run(self, stop: threading.Event) -> None:
        """Serve until `stop` is set."""
        self._connection.start()
        try:
            while not stop.is_set():
                self._turn()
        finally:
            self._connection.stop()

    def _turn(self) -> None:
        event = self._connection.next_event(0.0 if self._outbox else _WAIT_S)
        if isinstance(event, Connected):
            logger.info("broker_connected")
            self._forget_published()
            self._ask_again_us = None
            self._subscribe(_SUBSCRIBED)
        elif isinstance(event, Disconnected):
            logger.warning("broker_disconnected reason=%r", event.reason)
        elif isinstance(event, Received):
            self._receive(event)
        now = self._clock.monotonic_us()
        if self._connection.connected and now >= self._next_news_us:
            self._next_news_us = now + _NEWS_US
            self._publish_news(now)
        if self._connection.connected and now >= (self._ask_again_us or now + 1):
            self._ask_again_us = None
            # Whoever subscribes again is sent again what is retained.
            self._subscribe(row for row in _REPORTS if row.retained)
        self._send()

    def _subscribe(self, rows: Iterable[topics.Topic]) -> None:
        for row in rows:
            self._connection.subscribe(row.filter(), row.qos)

    def _receive(self, message: Received) -> None:
        try:
            self._take(message)
        except RefusedError as error:
            logger.warning("refused topic=%s reason=%r", message.topic, str(error))
        except RetryLaterError as error:
            logger.error("not_stored topic=%s reason=%r", message.topic, str(error))  # noqa: TRY400 - a passing fault is no bug: its text says it all
            self._ask_again_us = self._clock.monotonic_us() + _ASK_AGAIN_US
        self._connection.acknowledge(message)

    def _take(self, message: Received) -> None:
        row, parts = topics.match(message.topic) or (None, {})
        if row is topics.BATCH:
            self._batch(message)
        elif row in _REPORTS:
            self._twin.take(row, parts["id"], message.payload)
        elif row is topics.RESULT:
            result = codec.decode_on(row, message.payload)
            logger.info("command_result device=%s result=%r", parts["id"], result)
        else:
            raise RefusedError("nobody asked for it")

    def _batch(self, message: Received) -> None:
        reply = self._ingest.take(message.topic, message.payload)
        if reply is None:
            return
        try:
            self._connection.publish(reply.topic, reply.body)
        except RetryLaterError:
            # The car sends the batch again and is told then that it is a duplicate.
            logger.info("receipt_not_sent topic=%s", reply.topic)

    def _forget_published(self) -> None:
        """Take the broker for empty."""
        self._outbox.clear()
        self._sent_desired = 0
        self._sent_models: set[str] = set()
        self._sent_metadata: dict[str, bytes] = {}
        self._next_news_us = 0

    def _publish_news(self, now_us: int) -> None:
        try:
            if self._repository.is_initialised:
                if now_us >= self._next_refresh_us:
                    self._next_refresh_us = now_us + _REFRESH_US
                    self._repository.refresh()
                self._publish_releases()
            self._publish_desired()
        except (RetryLaterError, UsageError) as error:
            # Cars drive on with what they have; the operator reads why nothing new comes.
            logger.error("cannot_publish reason=%r", str(error))  # noqa: TRY400 - as above

    def _publish_releases(self) -> None:
        files = self._repository.metadata_files()
        with self._database.read() as connection:
            in_force = select(desired.c.target).join(devices, devices.c.desired == desired.c.id)
            wanted = set(connection.scalars(in_force.distinct())) - self._sent_models - {None}
        if files == self._sent_metadata and not wanted:
            return
        for path, release in self._repository.targets().items():
            if path in wanted:
                self._publish_model(release.manifest.sha256)
        self._sent_models |= wanted
        self._put(topics.RELEASE_METADATA.topic(), codec.encode(ReleaseMetadata(files=files)))
        self._sent_metadata = files
        logger.info("release_metadata_published files=%d", len(files))

    def _publish_model(self, sha256: str) -> None:
        for number, piece in enumerate(split(self._repository.model(sha256))):
            self._put(topics.RELEASE_TARGET.topic(sha256=sha256, n=number), piece)

    def _publish_desired(self) -> None:
        query = (
            select(desired)
            .join(devices, devices.c.desired == desired.c.id)
            .where(desired.c.id > self._sent_desired)
            .order_by(desired.c.id)
        )
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        for row in rows:
            topic = topics.DESIRED.topic(id=row.device)
            message = Desired(
                device=row.device,
                epoch=row.epoch,
                revision=row.revision,
                deployment=row.deployment,
                target=row.target,
                upload=row.upload,
            )
            self._put(topic, seal(message, topic=topic, key=self._key))
            self._sent_desired = row.id
            logger.info("desired_published device=%s revision=%d", row.device, row.revision)

    def _put(self, topic: str, body: bytes) -> None:
        self._outbox.append(Outgoing(topic=topic, body=body))

    def _send(self) -> None:
        """Hand over what waits, as far as the network thread has room."""
        while self._outbox and self._connection.connected:
            head = self._outbox[0]
            try:
                self._connection.publish(head.topic, head.body, retained=True)
            except RetryLaterError:
                self._clock.sleep_until_us(self._clock.monotonic_us() + 20_000)
                return
            self._outbox.popleft()
