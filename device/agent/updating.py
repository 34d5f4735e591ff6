"""Carries out `device.update`: saves each state, does its work, tells the server.

Laws:
- a state is in the journal before its work begins;
- what fails in passing (disk, metadata not there yet) is tried again later and named in `trouble`;
- the slot is pointed at a model by one transaction, and drive is only nudged to look;
- an active model that was damaged on the disk is thrown away at the start and fetched again, since
  drive would refuse it at every start.
"""

import logging
import random
from collections.abc import Callable

from device import update
from device.agent.chunks import ChunkStore, Requests, discard, is_damaged, sweep
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
from device.agent.releases import ReleaseClient, SignedRelease
from device.home import Home
from device.journal import Journal
from device.update import Damaged, Event, Fetched, Passed, Resolved, Saved, Unfit, Verified, Wanted
from shared import __version__, codec
from shared.clock import Clock
from shared.errors import RefusedError, RetryLaterError
from shared.messages import ReleaseMetadata, UpdateEvent
from shared.task import Task
from shared.topics import RELEASE_TARGET, UPDATE

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
        device: str,
        clock: Clock,
        rng: random.Random,
        boot: Callable[[], str],
    ) -> None:
        """Take up the saved state; its work begins with `start`."""
        self._home = home
        self._journal = journal
        self._task = task
        self._device = device
        self._clock = clock
        self._boot = boot
        self._client = ReleaseClient(home, clock)
        self._requests = Requests(rng)
        self._metadata: ReleaseMetadata | None = None
        self._store: ChunkStore | None = None
        self._retry_at_us: int | None = None
        self._is_connected = False
        self._saved = update.load(journal.update_state())
        self.trouble = ""

    @property
    def state(self) -> Saved:
        """The state in the journal."""
        return self._saved

    def start(self) -> list[Effect]:
        """Go on after a start of the process."""
        active = self._journal.active_model()
        if active is not None and is_damaged(self._home, active):
            logger.warning("model_damaged model=%s", active[:12])
            discard(self._home, active)
        resumed = update.resume(self._saved)
        if resumed != self._saved:
            self._save(resumed)
        return self._work()

    def report(self) -> list[Effect]:
        """Tell the server the present state; also on every connection, since reports get lost."""
        saved = self._saved
        if saved.target is None:
            return []
        event = UpdateEvent(
            device=self._device,
            boot=self._boot(),
            utc_us=self._clock.utc_us(),
            number=saved.number,
            target=saved.target,
            model=saved.model,
            state=saved.state,
            reason=saved.reason,
            evidence=saved.evidence,
        )
        return [Publish(topic=UPDATE.topic(id=self._device), payload=codec.encode(event))]

    def connected(self) -> list[Effect]:
        """Report, and ask again for what the last connection did not bring."""
        self._is_connected = True
        self._requests.restart()
        return [*self.report(), *self._ask()]

    def disconnected(self) -> None:
        """Forget what was asked for."""
        self._is_connected = False
        self._requests.restart()

    def wish(self, target: str | None) -> list[Effect]:
        """Do what the server wants; to be called as often as one likes."""
        active = self._journal.active_model()
        if active is not None and not self._home.model(active).exists():
            active = None  # A slot that points at nothing is no reason to leave a wish undone.
        before = self._saved
        moved = update.advance(before, Wanted(target=target, active=active))
        if moved is None:
            return []
        left = self._leave()
        self._save(moved)
        logger.info("update_wish target=%s was=%s", target, before.state)
        return [*left, *self.report(), *self._work()]

    def metadata(self, message: ReleaseMetadata) -> list[Effect]:
        """Take the newest release metadata."""
        self._metadata = message
        return self._work() if self._saved.state == "fetching" else []

    def piece(self, sha256: str, number: int, data: bytes) -> list[Effect]:
        """Take a piece of a model.

        Raises:
            RefusedError: it is not a piece of the model that is being fetched.
            RetryLaterError: the disk is full or fails.
        """
        silence = Unsubscribe(topic_filter=RELEASE_TARGET.topic(sha256=sha256, n=number))
        store = self._store
        if store is None or store.sha256 != sha256 or self._saved.state != "fetching":
            return [silence]
        store.put(number, data)
        self._requests.answered(number)
        return [silence, *(self._ask() if store.missing else self._have_all())]

    def probe_ended(self, ended: ProbeEnded) -> list[Effect]:
        """Take the probe's word."""
        if ended.reason:
            evidence = ended.evidence
            return self._apply(Unfit(target=ended.target, reason=ended.reason, evidence=evidence))
        return self._apply(Passed(target=ended.target, evidence=ended.evidence))

    def tick(self) -> list[Effect]:
        """Try again what failed in passing; ask again for pieces that did not come."""
        now_us = self._clock.monotonic_us()
        if self._retry_at_us is not None and now_us >= self._retry_at_us:
            return self._work()
        if self._store is not None and not self._store.missing:
            return self._have_all()
        return self._ask()

    def _apply(self, event: Event) -> list[Effect]:
        moved = update.advance(self._saved, event)
        if moved is None:
            return []
        self._save(moved)
        return [*self.report(), *self._work()]

    def _save(self, moved: Saved) -> None:
        self._journal.set_update_state(update.dump(moved))
        self._saved = moved
        logger.info(
            "update_state state=%s target=%s reason=%r", moved.state, moved.target, moved.reason
        )

    def _work(self) -> list[Effect]:
        """Do the present state's work; every one of these may be done again."""
        self._retry_at_us = None
        self.trouble = ""
        target = self._saved.target
        if target is None:
            return []
        try:
            match self._saved.state:
                case "fetching":
                    return self._fetch(target)
                case "verifying":
                    return self._verify(target)
                case "probing":
                    return self._probe(target)
                case "committing":
                    return self._commit(target)
                case _:
                    self._tidy()
                    return []
        except RetryLaterError as error:
            self.trouble = str(error)[:150]
            self._retry_at_us = self._clock.monotonic_us() + _RETRY_US
            logger.info("update_waits state=%s reason=%s", self._saved.state, error)
            return []

    def _fetch(self, target: str) -> list[Effect]:
        if self._metadata is None:
            return []
        try:
            signed = self._client.find(self._metadata, target)
            update.check_release(
                signed.release,
                target=target,
                size_bytes=signed.size_bytes,
                task=self._task,
                newest=self._saved.newest,
                in_slots=self._in_slots(),
                device_version=__version__,
            )
        except RefusedError as error:
            return self._apply(Unfit(target=target, reason=str(error)))
        reported = self._resolved(target, signed)
        if self._store is None or self._store.signed != signed:
            self._store = ChunkStore(self._home, signed)
        if self._home.model(self._store.sha256).exists() or not self._store.missing:
            return [*reported, *self._have_all()]
        return [*reported, *self._ask()]

    def _resolved(self, target: str, signed: SignedRelease) -> list[Effect]:
        release = signed.release
        event = Resolved(
            target=target, model=release.manifest.sha256, release_seq=release.release_seq
        )
        moved = update.advance(self._saved, event)
        if moved is None:
            return []
        self._save(moved)
        return self.report()

    def _have_all(self) -> list[Effect]:
        return self._apply(Fetched(target=self._saved.target or ""))

    def _ask(self) -> list[Effect]:
        store = self._store
        if self._saved.state != "fetching" or store is None or not self._is_connected:
            return []
        topics = [
            RELEASE_TARGET.topic(sha256=store.sha256, n=number)
            for number in self._requests.ask(store.missing, self._clock.monotonic_us())
        ]
        # A retained message comes once for each subscription, so asking again means leaving first.
        effects: list[Effect] = []
        for topic in topics:
            effects += [Unsubscribe(topic_filter=topic), Subscribe(topic_filter=topic)]
        return effects

    def _verify(self, target: str) -> list[Effect]:
        store = self._store or ChunkStore.resume(self._home, self._saved.model or "")
        self._store = None
        if store is None:
            return self._apply(Damaged(target=target, reason="the release's description was lost"))
        try:
            store.install()
        except RefusedError as error:
            return self._apply(Damaged(target=target, reason=str(error)))
        return self._apply(Verified(target=target))

    def _probe(self, target: str) -> list[Effect]:
        return [StartProbe(target=target, sha256=self._saved.model or "")]

    def _commit(self, target: str) -> list[Effect]:
        self._journal.commit_slot(self._saved.model or "", self._saved.release_seq)
        return [ToDrive(what="model"), *self._apply(update.Committed(target=target))]

    def _leave(self) -> list[Effect]:
        """Stop what the present state has under way."""
        effects: list[Effect] = []
        if self._saved.state == "probing":
            effects.append(StopProbe())
        if self._store is not None:
            effects += [
                Unsubscribe(topic_filter=RELEASE_TARGET.topic(sha256=self._store.sha256, n=number))
                for number in self._requests.asked
            ]
        self._requests.restart()
        self._store = None
        return effects

    def _in_slots(self) -> set[str | None]:
        return {slot.sha256 for slot in self._journal.slots()}

    def _tidy(self) -> None:
        drive = self._journal.drive_state()
        loaded = drive.loaded if drive else None
        sweep(self._home, {each for each in (*self._in_slots(), loaded) if each})
