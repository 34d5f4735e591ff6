"""Carries out `device.update`: goes from state to state, and does the work of each.

Laws:
- a state is in the journal before its work begins;
- what fails in passing (disk, metadata not there yet) is tried again later and named in `trouble`;
- the slot is pointed at a model by one transaction, and drive is only nudged to look;
- whether a candidate is better is decided here, with no network.
"""

import logging
import random
from dataclasses import replace

from device.agent.effects import (
    Effect,
    ProbeEnded,
    StartProbe,
    StopProbe,
    ToDrive,
    Unsubscribe,
)
from device.agent.fetching import Fetching
from device.agent.holding import Holding
from device.agent.progress import Progress
from device.agent.releases import SignedRelease
from device.agent.trying import Closed, Trying, conclusion
from device.home import Home
from device.journal import Journal
from device.update import table, wish
from device.update.saved import Saved, is_tried
from device.update.table import (
    Better,
    Damaged,
    Event,
    Fetched,
    Passed,
    Resolved,
    Unfit,
    Verified,
)
from shared.clock import Clock
from shared.errors import RefusedError, RetryLaterError
from shared.messages import Desired, ReleaseMetadata
from shared.task import Task
from shared.topics import RELEASE_TARGET

logger = logging.getLogger(__name__)

_RETRY_US = 10_000_000


class Updating:
    """The model update of one car."""

    def __init__(
        self,
        *,
        home: Home,
        journal: Journal,
        task: Task,
        clock: Clock,
        rng: random.Random,
        progress: Progress,
    ) -> None:
        """Begin where `progress` is; its work begins with `start`."""
        self._journal = journal
        self._holding = Holding(home, journal, task)
        self._clock = clock
        self._fetching = Fetching(home, clock, rng)
        self._retry_at_us: int | None = None
        self.progress = progress
        self.trying = Trying(home, journal, task, clock)
        self.trouble = ""

    @property
    def _saved(self) -> Saved:
        return self.progress.state

    @property
    def needs_metadata(self) -> bool:
        """Whether to listen to release metadata, beyond those that describe what is fetched now."""
        return not self._fetching.is_under_way

    def start(self) -> list[Effect]:
        """Go on after a start of the process."""
        self._holding.throw_away_damaged()
        resumed = table.resume(self._saved)
        if resumed != self._saved:
            self.progress.save(resumed)
        return self._work()

    def connected(self) -> list[Effect]:
        """Report, and ask again for what the last connection did not bring."""
        self._fetching.connected()
        return [*self.progress.report(), *self._ask()]

    def disconnected(self) -> None:
        """Forget what was asked for."""
        self._fetching.disconnected()

    def wish(self, desired: Desired) -> list[Effect]:
        """Do what the server wants; to be called as often as one likes."""
        before = self._saved
        moved = table.advance(before, wish.wanted(desired, self._holding.active))
        if moved is None:
            return []
        left = self._leave()
        self.progress.save(moved)
        logger.info("update_wish target=%s was=%s", moved.target, before.state)
        return [*left, *self.progress.report(), *self._work()]

    def metadata(self, message: ReleaseMetadata) -> list[Effect]:
        """Take the newest release metadata."""
        self._fetching.metadata = message
        return self._work() if self._saved.state == "fetching" else []

    def piece(self, sha256: str, number: int, data: bytes) -> list[Effect]:
        """Take a piece of a model.

        Raises:
            RefusedError: it is not a piece of the model that is being fetched.
            RetryLaterError: the disk is full or fails.
        """
        silence = Unsubscribe(topic_filter=RELEASE_TARGET.topic(sha256=sha256, n=number))
        if self._saved.state != "fetching" or not self._fetching.take(sha256, number, data):
            return [silence]
        return [silence, *(self._have_all() if self._fetching.is_complete else self._ask())]

    def probe_ended(self, ended: ProbeEnded) -> list[Effect]:
        """Take the probe's word."""
        if ended.reason:
            evidence = ended.evidence
            return self._apply(Unfit(target=ended.target, reason=ended.reason, evidence=evidence))
        return self._apply(Passed(target=ended.target, evidence=ended.evidence))

    def tick(self) -> list[Effect]:
        """Try again what failed in passing; ask again for pieces; judge who is on trial."""
        now_us = self._clock.monotonic_us()
        if self._retry_at_us is not None and now_us >= self._retry_at_us:
            return self._work()
        if self._saved.state == "fetching":
            return self._have_all() if self._fetching.is_complete else self._ask()
        return []

    def learnt(self, closed: Closed) -> Saved | None:
        """Return the state after a manoeuvre, or None where it tells nothing.

        Whoever saves it in the transaction that consumes the manoeuvre gives it to
        `progress.take_up` then.
        """
        desired = self._journal.desired()
        harmed = closed.harmed or (desired is not None and desired.harm)
        known = self.trying.learn(self._saved, replace(closed, harmed=harmed))
        return None if known == self._saved else known

    def decide(self) -> list[Effect]:
        """Draw the conclusions from what was learnt of candidate and model in service.

        Raises:
            RetryLaterError: the journal does not answer now.
        """
        watched = self.trying.look(self._saved)
        if watched != self._saved:
            self.progress.save(watched)
        event = conclusion(self._saved)
        if event is not None:
            return self._apply(event)
        # How two arms do is told manoeuvre by manoeuvre: the fleet decides between them.
        return [] if self.progress.is_told else self.progress.report()

    def _apply(self, event: Event) -> list[Effect]:
        moved = table.advance(self._saved, event)
        if moved is None:
            return []
        left = self._leave() if isinstance(event, table.Failed) else []
        self.progress.save(moved)
        settled: list[Effect] = []
        if isinstance(event, table.Kept):
            self._journal.settle_slots()
            settled = [ToDrive(what="model")]
        return [*left, *settled, *self.progress.report(), *self._work()]

    def _work(self) -> list[Effect]:
        """Do the present state's work; every one of these may be done again."""
        self._retry_at_us = None
        self.trouble = ""
        target = self._saved.target
        if target is None:
            return []
        try:
            return self._work_for(target)
        except RetryLaterError as error:
            self.trouble = str(error)[:150]
            self._retry_at_us = self._clock.monotonic_us() + _RETRY_US
            logger.info("update_waits state=%s reason=%s", self._saved.state, error)
            return []

    def _work_for(self, target: str) -> list[Effect]:
        model = self._saved.model or ""
        match self._saved.state:
            case "fetching":
                return self._fetch(target)
            case "verifying":
                return self._verify(target)
            case "probing":
                return [StartProbe(target=target, sha256=model)]
            case "shadowing" | "choosing":
                return self._shadow(target, model)
            case "committing":
                return self._commit(target, model)
            case "refused":
                self._journal.refuse_slot(model)
            case "rolled_back":
                self._journal.step_back(model)
            case "idle":
                pass
        self._holding.tidy()
        return [] if self._saved.state == "idle" else [ToDrive(what="model")]

    def _fetch(self, target: str) -> list[Effect]:
        try:
            signed = self._fetching.find(target)
            if signed is None:
                return []
            self._holding.check(target, signed, self._saved)
        except RefusedError as error:
            return self._apply(Unfit(target=target, reason=str(error)))
        reported = self._resolved(target, signed)
        self._fetching.open(signed)
        if self._fetching.is_complete:
            return [*reported, *self._have_all()]
        return [*reported, *self._ask()]

    def _resolved(self, target: str, signed: SignedRelease) -> list[Effect]:
        release = signed.release
        event = Resolved(
            target=target, model=release.manifest.sha256, release_seq=release.release_seq
        )
        moved = table.advance(self._saved, event)
        if moved is None:
            return []
        self.progress.save(moved)
        return self.progress.report()

    def _have_all(self) -> list[Effect]:
        return self._apply(Fetched(target=self._saved.target or ""))

    def _ask(self) -> list[Effect]:
        return self._fetching.ask() if self._saved.state == "fetching" else []

    def _verify(self, target: str) -> list[Effect]:
        store = self._fetching.close(self._saved.model or "")
        if store is None:
            return self._apply(Damaged(target=target, reason="the release's description was lost"))
        try:
            store.install()
        except RefusedError as error:
            return self._apply(Damaged(target=target, reason=str(error)))
        return self._apply(Verified(target=target))

    def _shadow(self, target: str, model: str) -> list[Effect]:
        if self._journal.active_model() is None:
            return self._apply(Better(target=target, reason="nothing in service", evidence={}))
        begun = self.trying.begin_trial(self._saved)
        if begun != self._saved:
            self.progress.save(begun)
        self._journal.stage_slot(model, self._saved.release_seq)
        self._holding.tidy()
        return [ToDrive(what="model")]

    def _commit(self, target: str, model: str) -> list[Effect]:
        committed = self.trying.begin_probation(target, model)
        has_former = committed.probation is not None and committed.probation.reversed is not None
        self._journal.commit_slot(model, self._saved.release_seq, keep_asking=has_former)
        return [ToDrive(what="model"), *self._apply(committed)]

    def _leave(self) -> list[Effect]:
        """Stop what the present state has under way."""
        effects: list[Effect] = []
        if self._saved.state == "probing":
            effects.append(StopProbe())
        if is_tried(self._saved):
            self._journal.clear_shadow()
        return [*effects, *self._fetching.leave()]
