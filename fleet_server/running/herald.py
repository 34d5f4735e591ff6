"""The duty of the control process at the broker: says what is wanted, hears what is.

Laws:
- on every connection all that is retained is published anew, the pieces of a model before the
  metadata that names them and both before the desired states;
- a model that no desired state names any more is taken from the broker again, and so is what a
  revoked car was told: what is signed and retained there is in force;
- what is published is read from committed rows, so that a kill loses nothing; an order is said at
  most once (`commanding`);
- a car's reports beyond `REPORTS` are not looked at, since each would cost a commit; the next one
  says again how the car is;
- one process at a time does this: reports are ordered, and models are sent once.
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import Row, select

from fleet_server.cars import commanding
from fleet_server.cars.twin import Report, Twin
from fleet_server.ingest.quota import Quota, Quotas
from fleet_server.releases.online import OnlineRepository
from fleet_server.running.bridge import Outgoing, Subscription
from fleet_server.running.consoles import Consoles
from fleet_server.storage.database import Database
from fleet_server.storage.tables import desired, devices
from shared import codec, topics
from shared.clock import Clock
from shared.errors import RefusedError, UsageError
from shared.messages import CommandResult, Desired, ReleaseMetadata
from shared.mqtt_events import Received
from shared.releases import Release, split
from shared.signing import SigningKey, seal

logger = logging.getLogger(__name__)

_REFRESH_US = 60_000_000
REPORTS = Quota(size_bytes=4 * 1024 * 1024, rows=600)
"""What a car may report in a minute: it does so every five seconds, and at steps of an update."""
_REPORTS = (topics.PRESENCE, topics.STATUS, topics.UPDATE)


class Herald:
    """Publishes releases, desired states and orders; takes reports and results."""

    def __init__(
        self,
        *,
        database: Database,
        repository: OnlineRepository,
        consoles: Consoles,
        key: SigningKey,
        clock: Clock,
    ) -> None:
        """Speak for `database` and `repository`; desired states and orders are signed by `key`."""
        self._database = database
        self._repository = repository
        self._consoles = consoles
        self._key = key
        self._clock = clock
        self._twin = Twin(database, clock)
        self._quotas = Quotas(REPORTS)
        self._next_refresh_us = 0
        self._forget_published()

    def subscriptions(self) -> Iterable[Subscription]:
        """Listen to all cars' reports and results, and to orders; take the broker for empty."""
        self._forget_published()
        return tuple(
            Subscription(topic_filter=row.filter(), qos=row.qos, retained=row.retained)
            for row in (*_REPORTS, topics.RESULT, topics.COMMAND)
        )

    def refused(self, topic_filter: str) -> Iterable[Subscription]:
        """Give up: a broker that refuses these does not know us as the server.

        Raises:
            UsageError: always.
        """
        raise UsageError(f"the broker does not let this server listen to {topic_filter}")

    def take(self, messages: Sequence[Received]) -> Iterable[Outgoing]:
        """Store reports and results; nobody is answered.

        Raises:
            RetryLaterError: the database cannot store now; the rest was not looked at.
        """
        reports: list[Report] = []
        for message in messages:
            row, parts = topics.match(message.topic) or (None, {})
            if row in _REPORTS:
                if self._admits(parts["id"], len(message.payload)):
                    reports.append(Report(row, parts["id"], message.payload))
                continue
            self._reports(reports)
            reports.clear()
            try:
                self._take(message, row, parts)
            except RefusedError as error:
                _log_refusal(message.topic, error)
        self._reports(reports)
        return ()

    def news(self) -> Iterator[Outgoing]:
        """Return orders first, then whose orders count, then releases, then desired states.

        Raises:
            RetryLaterError: the database cannot be used now.
            UsageError: the release repository is damaged.
        """
        for order in commanding.due(self._database, self._key, self._clock):
            yield Outgoing(topic=order.topic, body=order.body)
        yield from self._consoles.news()
        if self._repository.is_initialised:
            now = self._clock.monotonic_us()
            if now >= self._next_refresh_us:
                self._next_refresh_us = now + _REFRESH_US
                self._repository.refresh()
            yield from self._releases()
        yield from self._desired()

    def _reports(self, reports: Sequence[Report]) -> None:
        for report, refusal in zip(reports, self._twin.take_all(reports), strict=True):
            if refusal is not None:
                _log_refusal(report.row.topic(id=report.device), refusal)

    def _take(self, message: Received, row: topics.Topic | None, parts: dict[str, str]) -> None:
        if row is topics.RESULT:
            self._result(parts, message.payload)
        elif row is topics.COMMAND:
            if self._admits(parts["actor"], len(message.payload)):
                self._consoles.heard(message)
        else:
            raise RefusedError("nobody asked for it")

    def _admits(self, device: str, size_bytes: int) -> bool:
        if self._quotas.admits(device, size_bytes, self._clock.monotonic_us()):
            self._quotas.charge(device, 1)
            return True
        if self._quotas.held_back(device) == 1:
            logger.warning("reports_over_quota device=%s", device)
        return False

    def _result(self, parts: dict[str, str], payload: bytes) -> None:
        result = codec.decode_on(topics.RESULT, payload)
        if not isinstance(result, CommandResult):
            raise RefusedError("no result of a command")
        if (result.device, result.actor) != (parts["id"], parts["actor"]):
            raise RefusedError(f"a result of {result.device} on a topic of {parts['id']}")
        if self._consoles.answered(result):
            return
        with self._database.write() as connection:
            commanding.take_result(connection, result, utc_us=self._clock.utc_us())
        logger.info(
            "command_result device=%s number=%d outcome=%s",
            *(result.device, result.number, result.outcome),
        )

    def _forget_published(self) -> None:
        self._consoles.forget_published()
        self._sent_desired = 0
        self._cleared_cars: set[str] = set()
        self._sent_models: set[str] = set()
        self._cleared_models: set[str] = set()
        self._sent_metadata: dict[str, bytes] = {}
        self._released: dict[str, Release] = {}

    def _releases(self) -> Iterator[Outgoing]:
        files = self._repository.metadata_files()
        with self._database.read() as connection:
            in_force = select(desired.c.target, desired.c.candidate).join(
                devices, devices.c.desired == desired.c.id
            )
            named = connection.execute(in_force.distinct()).all()
        wanted = {path for row in named for path in row if path is not None}
        if files != self._sent_metadata:
            self._released = self._repository.targets()
        for path in wanted - self._sent_models:
            if path in self._released:
                yield from self._model(self._released[path])
        self._sent_models |= wanted
        if files != self._sent_metadata:
            body = codec.encode(ReleaseMetadata(files=files))
            yield Outgoing(topic=topics.RELEASE_METADATA.topic(), body=body, retained=True)
            self._sent_metadata = files
            logger.info("release_metadata_published files=%d", len(files))
        yield from self._clear(wanted)

    def _clear(self, wanted: set[str]) -> Iterator[Outgoing]:
        """Take from the broker what is offered no longer, also by a server before this one."""
        for path in set(self._released) - wanted - self._cleared_models:
            release = self._released[path]
            for number in range(len(release.chunks)):
                topic = topics.RELEASE_TARGET.topic(sha256=release.manifest.sha256, n=number)
                yield Outgoing(topic=topic, body=b"", retained=True)
            self._cleared_models.add(path)
        self._cleared_models -= wanted
        self._sent_models &= wanted

    def _model(self, release: Release) -> Iterator[Outgoing]:
        sha256 = release.manifest.sha256
        for number, piece in enumerate(split(self._repository.model(sha256), release.chunk_bytes)):
            topic = topics.RELEASE_TARGET.topic(sha256=sha256, n=number)
            yield Outgoing(topic=topic, body=piece, retained=True)

    def _desired(self) -> Iterator[Outgoing]:
        query = (
            select(desired)
            .join(devices, devices.c.desired == desired.c.id)
            .where(desired.c.id > self._sent_desired, devices.c.state == "confirmed")
            .order_by(desired.c.id)
        )
        with self._database.read() as connection:
            rows = connection.execute(query).all()
            revoked = set(connection.scalars(select(devices.c.name).filter_by(state="revoked")))
        for car in revoked - self._cleared_cars:
            yield Outgoing(topic=topics.DESIRED.topic(id=car), body=b"", retained=True)
        self._cleared_cars = revoked
        for row in rows:
            topic = topics.DESIRED.topic(id=row.device)
            message = Desired(
                device=row.device,
                epoch=row.epoch,
                revision=row.revision,
                deployment=row.deployment,
                target=row.target,
                candidate=row.candidate,
                upload=row.upload,
                harm=row.harm,
                arms=_arms(row),
                draw=row.draw or "share",
            )
            body = seal(message, topic=topic, key=self._key)
            yield Outgoing(topic=topic, body=body, retained=True)
            self._sent_desired = row.id
            logger.info("desired_published device=%s revision=%d", row.device, row.revision)


def _log_refusal(topic: str, error: RefusedError) -> None:
    logger.warning("refused topic=%.200r reason=%r", topic, str(error))


def _arms(row: Row[Any]) -> dict[str, float]:
    """Return between which models a car shares its driving, and how much each drives."""
    if row.share is None or row.target is None or row.candidate is None:
        return {}
    return {row.target: 1.0 - row.share, row.candidate: row.share}
