"""The update's state as it lies in the journal.

Laws:
- fields are only ever added, with a default: a state that an earlier version saved is gone on with;
- what cannot be read begins anew from idle.
"""

from typing import Annotated, Literal

import msgspec

from device.update.arms import Arms, Split
from device.update.fitness import MOST_COMMITTED
from device.update.probation import Probation
from device.update.starts import Starts
from device.update.trial import Trial
from shared.ids import Sha256
from shared.messages import ShortText, TargetPath
from shared.releases import digest_in
from shared.samples import Count, Reason, Record

State = Literal[
    "idle",
    "fetching",
    "verifying",
    "probing",
    "shadowing",
    "choosing",
    "committing",
    "refused",
    "rolled_back",
]

_MOST_REMEMBERED = 16

Digests = Annotated[tuple[Sha256, ...], msgspec.Meta(max_length=_MOST_REMEMBERED)]
Committals = Annotated[tuple[Count, ...], msgspec.Meta(max_length=MOST_COMMITTED)]


class Saved(Record, frozen=True):
    """The update's state as it lies in the journal.

    `number` counts all steps ever taken, `damaged` how often the whole file was wrong, `probes` how
    often probing began; `reason` and `evidence` belong to the last step, but that idle keeps the
    evidence for what was committed. `newest` holds the highest release_seq ever committed of each
    "task/deployment", `committed` the last ones, which earlier versions did not keep. `is_trial`:
    the target is a candidate, and `split` how it and the model in service share the driving, if
    they do; `starts` of drive are counted while a model is on trial or probation. `refused` is
    forgotten once it is no longer named, `rolled_back` not.
    """

    state: State = "idle"
    target: TargetPath | None = None
    model: Sha256 | None = None
    release_seq: Count = 0
    number: Count = 0
    damaged: Count = 0
    probes: Count = 0
    reason: Reason = ""
    evidence: Annotated[dict[ShortText, float], msgspec.Meta(max_length=32)] = msgspec.field(
        default_factory=dict
    )
    newest: dict[ShortText, Count] = msgspec.field(default_factory=dict)
    committed: dict[ShortText, Committals] = msgspec.field(default_factory=dict)
    is_trial: bool = False
    split: Split | None = None
    trial: Trial | None = None
    arms: Arms | None = None
    probation: Probation | None = None
    starts: Starts = Starts()
    refused: Digests = ()
    rolled_back: Digests = ()


def load(body: bytes | None) -> Saved:
    """Return the saved state; nothing or nonsense (an older version's) begins anew from idle."""
    if body is None:
        return Saved()
    try:
        return msgspec.msgpack.decode(body, type=Saved)
    except msgspec.MsgspecError:
        return Saved()


def dump(saved: Saved) -> bytes:
    """Return `saved` as bytes for the journal."""
    return msgspec.msgpack.encode(saved)


def committed_of(saved: Saved) -> dict[str, tuple[int, ...]]:
    """Return the numbers of the releases that were committed, by series, as far as known."""
    known = {series: (number,) for series, number in saved.newest.items()}
    return {**known, **saved.committed}


def refused_of(saved: Saved) -> tuple[str, ...]:
    """Return the digests of the targets that were refused and are still named."""
    # States that earlier versions saved name the refused target alone.
    own = (digest_in(saved.target),) if saved.target and saved.state == "refused" else ()
    return tuple(dict.fromkeys((*saved.refused, *own)))


def remembered(digests: tuple[str, ...], digest: str) -> tuple[str, ...]:
    """Return `digests` with `digest` as the newest; the oldest is forgotten where they are many."""
    others = tuple(each for each in digests if each != digest)
    return (*others, digest)[-_MOST_REMEMBERED:]


def draw_of(saved: Saved) -> tuple[Arms, Split] | None:
    """Return between which models drive chooses for each manoeuvre, and how; None for no choice."""
    if saved.state != "choosing" or saved.arms is None or saved.split is None:
        return None
    return saved.arms, saved.split


def is_tried(saved: Saved) -> bool:
    """Tell whether a candidate answers beside the model in service."""
    return saved.state in ("shadowing", "choosing")


def step(saved: Saved, *, reason: str = "", **changes: object) -> Saved:
    """Return the next state, with a number, a reason and evidence of its own."""
    evidence = changes.pop("evidence", {})
    return msgspec.structs.replace(
        saved, number=saved.number + 1, reason=reason[:200], evidence=evidence, **changes
    )
