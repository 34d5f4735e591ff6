"""The agent's rules with their IO around them: one thread, one connection, one socket to drive.

Laws:
- a message is acknowledged after its rules returned, and only then;
- a passing fault of disk or journal costs that event, which comes again or is kept by the rules,
  and never the process; its message is acknowledged, since a broker that waits for too many
  acknowledgements sends nothing more;
- what a child process (a probe, a self-test) found is handed over until the rules have taken it.
"""

import logging
import os
import random

from device.agent.effects import (
    Effect,
    ProbeEnded,
    Publish,
    StartProbe,
    StartSelftest,
    StopProbe,
    Subscribe,
    ToDrive,
    Unsubscribe,
)
from device.agent.enrolment import BrokerPlace, broker_address, load_enrolment, load_signing_key
from device.agent.presence import Presences
from device.agent.probe import ProbeProcess
from device.agent.selftesting import SelftestProcess
from device.agent.session import Agent
from device.agent.status import NO_BOOT
from device.home import Home
from device.journal import Journal
from device.live import Live, LiveSocket, Nudge
from shared.clock import Clock
from shared.errors import RetryLaterError
from shared.mqtt import Connection
from shared.mqtt_events import Connected, Disconnected, Received

logger = logging.getLogger(__name__)

_WAIT_S = 0.05
_PROBE_AGAIN_US = 10_000_000


class Shell:
    """The agent's rules with their IO around them."""

    def __init__(self, home: Home, clock: Clock, place: BrokerPlace | None = None) -> None:
        """Open everything in `home`; `close` releases it. `place` overrules the enrolment's.

        Raises:
            UsageError: the car is not enrolled, or a file of its home cannot be used.
            RetryLaterError: the journal is busy or the disk full.
        """
        enrolment = load_enrolment(home)
        address = broker_address(home, enrolment, place)
        key = load_signing_key(home)
        home.create()
        self._home = home
        self._clock = clock
        self.journal = Journal.open(home.journal)
        drive = self.journal.drive_state()
        self._presences = Presences(
            home.connections, device=enrolment.device, boot=drive.boot if drive else NO_BOOT
        )
        self._live = LiveSocket(home.agent_socket, home.drive_socket)
        self._probe: tuple[str, ProbeProcess] | None = None
        self._unstarted: tuple[StartProbe, int] | None = None
        self._selftest: SelftestProcess | None = None
        self._connection = Connection(address, will=self._presences.will)
        self.agent = Agent(
            home=home,
            journal=self.journal,
            enrolment=enrolment,
            key=key,
            presences=self._presences,
            owner_level=home.settings().upload,
            clock=clock,
            # Jitter that differs from car to car and from start to start.
            rng=random.Random(os.urandom(16)),  # noqa: S311 - spreads load, guards nothing
        )
        self.refusal = ""

    def start(self) -> None:
        """Begin to connect, and take up what was left to do."""
        self._connection.start()
        self._do(self.agent.start())

    def step(self, wait_s: float = _WAIT_S) -> None:
        """Wait for the next event, at most `wait_s`, and do what is due."""
        event = self._connection.next_event(wait_s)
        if event is not None:
            self._take(event)
        self._hear_drive()
        self._start_probe_again()
        self._look_at_probe()
        self._look_at_selftest()
        self.agent.dropped = self._connection.dropped
        try:
            self._do(self.agent.tick())
        except RetryLaterError as error:
            logger.warning("retry_later reason=%s", error)

    def close(self) -> None:
        """Say good-bye and release everything."""
        self._stop_probe()
        if self._selftest is not None:
            self._selftest.stop()
        self._connection.stop(last_words=self._presences.say(online=False))
        self._live.close()
        self.journal.close()

    def _take(self, event: Connected | Disconnected | Received) -> None:
        if isinstance(event, Disconnected) and event.reason != self.refusal:
            self.refusal = event.reason
            logger.info("no_connection reason=%s", event.reason)
        try:
            effects = self.agent.handle(event)
        except RetryLaterError as error:
            logger.warning("retry_later reason=%s", error)
            effects = []
        if isinstance(event, Received):
            self._connection.acknowledge(event)
        self._do(effects)

    def _hear_drive(self) -> None:
        while (message := self._live.receive()) is not None:
            if isinstance(message, Live):
                self._do(self.agent.live(message))

    def _look_at_probe(self) -> None:
        if self._probe is None:
            return
        target, process = self._probe
        verdict = process.poll()
        if verdict is None:
            return
        ended = ProbeEnded(target=target, reason=verdict.reason, evidence=verdict.evidence)
        try:
            effects = self.agent.handle(ended)
        except RetryLaterError as error:
            # The verdict stays, and is handed over again at the next look.
            logger.warning("retry_later reason=%s", error)
            return
        self._probe = None
        self._do(effects)

    def _look_at_selftest(self) -> None:
        ended = self._selftest.poll() if self._selftest is not None else None
        if ended is not None:
            self._selftest = None
            self._do(self.agent.handle(ended))

    def _do(self, effects: list[Effect]) -> None:
        for effect in effects:
            match effect:
                case Publish():
                    self._publish(effect)
                case Subscribe(topic_filter=topic_filter):
                    self._connection.subscribe(topic_filter)
                case Unsubscribe(topic_filter=topic_filter):
                    self._connection.unsubscribe(topic_filter)
                case ToDrive(what=what):
                    self._live.send(Nudge(what=what))
                case StartProbe():
                    self._start_probe(effect)
                case StartSelftest():
                    self._selftest = SelftestProcess(self._home, effect, self._clock)
                case StopProbe():
                    self._stop_probe()

    def _publish(self, effect: Publish) -> None:
        try:
            self._connection.publish(
                effect.topic, effect.payload, qos=effect.qos, retained=effect.retained
            )
        except RetryLaterError as error:
            # Rows wait in the journal, states are reported anew: nothing is lost with it.
            logger.debug("not_published topic=%s reason=%s", effect.topic, error)

    def _start_probe(self, wanted: StartProbe) -> None:
        self._stop_probe()
        try:
            process = ProbeProcess(self._home, wanted.sha256, self._clock)
        except RetryLaterError as error:
            # No news about the model: it is tried again, and neither refused nor forgotten.
            logger.warning("retry_later reason=%s", error)
            self._unstarted = (wanted, self._clock.monotonic_us() + _PROBE_AGAIN_US)
            return
        self._probe = (wanted.target, process)

    def _start_probe_again(self) -> None:
        if self._unstarted is not None and self._clock.monotonic_us() >= self._unstarted[1]:
            self._start_probe(self._unstarted[0])

    def _stop_probe(self) -> None:
        self._unstarted = None
        if self._probe is not None:
            self._probe[1].stop()
            self._probe = None
