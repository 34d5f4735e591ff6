"""Feeds `device.error_watch` with each manoeuvre that closed, from the journal.

Laws:
- a manoeuvre is learnt from once: what was learnt, and that it was, is one transaction, so that a
  kill neither skips nor repeats one;
- memory is bounded: one manoeuvre at a time, and no more of its pairs than one can hold;
- on an alarm that manoeuvre leaves the car before everything else that waits;
- the update's trial and probation learn from the same manoeuvre in the same transaction;
- the error is that of the model in service alone: what another one said of a picture is no evidence
  about it, and a model whose manifest promises no error is not watched;
- a car without a range sensor is watched by its model's own word, the calibrated sigma made an
  error; that is an estimate, is told as one, and judges no model on trial or probation.
"""

import logging
import math
from collections.abc import Iterable

import msgspec

from device.agent.trying import Closed
from device.agent.updating import Updating
from device.error_watch import REFERENCE_MANOEUVRES, Watch, begin, learn
from device.home import Home
from device.interrupted import REASON
from device.journal import Journal
from device.update import saved
from shared.errors import RefusedError
from shared.manifest import Manifest
from shared.samples import Count, Record, Sample

logger = logging.getLogger(__name__)

_AT_ONCE = 8
_MOST_PAIRS = 2_000
"""More than a manoeuvre may last (`device.parking.Rules.manoeuvre_us`) at the highest rate."""

_PROMISE = "test_mae"
"""The metric of a manifest that says which error to expect, in the task's unit."""

_MEAN_OF_SIGMA = math.sqrt(2.0 / math.pi)


class Alarm(Record, frozen=True):
    """The last alarm: what was measured, or estimated, when `Watch.manoeuvres` stood at `at`."""

    boot: str
    manoeuvre: Count
    mean_error: float
    reference: float
    at: Count
    is_estimate: bool = False


class Kept(Record, frozen=True):
    """What the journal keeps of the watch."""

    watch: Watch | None = None
    alarm: Alarm | None = None


class Watching:
    """The watch over the model in service of one car."""

    def __init__(self, home: Home, journal: Journal, updating: Updating) -> None:
        """Take up what the journal keeps; `updating` learns from what closed too."""
        self._home = home
        self._journal = journal
        self._updating = updating
        self._kept = _load(journal.watch_state())
        self._unpromising: str | None = None

    @property
    def fault(self) -> str:
        """What to tell of the last alarm, until as many calm manoeuvres as make a reference."""
        alarm = self._kept.alarm
        if alarm is None or not _is_harmed(self._kept):
            return ""
        how = "error by the model's own word" if alarm.is_estimate else "measured error"
        return (
            f"{how} risen: mean {alarm.mean_error:.1f} in manoeuvre "
            f"{alarm.boot}/{alarm.manoeuvre}, {alarm.reference:.1f} is normal for this model here"
        )

    def look(self) -> bool:
        """Learn from the manoeuvres that closed, a few at a time; tell whether one raised an alarm.

        Raises:
            RetryLaterError: the journal does not answer now.
        """
        is_alarm = False
        for _ in range(_AT_ONCE):
            closed = self._journal.next_unwatched()
            if closed is None:
                break
            is_alarm = self._learn(*closed) or is_alarm
        return is_alarm

    def _learn(self, boot: str, manoeuvre: int) -> bool:
        watch, alarm = self._watch(), self._kept.alarm
        if watch is None or self._kept.watch is None or watch.model != self._kept.watch.model:
            alarm = None
        samples = self._journal.samples_of(boot, manoeuvre, _MOST_PAIRS)
        error = None if watch is None else mean_error(samples, watch.model)
        is_estimate = error is None
        if watch is not None and error is None:
            error = estimated_error(samples, watch.model)
        is_alarm = False
        if watch is not None and error is not None:
            reference = watch.reference
            watch, is_alarm = learn(watch, error)
            if is_alarm:
                alarm = Alarm(
                    boot=boot,
                    manoeuvre=manoeuvre,
                    mean_error=error,
                    reference=reference,
                    at=watch.manoeuvres,
                    is_estimate=is_estimate,
                )
                logger.warning("error_risen manoeuvre=%s/%d mean=%.1f", boot, manoeuvre, error)
        kept = Kept(watch=watch, alarm=alarm)
        learnt = self._updating.learnt(
            Closed(
                samples=samples,
                ended=self._journal.reason_of(boot, manoeuvre) != REASON,
                alarmed=is_alarm and not is_estimate,
                harmed=_is_harmed(kept) and alarm is not None and not alarm.is_estimate,
            )
        )
        self._journal.watched(
            boot,
            manoeuvre,
            msgspec.msgpack.encode(kept),
            flag=is_alarm,
            update=None if learnt is None else saved.dump(learnt),
        )
        self._kept = kept
        if learnt is not None:
            self._updating.progress.take_up(learnt)
        return is_alarm

    def _watch(self) -> Watch | None:
        """Return the watch over the model in service, begun anew where that is another one."""
        drive = self._journal.drive_state()
        model = drive.loaded if drive else None
        known = self._kept.watch
        if model is None or (known is not None and known.model == model):
            return known
        try:
            manifest = Manifest.from_json(self._home.manifest(model).read_bytes())
            return begin(model, manifest.metrics.get(_PROMISE, math.nan))
        except (OSError, RefusedError, ValueError) as error:
            if self._unpromising != model:
                self._unpromising = model
                logger.warning("model_not_watched model=%s reason=%s", model[:12], error)
            return None


def mean_error(samples: Iterable[Sample], model: str) -> float | None:
    """Return the mean |estimate - label| of `model` over `samples`, None without any to judge."""
    errors = [
        abs(estimate.value - sample.label)
        for sample in samples
        if sample.label is not None
        for estimate in sample.estimates
        if estimate.model == model
    ]
    finite = [error for error in errors if math.isfinite(error)]
    return math.fsum(finite) / len(finite) if finite else None


def estimated_error(samples: Iterable[Sample], model: str) -> float | None:
    """Return the mean |error| that `model` expects of itself where no sensor is fitted, else None.

    A sensor that is fitted and silent makes no car without one. For a normal error the mean amount
    is sqrt(2 / pi) times the standard deviation, which is what sigma is calibrated to be.
    """
    held = list(samples)
    if any(sample.sensor_status != "absent" for sample in held):
        return None
    sigmas = [
        estimate.sigma
        for sample in held
        for estimate in sample.estimates
        if estimate.model == model and estimate.sigma is not None
    ]
    finite = [sigma for sigma in sigmas if math.isfinite(sigma)]
    return _MEAN_OF_SIGMA * math.fsum(finite) / len(finite) if finite else None


def _is_harmed(kept: Kept) -> bool:
    """Tell whether the last alarm about the model in service is still news."""
    watch, alarm = kept.watch, kept.alarm
    return (
        watch is not None
        and alarm is not None
        and watch.manoeuvres - alarm.at < REFERENCE_MANOEUVRES
    )


def _load(body: bytes | None) -> Kept:
    try:
        return Kept() if body is None else msgspec.msgpack.decode(body, type=Kept)
    except msgspec.MsgspecError:
        return Kept()  # An older version's; to begin anew costs a reference, and no pair.
