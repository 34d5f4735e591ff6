"""How a model comes into a car, as a table of states, without any IO.

Laws:
- a state is saved on entering it, before its work begins; a kill in any state resumes with that
  state's work, which can be done again without harm;
- a model reaches a slot only after its bytes were verified against signed metadata and a process of
  its own loaded and ran it; a candidate drives only after it was proven better on this car;
- what concerns another target than the present one changes nothing.

    state        its work                on success    on failure
    idle         -                       -             -
    fetching     read signed metadata,   verifying     stays; unfit release -> refused
                 ask for missing pieces
    verifying    hash the whole file     probing       fetching, at the third time refused
    probing      load and run it in a    shadowing;    refused; also when it never ends (three times
                 process of its own      committing    the agent itself did not survive it)
                                         for a target
    shadowing    second slot: it answers committing    refused
                 beside the model in
                 service (`trial`)
    choosing     second slot: it and the the fleet's   refused
                 model in service share  word
                 the driving (`arms`)
    committing   point the slot at it    idle          -
    refused      clear its slot          -             -
    rolled_back  point the slot back     -             -

A server's new wish leads from any state to fetching, or to idle where there is nothing to do. A
committed model is on `probation`; should it fail, that leads from any state to rolled_back.
"""

import msgspec

from device.update import wish
from device.update.fitness import MOST_COMMITTED
from device.update.probation import Probation
from device.update.saved import Saved, State, committed_of, remembered, step
from device.update.starts import Starts
from device.update.wish import Wanted
from shared.ids import Sha256
from shared.releases import digest_in, series_of
from shared.samples import Record

_MAX_DAMAGED = 3
_MAX_PROBES = 3


class Resolved(Record, frozen=True):
    """Signed metadata describe the target, and the release fits this car."""

    target: str
    model: Sha256
    release_seq: int


class Fetched(Record, frozen=True):
    """All pieces are here."""

    target: str


class Verified(Record, frozen=True):
    """The file's length and digest are those of the signed metadata."""

    target: str


class Damaged(Record, frozen=True):
    """They are not, though every piece was right."""

    target: str
    reason: str


class Passed(Record, frozen=True):
    """The probe loaded and ran the model."""

    target: str
    evidence: dict[str, float]


class Unfit(Record, frozen=True):
    """The release, or the probe, forbids this target."""

    target: str
    reason: str
    evidence: dict[str, float] = msgspec.field(default_factory=dict)


class Better(Record, frozen=True):
    """The trial proved the candidate better than the model in service."""

    target: str
    reason: str
    evidence: dict[str, float]


class Committed(Record, frozen=True):
    """The active slot holds the model, which is on probation from now on."""

    target: str
    probation: Probation | None = None
    starts: Starts = Starts()


class Kept(Record, frozen=True):
    """The model that was committed passed its probation."""

    target: str
    evidence: dict[str, float]


class Failed(Record, frozen=True):
    """The model that was committed failed its probation."""

    target: str
    reason: str
    evidence: dict[str, float]


Step = Resolved | Fetched | Verified | Damaged | Passed | Unfit | Better | Committed
"""What moves a target along the table."""

Event = Wanted | Kept | Failed | Step

TABLE: dict[tuple[State, type[Step]], State] = {
    ("fetching", Resolved): "fetching",
    ("fetching", Fetched): "verifying",
    ("fetching", Unfit): "refused",
    ("verifying", Verified): "probing",
    ("verifying", Damaged): "fetching",
    ("verifying", Unfit): "refused",
    ("probing", Passed): "shadowing",
    ("probing", Unfit): "refused",
    ("shadowing", Better): "committing",
    ("shadowing", Unfit): "refused",
    ("choosing", Better): "committing",
    ("choosing", Unfit): "refused",
    ("committing", Committed): "idle",
}
"""Where an event leads from a state; what is not here changes nothing.

A target that is no candidate passes from probing to committing, a candidate that is to share the
driving to choosing. `Wanted`, `Kept` and `Failed` are judged apart."""


def advance(saved: Saved, event: Event) -> Saved | None:
    """Return the state that `event` leads to, to be saved before its work; None for no change."""
    if isinstance(event, Wanted):
        return wish.judge(saved, event)
    if isinstance(event, Kept | Failed):
        probation = saved.probation
        if saved.state == "committing" or probation is None or probation.target != event.target:
            return None
        if isinstance(event, Kept):
            return _keep(saved, event)
        return _roll_back(saved, probation, event)
    following = TABLE.get((saved.state, type(event)))
    if following is None or event.target != saved.target:
        return None
    return _enter(saved, following, event)


def resume(saved: Saved) -> Saved:
    """Return the state to go on with after a start of the process, to be saved before its work."""
    if saved.state != "probing":
        return saved
    if saved.probes >= _MAX_PROBES:
        return _refuse(saved, f"probed {saved.probes} times without an end", {})
    return msgspec.structs.replace(saved, probes=saved.probes + 1)


def _keep(saved: Saved, event: Kept) -> Saved:
    if saved.state != "idle":
        return msgspec.structs.replace(saved, probation=None)
    evidence = {**saved.evidence, **event.evidence}
    return step(saved, reason="passed its probation", evidence=evidence, probation=None)


def _roll_back(saved: Saved, probation: Probation, event: Failed) -> Saved:
    return step(
        saved,
        state="rolled_back",
        target=probation.target,
        model=probation.model,
        reason=event.reason,
        evidence=event.evidence,
        trial=None,
        arms=None,
        probation=None,
        rolled_back=remembered(saved.rolled_back, probation.model),
    )


def _enter(saved: Saved, following: State, event: Step) -> Saved | None:
    match event:
        case Resolved(model=model, release_seq=release_seq):
            known = saved.model == model and saved.release_seq == release_seq
            return None if known else step(saved, model=model, release_seq=release_seq)
        case Damaged(reason=reason) if saved.damaged + 1 >= _MAX_DAMAGED:
            return _refuse(saved, reason, {}, damaged=saved.damaged + 1)
        case Damaged(reason=reason):
            return step(saved, state="fetching", damaged=saved.damaged + 1, reason=reason)
        case Unfit(reason=reason, evidence=evidence):
            return _refuse(saved, reason, evidence)
        case Verified():
            return step(saved, state="probing", probes=saved.probes + 1)
        case Passed(evidence=evidence):
            return step(saved, state=_after_probe(saved), evidence=evidence, trial=None, arms=None)
        case Better(reason=reason, evidence=evidence):
            return step(saved, state="committing", reason=reason, evidence=evidence)
        case Committed():
            return _settle(saved, event)
        case _:
            return step(saved, state=following)


def _after_probe(saved: Saved) -> State:
    if not saved.is_trial:
        return "committing"
    return "shadowing" if saved.split is None else "choosing"


def _refuse(saved: Saved, reason: str, evidence: dict[str, float], **changes: object) -> Saved:
    return step(
        saved,
        state="refused",
        reason=reason,
        evidence=evidence,
        trial=None,
        arms=None,
        refused=remembered(saved.refused, digest_in(saved.target or "")),
        **changes,
    )


def _settle(saved: Saved, event: Committed) -> Saved:
    series = series_of(event.target)
    known = committed_of(saved).get(series, ())
    numbers = tuple(sorted({*known, saved.release_seq}))[-MOST_COMMITTED:]
    return step(
        saved,
        state="idle",
        reason=saved.reason,
        evidence=saved.evidence,
        newest={**saved.newest, series: numbers[-1]},
        committed={**saved.committed, series: numbers},
        is_trial=False,
        split=None,
        trial=None,
        arms=None,
        probation=event.probation,
        starts=event.starts,
    )
