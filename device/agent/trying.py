"""Feeds `device.update.trial` and `probation` with what was driven, and draws the conclusions.

Laws:
- a closed manoeuvre is learnt from once: whoever calls `learn` saves what it returns in the
  transaction that consumes the manoeuvre;
- a conclusion is drawn from saved states alone, so that a kill before it was acted on loses none.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median

import msgspec

from device.agent.chunks import is_of_series
from device.home import Home
from device.journal import Journal
from device.update import arms, probation, trial
from device.update.probation import Manoeuvre, Probation
from device.update.saved import Saved, is_tried, step
from device.update.starts import ALIVE_US, Starts
from device.update.table import Better, Committed, Failed, Kept, Unfit
from device.update.trial import Trial
from shared.clock import Clock
from shared.releases import series_of
from shared.samples import Sample
from shared.task import Task


@dataclass(frozen=True, kw_only=True)
class Closed:
    """A manoeuvre that closed.

    `alarmed`: it made the watch over the error of the model in service raise an alarm; `harmed`:
    that model was declared harmful. `ended`: it was not cut short by a death.
    """

    samples: Sequence[Sample]
    ended: bool
    alarmed: bool
    harmed: bool


class Trying:
    """The trial and the probation of one car's models."""

    def __init__(self, home: Home, journal: Journal, task: Task, clock: Clock) -> None:
        """Look at drive through `journal`."""
        self._home = home
        self._journal = journal
        self._task = task
        self._clock = clock
        self._seen: tuple[str, str | None] | None = None
        self._since_us = 0

    def begin_trial(self, saved: Saved) -> Saved:
        """Return the state with a trial of its model beside the active one; begun before, it stays.

        Raises:
            RetryLaterError: the journal does not answer now.
        """
        active, model, known = self._journal.active_model() or "", saved.model or "", saved.trial
        if known is None or (known.incumbent, known.candidate) != (active, model):
            known = trial.begin(active, model, self._task)
            saved = msgspec.structs.replace(saved, trial=known, arms=None, starts=self._starts())
        if saved.state == "choosing" and saved.arms is None:
            saved = msgspec.structs.replace(saved, arms=arms.begin(active, model, self._task))
        return saved

    def begin_probation(self, target: str, model: str) -> Committed:
        """Return what begins the probation of `model`, which is about to become the active one.

        Raises:
            RetryLaterError: the journal does not answer now.
        """
        former = self._journal.active_model()
        if former == model:
            # Pointed at already, and killed before the state said so; or wanted once more.
            former = self._journal.shadow_model()
        if former is not None and not is_of_series(self._home, former, series_of(target)):
            former = None
        begun = probation.begin(target, model, former=former, task=self._task)
        return Committed(target=target, probation=begun, starts=self._starts())

    def learn(self, saved: Saved, closed: Closed) -> Saved:
        """Return what the update's state is after `closed`; the same where it tells nothing.

        Raises:
            RetryLaterError: the journal does not answer now.
        """
        if not _is_trying(saved):
            return saved
        if closed.ended and closed.samples:
            saved = msgspec.structs.replace(saved, starts=self._starts())
        if is_tried(saved) and saved.trial is not None:
            saved = _learn_of_trial(saved, saved.trial, closed)
        if saved.probation is not None:
            learnt_of = _learn_of(saved.probation, closed)
            saved = msgspec.structs.replace(saved, probation=learnt_of)
        return saved

    def look(self, saved: Saved) -> Saved:
        """Return the state after a look at whether drive gets anywhere.

        Raises:
            RetryLaterError: the journal does not answer now.
        """
        if not _is_trying(saved):
            return saved
        unclean = self._journal.unclean_starts()
        known = saved.starts.seen(unclean)
        if known.crashes and self._lives():
            known = Starts(unclean=unclean)
        return msgspec.structs.replace(saved, starts=known)

    def _starts(self) -> Starts:
        """Return the count of a drive that was just seen to live, or that begins with a model."""
        return Starts(unclean=self._journal.unclean_starts())

    def _lives(self) -> bool:
        """Tell whether drive has had a model in memory for long enough without a new start."""
        drive = self._journal.drive_state()
        seen = (drive.boot, drive.loaded) if drive else None
        now_us = self._clock.monotonic_us()
        if seen != self._seen:
            self._seen, self._since_us = seen, now_us
        is_loaded = seen is not None and seen[1] is not None
        return is_loaded and now_us - self._since_us >= ALIVE_US


def conclusion(saved: Saved) -> Better | Unfit | Failed | Kept | None:
    """Return what follows from what was learnt, if anything."""
    loop = f"{saved.starts.crashes} starts in a row came to nothing" if saved.starts.is_loop else ""
    if saved.probation is not None:
        return _of_probation(saved.probation, loop)
    if not is_tried(saved) or saved.trial is None or saved.target is None:
        return None
    if saved.state == "choosing":
        return _of_arms(saved, loop)
    return _of_trial(saved.target, saved.trial, loop)


def _is_trying(saved: Saved) -> bool:
    return is_tried(saved) or saved.probation is not None


def _learn_of_trial(saved: Saved, known: Trial, closed: Closed) -> Saved:
    pair = trial.compare(closed.samples, known)
    if pair is not None:
        known = trial.learn(known, pair, harmed=closed.harmed)
        saved = msgspec.structs.replace(saved, trial=known)
    if saved.state != "choosing" or saved.arms is None:
        return saved
    learnt = arms.learn(saved.arms, closed.samples, pair, cap=known.cap)
    if learnt == saved.arms:
        return saved
    # A step of its own, since the fleet's server tells reports apart by their number.
    return step(saved, arms=learnt, evidence=arms.evidence(learnt))


def _learn_of(known: Probation, closed: Closed) -> Probation:
    latencies = [
        float(sample.latency.inference_us)
        for sample in closed.samples
        if sample.estimates and sample.estimates[0].model == known.model
    ]
    if not latencies:
        return known  # Another model drove.
    driven = Manoeuvre(
        pair=None if known.reversed is None else trial.compare(closed.samples, known.reversed),
        latency_us=median(latencies),
        alarmed=closed.alarmed,
    )
    return probation.learn(known, driven)


def _of_probation(known: Probation, loop: str) -> Failed | Kept | None:
    evidence = probation.evidence(known)
    if reason := loop or probation.failure(known):
        return Failed(target=known.target, reason=reason, evidence=evidence)
    return Kept(target=known.target, evidence=evidence) if probation.is_over(known) else None


def _of_arms(saved: Saved, loop: str) -> Unfit | None:
    if saved.arms is None or saved.trial is None or saved.target is None:
        return None
    reason = loop or arms.failure(saved.arms, saved.trial)
    told = {**trial.evidence(saved.trial), **arms.evidence(saved.arms)}
    return Unfit(target=saved.target, reason=reason, evidence=told) if reason else None


def _of_trial(target: str, known: Trial, loop: str) -> Better | Unfit | None:
    evidence = trial.evidence(known)
    if loop:
        return Unfit(target=target, reason=loop, evidence=evidence)
    verdict = trial.judge(known)
    if verdict is None:
        return None
    end = Better if verdict.is_better else Unfit
    return end(target=target, reason=verdict.reason, evidence=evidence)
