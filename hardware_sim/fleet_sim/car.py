"""One car of a simulated fleet: it wakes, drives, syncs, and sleeps again.

Laws:
- agent and journal are the device's own, over the car's own files; what drive would do (a boot, a
  manoeuvre's pairs, loading a model, drawing which of two drives) is done at the journal, where
  agent looks for it, by the rules that drive keeps;
- a car that sleeps holds nothing open: all that it must remember lies in its home;
- it sleeps once everything has left it and no update is under way, or after `AWAKE_US`, whatever is
  left then.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from device.agent.effects import (
    Effect,
    ProbeEnded,
    Publish,
    StartProbe,
    StopProbe,
    Subscribe,
    ToDrive,
    Unsubscribe,
)
from device.agent.enrolment import Enrolment
from device.agent.presence import Presences
from device.agent.probe import Verdict
from device.agent.session import Agent
from device.home import Home
from device.journal import DriveState, Journal, JournalCounts
from device.journal.state import OFF
from hardware_sim.fleet_sim.habits import Driven, Habits, driven, models_of
from hardware_sim.fleet_sim.links import Link
from hardware_sim.fleet_sim.reels import Log, Reel, pairs
from shared.clock import Clock
from shared.errors import RetryLaterError
from shared.mqtt_events import Received
from shared.signing import SigningKey

AWAKE_US: Final = 120_000_000
"""The longest that a car stays awake for the sake of its sync."""

TICK_US: Final = 250_000
"""How often an awake car looks around."""

_LOOK_US: Final = 500_000
"""How often its agent looks at its journal."""

_PAUSE_US: Final = 2 * _LOOK_US
"""Between two manoeuvres of a trip: long enough for the agent to learn from the first."""

_PROBE_US: Final = 3_000_000
_BUSY: Final = ("fetching", "verifying", "probing", "committing")


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Who a car is."""

    home: Home
    enrolment: Enrolment
    key: SigningKey


Probe = Callable[[Home, str], Verdict]
"""Tries the model with the given digest in a home."""


class Car:
    """One car; `wake`, then `step` every `TICK_US` until it says that it sleeps.

    `counts` are the journal's as the car last went to sleep, None before that; `passes` counts how
    often it did; `driven` are the manoeuvres that it drove by a model.
    """

    def __init__(
        self,
        who: Identity,
        *,
        link: Link,
        clock: Clock,
        rng: random.Random,
        probe: Probe,
        habits: Habits | None = None,
    ) -> None:
        """Start asleep; `habits` are what differs from car to car."""
        self.who = who
        self.habits = habits or Habits()
        self.link = link
        self.manoeuvres = 0
        self.pairs = 0
        self.passes = 0
        self.counts: JournalCounts | None = None
        self.driven: list[Driven] = []
        self._clock, self._rng, self._probe = clock, rng, probe
        self._trip: _Trip | None = None

    @property
    def is_awake(self) -> bool:
        """Tell whether the car is awake."""
        return self._trip is not None

    def wake(self, reel: Reel | None) -> None:
        """Start the computer, connect, and drive `reel` (None: only sync)."""
        home, now_us = self.who.home, self._clock.monotonic_us()
        journal = Journal.open(home.journal)
        boot = journal.start_boot(self._rng.randbytes(4))
        _report(journal, boot, self._clock)
        presences = Presences(home.connections, device=self.who.enrolment.device, boot=boot)
        agent = Agent(
            home=home,
            journal=journal,
            enrolment=self.who.enrolment,
            key=self.who.key,
            presences=presences,
            owner_level=self.habits.upload,
            clock=self._clock,
            rng=self._rng,
        )
        self._trip = _Trip(
            journal=journal,
            agent=agent,
            presences=presences,
            boot=boot,
            woke_us=now_us,
            begun_us=now_us,
            reel=reel,
            left=self.habits.manoeuvres if reel is not None else 0,
        )
        self.link.open(presences.will, now_us)
        self._do(self._trip, agent.start())

    def step(self) -> bool:
        """Take what arrived and do what is due; tell whether the car stays awake."""
        trip, now_us = self._trip, self._clock.monotonic_us()
        if trip is None:
            return False
        for event in self.link.poll(now_us):
            try:
                effects = trip.agent.handle(event)
            except RetryLaterError:
                continue  # Not acknowledged: it comes again.
            if isinstance(event, Received):
                self.link.acknowledge(event)
            self._do(trip, effects)
        if trip.reel is not None and now_us >= trip.begun_us + trip.reel.duration_us:
            self._log(trip, trip.reel)
            trip.left, trip.begun_us = trip.left - 1, now_us + _PAUSE_US
            trip.reel = trip.reel if trip.left else None
        if trip.verdict is not None and now_us >= trip.verdict_us:
            ended, trip.verdict = trip.verdict, None
            self._do(trip, trip.agent.handle(ended))
        self._do(trip, trip.agent.tick())
        if self._has_reason_to_stay(trip, now_us):
            return True
        self._sleep(trip)
        return False

    def leave(self) -> None:
        """Go to sleep now, whatever is left."""
        if self._trip is not None:
            self._sleep(self._trip)

    def _log(self, trip: "_Trip", reel: Reel) -> None:
        """Do what drive does during a manoeuvre, at its end."""
        desired = trip.journal.desired()
        number = self.habits.manoeuvres - trip.left + 1
        models = models_of(trip.journal, self.who.enrolment.device, trip.boot, number)
        answer = self.habits.answers(models, self._rng)
        log = Log(
            device=self.who.enrolment.device,
            deployment=desired.deployment if desired else self.who.enrolment.deployment,
            desired_revision=desired.revision if desired else 0,
            boot=trip.boot,
            manoeuvre=number,
            first_sequence=trip.sequence,
            started_us=trip.begun_us,
            answer=answer,
        )
        samples, end = pairs(reel, log)
        trip.journal.append(samples=samples, manoeuvres=[end])
        trip.sequence += len(samples)
        if models:
            self.driven.append(driven(self._clock.utc_us(), models[0], [s for s, _ in samples]))
        self.manoeuvres += 1
        self.pairs += len(samples)
        trip.agent.uploading.hurry()

    def _has_reason_to_stay(self, trip: "_Trip", now_us: int) -> bool:
        if now_us - trip.woke_us >= AWAKE_US:
            return False
        is_busy = now_us < trip.stays_until_us or trip.agent.updating.progress.state.state in _BUSY
        return trip.reel is not None or is_busy or not trip.agent.is_settled

    def _sleep(self, trip: "_Trip") -> None:
        self.passes += 1
        _report(trip.journal, trip.boot, self._clock, state=OFF)
        self.counts = trip.journal.counts()
        self.link.close(trip.presences.say(online=False))
        trip.journal.close()
        self._trip = None

    def _do(self, trip: "_Trip", effects: list[Effect]) -> None:
        now_us = self._clock.monotonic_us()
        for effect in effects:
            match effect:
                case Publish():
                    self.link.publish(effect, now_us)
                case Subscribe(topic_filter=topic_filter):
                    self.link.subscribe(topic_filter, now_us)
                case Unsubscribe(topic_filter=topic_filter):
                    self.link.unsubscribe(topic_filter)
                case ToDrive(what="model"):
                    _report(trip.journal, trip.boot, self._clock)
                    # Long enough for the agent to see it and to tell the fleet.
                    trip.stays_until_us = now_us + 2 * _LOOK_US
                case ToDrive():
                    pass  # The car stands already.
                case StartProbe(target=target, sha256=sha256):
                    verdict = self._probe(self.who.home, sha256)
                    trip.verdict_us = now_us + _PROBE_US
                    trip.verdict = ProbeEnded(
                        target=target, reason=verdict.reason, evidence=verdict.evidence
                    )
                case StopProbe():
                    trip.verdict = None


@dataclass(kw_only=True)
class _Trip:
    """What an awake car has open."""

    journal: Journal
    agent: Agent
    presences: Presences
    boot: str
    woke_us: int
    reel: Reel | None
    begun_us: int = 0
    left: int = 0
    sequence: int = 0
    verdict: ProbeEnded | None = None
    verdict_us: int = 0
    stays_until_us: int = 0


def _report(journal: Journal, boot: str, clock: Clock, *, state: str = "idle") -> None:
    """Say what drive would: that the model of the active slot is in memory."""
    active = next((slot for slot in journal.slots() if slot.state == "active"), None)
    journal.set_drive_state(
        DriveState(
            boot=boot,
            loaded=active.sha256 if active else None,
            release_seq=active.release_seq if active else 0,
            state=state,
            utc_us=clock.utc_us(),
        )
    )
