"""The agent's rules as one object: an event goes in, effects come out; no socket, no thread.

Laws:
- what a message changes is in the journal before `handle` returns;
- a message that is not signed for exactly this car and topic by the server's key changes nothing;
  an operator's own key, which the server named, signs commands and nothing else;
- the wish in force is acted upon at every look, so that nothing depends on having seen it arrive;
- the journal is read a page at a time, whatever waits in it.
"""

import logging
import random

from device.agent.effects import Effect, ProbeEnded, Publish, SelftestEnded, Subscribe
from device.agent.enrolment import Enrolment
from device.agent.obeying import Obeying
from device.agent.operators import OperatorKeys
from device.agent.presence import Presences
from device.agent.progress import Progress
from device.agent.status import NO_BOOT, Statuses
from device.agent.updating import Updating
from device.agent.uploading import Uploading
from device.agent.watching import Watching
from device.agent.wishes import Wishes
from device.home import Home
from device.journal import Journal
from device.live import Live
from shared import codec
from shared.clock import Clock
from shared.errors import RefusedError, RetryLaterError
from shared.messages import Chunk, ReleaseMetadata, UploadLevel
from shared.mqtt_events import Connected, Disconnected, Event, Received
from shared.signing import SigningKey
from shared.topics import (
    COMMAND,
    DESIRED,
    OPERATORS,
    RECEIPT,
    RELEASE_METADATA,
    RELEASE_TARGET,
    TELEMETRY,
    match,
)

logger = logging.getLogger(__name__)

_LOOK_US = 500_000
_TELEMETRY_US = 200_000


class Agent:
    """One car's agent."""

    def __init__(
        self,
        *,
        home: Home,
        journal: Journal,
        enrolment: Enrolment,
        key: SigningKey,
        presences: Presences,
        owner_level: UploadLevel,
        clock: Clock,
        rng: random.Random,
    ) -> None:
        """Take up where the journal stands; `owner_level` is the owner's consent."""
        self._journal = journal
        self._device = enrolment.device
        self._server_key = enrolment.server_key
        self._presences = presences
        self._clock = clock
        self.is_connected = False
        self._hears_releases = False
        self._look_at_us = self._telemetry_at_us = 0
        self._statuses = Statuses(
            journal,
            device=self._device,
            deployment=enrolment.deployment,
            clock=clock,
            folder=home.root,
        )
        self._wishes = Wishes(journal, self._device, self._server_key)
        self.refused = 0
        self.dropped = 0
        self.uploading = Uploading(
            journal=journal,
            device=self._device,
            key=key,
            server_key=self._server_key,
            owner_level=owner_level,
            clock=clock,
            rng=rng,
        )
        desired = self._wishes.in_force
        self.uploading.allow(desired.upload if desired else "pictures")
        self.updating = Updating(
            home=home,
            journal=journal,
            task=enrolment.task,
            clock=clock,
            rng=rng,
            progress=Progress(
                journal=journal,
                device=self._device,
                clock=clock,
                boot=lambda: presences.boot,
                is_discreet=lambda: self.uploading.level == "none",
            ),
        )
        self.watching = Watching(home, journal, self.updating)
        self._operators = OperatorKeys(home.operators, self._server_key, clock)
        self.obeying = Obeying(
            device=self._device,
            server_key=self._server_key,
            operators=self._operators,
            journal=journal,
            uploading=self.uploading,
            presences=presences,
            clock=clock,
        )

    @property
    def is_settled(self) -> bool:
        """Whether everything that may leave the car has left it, for good."""
        return self.is_connected and (self.uploading.level == "none" or self.uploading.is_settled)

    def start(self) -> list[Effect]:
        """Return what is left to do from before."""
        return self.updating.start()

    def handle(self, event: Event | ProbeEnded | SelftestEnded) -> list[Effect]:
        """Return what to do about an event.

        Raises:
            RetryLaterError: the journal or the disk did not take what had to be kept.
        """
        match event:
            case Connected():
                return self._connected()
            case Disconnected(reason=reason):
                return self._disconnected(reason)
            case ProbeEnded():
                return self.updating.probe_ended(event)
            case SelftestEnded():
                return self.obeying.selftest_ended(event)
            case Received():
                return self._received(event)

    def live(self, live: Live) -> list[Effect]:
        """Return what to do about what drive says of itself."""
        self.obeying.hear(live)
        if live.logged:
            self.uploading.hurry()
        now_us = self._clock.monotonic_us()
        if (
            not self.is_connected
            or self.uploading.level == "none"
            or now_us < self._telemetry_at_us
        ):
            return []
        self._telemetry_at_us = now_us + _TELEMETRY_US
        payload = codec.encode(live.telemetry)
        return [Publish(topic=TELEMETRY.topic(id=self._device), payload=payload, qos=0)]

    def tick(self) -> list[Effect]:
        """Return what is due; to be called often.

        Raises:
            RetryLaterError: the journal or the disk does not answer now.
        """
        effects = self.uploading.tick()
        now_us = self._clock.monotonic_us()
        if now_us >= self._look_at_us:
            self._look_at_us = now_us + _LOOK_US
            effects += self._look(now_us)
        return effects

    def _connected(self) -> list[Effect]:
        self.is_connected = True
        self.obeying.connected()
        self._statuses.connected()
        self._look_at_us = 0
        self.uploading.connected()
        logger.info("connected number=%d boot=%s", self._presences.connection, self._presences.boot)
        filters = (
            RECEIPT.filter(id=self._device),
            DESIRED.filter(id=self._device),
            COMMAND.filter(id=self._device),
            OPERATORS.filter(),
        )
        subscribe: list[Effect] = [Subscribe(topic_filter=each) for each in filters]
        self._hears_releases = False
        subscribe += self._hear_releases()
        return [*subscribe, self._presence(), *self.updating.connected()]

    def _hear_releases(self) -> list[Effect]:
        """Ask for release metadata, once a connection, as soon as they are needed."""
        if self._hears_releases or not self.is_connected or not self.updating.needs_metadata:
            return []
        self._hears_releases = True
        return [Subscribe(topic_filter=RELEASE_METADATA.filter())]

    def _disconnected(self, reason: str) -> list[Effect]:
        if self.is_connected:
            logger.info("disconnected reason=%s", reason)
        self.is_connected = False
        self.uploading.disconnected()
        self.updating.disconnected()
        return []

    def _presence(self) -> Publish:
        said = self._presences.say(online=True)
        return Publish(topic=said.topic, payload=said.payload, qos=said.qos, retained=said.retained)

    def _look(self, now_us: int) -> list[Effect]:
        """Look at what others changed in the journal, and report."""
        drive = self._journal.drive_state()
        boot = drive.boot if drive else NO_BOOT
        effects: list[Effect] = []
        if boot != self._presences.boot:
            self._presences.boot = boot
            effects += [self._presence()] if self.is_connected else []
        if self._wishes.unkept is not None:
            effects += self._wish(self._wishes.unkept)
        if (desired := self._wishes.in_force) is not None:
            effects += self.updating.wish(desired)
        effects += self.updating.tick()
        effects += self._hear_releases()
        try:
            if self.watching.look():
                self.uploading.hurry()
            effects += self.updating.decide()
            if self.is_connected:
                effects += self._statuses.due(now_us, self.uploading.level, self._faults())
        except RetryLaterError as error:
            # What the update asked for above must not be lost with a report.
            logger.info("report_waits reason=%s", error)
        return effects

    def _faults(self) -> tuple[str, ...]:
        progress = self.updating.progress
        state = progress.state.state
        faults = (
            f"update waits: {self.updating.trouble}" if self.updating.trouble else "",
            f"model refused: {progress.reason}" if state == "refused" else "",
            f"model rolled back: {progress.reason}" if state == "rolled_back" else "",
            # The measured error is manoeuvre data.
            self.watching.fault if self.uploading.level != "none" else "",
            f"messages refused: {self.refused}" if self.refused else "",
            f"messages dropped: {self.dropped}" if self.dropped else "",
            *self.obeying.drive_faults,
        )
        return tuple(filter(None, faults))

    def _received(self, message: Received) -> list[Effect]:
        try:
            return self._route(message)
        except RefusedError as error:
            self.refused += 1
            logger.warning("message_refused topic=%s reason=%s", message.topic[:120], error)
            return []

    def _route(self, message: Received) -> list[Effect]:
        found = match(message.topic)
        row, parts = found or (None, {})
        if parts.get("id", self._device) != self._device:
            raise RefusedError("addressed to another car")
        if row is RECEIPT:
            return self.uploading.receipt(message.payload, message.topic)
        if row is DESIRED:
            return self._wish(message)
        if row is COMMAND:
            return self.obeying.command(message, parts["actor"])
        if row is OPERATORS:
            self._operators.take(message.payload)
            return []
        if row is RELEASE_METADATA:
            return self.updating.metadata(
                codec.decode(ReleaseMetadata, message.payload, limit_bytes=row.limit_bytes)
            )
        if row is RELEASE_TARGET and parts["n"].isdecimal() and len(parts["n"]) < 8:
            piece = codec.decode(Chunk, message.payload, limit_bytes=row.limit_bytes)
            return self.updating.piece(parts["sha256"], int(parts["n"]), piece.data)
        raise RefusedError("not a topic of this car")

    def _wish(self, message: Received) -> list[Effect]:
        wish = self._wishes.take(message)
        if wish is None:
            return []
        self.uploading.allow(wish.upload)
        self._look_at_us = 0
        return self.updating.wish(wish)
