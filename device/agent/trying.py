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
from device.update import probation, trial
from device.update.fitness import series_of
from device.update.probation import Manoeuvre, Probation
from device.update.saved import Saved
from device.update.starts import ALIVE_US, Starts
from device.update.table import Better, Committed, Failed, Kept, Unfit
from device.update.trial import Trial
from shared.clock import Clock
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
        if known is not None and (known.incumbent, known.candidate) == (active, model):
            return saved
        begun = trial.begin(active, model, self._task)
        return msgspec.structs.replace(saved, trial=begun, starts=self._starts())

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
        if saved.state == "shadowing" and saved.trial is not None:
            pair = trial.compare(closed.samples, saved.trial)
            if pair is not None:
                learnt = trial.learn(saved.trial, pair, harmed=closed.harmed)
                saved = msgspec.structs.replace(saved, trial=learnt)
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
    if saved.state != "shadowing" or saved.trial is None or saved.target is None:
        return None
    return _of_trial(saved.target, saved.trial, loop)


def _is_trying(saved: Saved) -> bool:
    return saved.state == "shadowing" or saved.probation is not None


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


def _of_trial(target: str, known: Trial, loop: str) -> Better | Unfit | None:
    evidence = trial.evidence(known)
    if loop:
        return Unfit(target=target, reason=loop, evidence=evidence)
    verdict = trial.judge(known)
    if verdict is None:
        return None
    end = Better if verdict.is_better else Unfit
    return end(target=target, reason=verdict.reason, evidence=evidence)
