"""One model on one car, manoeuvre by manoeuvre: from summaries to what is found out.

Laws:
- what a manoeuvre costs does not depend on how many came before; the memory is a few numbers and
  the ids of at most `reference` + `TRAINING` + two windows of manoeuvres;
- a cause is named as soon as three manoeuvres since the change tell it, and looked at again with
  each further one until a window is full; then it stands;
- what changed without harm is found once, and is normal from then on: harm that comes later is not
  blamed on it;
- nothing is found out twice, and what is over is said to be over.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Final, Literal

import msgspec

from fleet_server.drift import comparison, families, naming, reference, watch
from fleet_server.drift.families import FEWEST_REFERENCE, FEWEST_WINDOW, Tested
from fleet_server.drift.naming import Finding
from fleet_server.drift.reference import Built, Reference
from fleet_server.drift.summaries import Summary
from fleet_server.drift.watch import Learnt, Settings, Watch

TRAINING: Final = 60
"""Manoeuvres before the model that stand in for its first ones in the field."""

Recall = Callable[[Sequence[int]], list[Summary]]
"""Gives the stored summaries of manoeuvres by id; those that were erased are left out."""


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Where summaries are stored, and the references that were built of them."""

    recall: Recall
    built: Built


Kind = Literal["drift", "sensor", "change"]
"""A model's error rose; the sensor shows a symptom; something changed and does not hurt."""


class Track(msgspec.Struct, kw_only=True):
    """What is remembered of a model on a car: its watch, and ids of manoeuvres.

    `training` and `first` are the reference, `recent` the last window, `bad` the manoeuvres since
    the error rose (at most a window), `cause` what that was put down to and `is_settled` whether
    that stands. `untested` counts the manoeuvres since the families were last tested.
    """

    watch: Watch
    training: list[int] = msgspec.field(default_factory=list)
    first: list[int] = msgspec.field(default_factory=list)
    recent: list[int] = msgspec.field(default_factory=list)
    errors: list[float | None] = msgspec.field(default_factory=list)
    bad: list[int] = msgspec.field(default_factory=list)
    cause: str = ""
    is_settled: bool = False
    untested: int = 0


@dataclass(frozen=True, kw_only=True)
class Found:
    """Something was found out, or what was found out is seen more clearly.

    `kind` and `subject` identify it ("harm", a symptom, or a family). `since` is the manoeuvre at
    which it began. `error` and `normal` are the window's and the reference's mean error, None where
    nothing is known of them; with `is_estimate` they are made of the model's sigma.
    """

    kind: Kind
    subject: str
    cause: str
    words: str
    since: int
    error: float | None
    normal: float | None
    is_estimate: bool
    evidence: dict[str, object] = field(default_factory=dict)

    @property
    def hurts(self) -> bool:
        """Whether the model's error rose."""
        return self.kind == "drift"


@dataclass(frozen=True, kw_only=True)
class Over:
    """What was found out is over."""

    subject: str


Change = Found | Over


def follow(
    track: Track, number: int, summary: Summary, settings: Settings, *, ratio: float, memory: Memory
) -> list[Change]:
    """Change `track` by the manoeuvre `number`; return what was found out with it.

    `ratio` is the model's mean error over its mean sigma, wherever it met labels.
    """
    learnt = watch.learn(track.watch, summary, settings, ratio=ratio)
    _remember(track, number, learnt, settings)
    found: list[Change] = [Over(subject=name) for name in learnt.ended]
    symptoms = [name for name in learnt.began if name != "harm"]
    if "harm" in learnt.ended:
        track.bad, track.cause, track.is_settled = [], "", False
    if "harm" in learnt.began:
        track.bad = _since_the_rise(track, settings)
        track.first = [each for each in track.first if each not in track.bad]
    if track.bad:
        found += _harm(track, settings, is_estimate=learnt.is_estimate, memory=memory)
    elif not track.watch.alarmed and track.untested >= settings.window:
        found += _quiet(track, settings, is_estimate=learnt.is_estimate, memory=memory)
    return found + [_symptom(track, name, learnt) for name in symptoms]


def reference_of(track: Track, settings: Settings) -> tuple[int, ...]:
    """Return the manoeuvres that are compared with."""
    if len(track.first) >= max(settings.reference, FEWEST_REFERENCE):
        return tuple(track.first)
    return (*track.training, *track.first)


def _remember(track: Track, number: int, learnt: Learnt, settings: Settings) -> None:
    if learnt.is_normal and len(track.first) < settings.reference:
        track.first.append(number)
        track.untested = 0
    else:
        track.untested += 1
    track.recent = [*track.recent, number][-settings.window :]
    track.errors = [*track.errors, learnt.error][-settings.window :]
    if track.bad and len(track.bad) < settings.window:
        track.bad.append(number)


def _since_the_rise(track: Track, settings: Settings) -> list[int]:
    limit = track.watch.reference * settings.slack
    risen = takewhile(lambda error: error is not None and error > limit, reversed(track.errors))
    return track.recent[-max(1, len(list(risen))) :]


@dataclass(frozen=True, kw_only=True)
class _Compared:
    """A window beside the reference."""

    window: list[Summary]
    reference: Reference
    tested: dict[str, Tested]


def _compare(track: Track, numbers: Sequence[int], settings: Settings, memory: Memory) -> _Compared:
    first, window = reference_of(track, settings), memory.recall(numbers)
    built = memory.built.get(
        first, lambda: reference.build(memory.recall(first), track.watch.reference)
    )
    rows = comparison.compare(built.norms, window)
    tested = families.judge(built, rows, seed=track.watch.manoeuvres)
    return _Compared(window=window, reference=built, tested=tested)


def _harm(track: Track, settings: Settings, *, is_estimate: bool, memory: Memory) -> list[Change]:
    if track.is_settled:
        return []
    track.is_settled = len(track.bad) >= settings.window
    compared = _compare(track, track.bad, settings, memory)
    finding = naming.name(
        compared.reference,
        compared.window,
        compared.tested,
        symptoms=[name for name in track.watch.alarmed if name in naming.SYMPTOM_CAUSES],
        is_whole=track.is_settled,
    )
    if finding.cause == track.cause:
        return []
    track.cause = finding.cause
    return [_found(track, finding, is_estimate=is_estimate)]


def _found(track: Track, finding: Finding, *, is_estimate: bool) -> Found:
    error = _mean(track.errors[-len(track.bad) :])
    normal = track.watch.reference
    told = "estimated error" if is_estimate else "measured error"
    return Found(
        kind="drift",
        subject="harm",
        cause=finding.cause,
        words=f"{told} risen from {normal:.1f} to {error or 0.0:.1f}: {finding.words}",
        since=track.bad[0],
        error=error,
        normal=normal,
        is_estimate=is_estimate,
        evidence=finding.evidence() | {"manoeuvres": list(track.bad)},
    )


def _symptom(track: Track, name: str, learnt: Learnt) -> Found:
    cause = naming.SYMPTOM_CAUSES[name]
    return Found(
        kind="sensor",
        subject=name,
        cause=cause,
        words=naming.PLAIN[cause],
        since=track.recent[max(0, len(track.recent) - FEWEST_WINDOW)],
        error=learnt.error,
        normal=track.watch.reference,
        is_estimate=learnt.is_estimate,
    )


def _quiet(track: Track, settings: Settings, *, is_estimate: bool, memory: Memory) -> list[Change]:
    """Test the families of a window without harm; what changed becomes normal."""
    track.untested = 0
    compared = _compare(track, track.recent, settings, memory)
    p_values = {
        name: each.p_value for name, each in compared.tested.items() if each.p_value is not None
    }
    began = watch.learn_families(track.watch, p_values, settings)
    if not began:
        return []
    words, evidence = naming.change(compared.reference, compared.window, compared.tested, began)
    track.training, track.first, track.watch.families = [], list(track.recent), {}
    error = _mean(track.errors)
    return [
        Found(
            kind="change",
            subject=began[0],
            cause=f"{began[0]}-changed",
            words=f"{words}; {_harmless(error, is_estimate=is_estimate)}",
            since=track.recent[0],
            error=error,
            normal=track.watch.reference,
            is_estimate=is_estimate,
            evidence=evidence | {"manoeuvres": list(track.recent)},
        )
    ]


def _harmless(error: float | None, *, is_estimate: bool) -> str:
    if error is None:
        return "no error can be told on this car"
    if is_estimate:
        return f"by the model's own word the error is {error:.1f}, which no sensor has measured"
    return "the error did not rise"


def _mean(values: Sequence[float | None]) -> float | None:
    known = [each for each in values if each is not None]
    return sum(known) / len(known) if known else None
