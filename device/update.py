"""How a model comes into a car, as a table of states, without any IO.

Laws:
- a state is saved on entering it, before its work begins; a kill in any state resumes with that
  state's work, which can be done again without harm;
- a model reaches a slot only after its bytes were verified against signed metadata and a process of
  its own loaded and ran it;
- a target that was refused is not tried again until the server names another;
- no step back: within a task and deployment, where the server numbers releases upwards, one older
  than the newest ever committed is refused, except for a model that still lies in a slot, which is
  the one committed before the present one;
- what concerns another target than the present one changes nothing.

    state       its work                on success    on failure
    idle        -                       -             -
    fetching    read signed metadata,   verifying     stays; unfit release -> refused
                ask for missing pieces
    verifying   hash the whole file     probing       fetching, at the third time refused
    probing     load and run it in a    committing    refused; also when it never ends (three times
                process of its own                    the agent itself did not survive it)
    committing  point the slot at it    idle          -
    refused     -                       -             -

A server's new wish leads from any state to fetching, or to idle where there is nothing to do.
Comparing candidate and incumbent on the same pictures ("shadowing") is a row between probing and
committing, entered on `Passed`.
"""

from collections.abc import Collection, Mapping
from typing import Annotated, Literal

import msgspec

from shared.errors import RefusedError
from shared.ids import Sha256
from shared.messages import ShortText, TargetPath
from shared.releases import MAX_MODEL_BYTES, Release, target_path
from shared.samples import Count, Reason, Record
from shared.task import Task
from shared.topics import CHUNK_BYTES

State = Literal["idle", "fetching", "verifying", "probing", "committing", "refused"]

_MAX_DAMAGED = 3
_MAX_PROBES = 3


class Saved(Record, frozen=True):
    """The update's state as it lies in the journal.

    `number` counts all steps ever taken, `damaged` how often the whole file was wrong, `probes` how
    often probing began; `reason` and `evidence` belong to the last step. `newest` holds the highest
    release_seq ever committed of each "task/deployment".
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


class Wanted(Record, frozen=True):
    """The server's wish in force; `active` is the model that the active slot holds."""

    target: str | None
    active: str | None


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


class Committed(Record, frozen=True):
    """The active slot holds the model."""

    target: str


Event = Wanted | Resolved | Fetched | Verified | Damaged | Passed | Unfit | Committed

TABLE: dict[tuple[State, type[Event]], State] = {
    ("fetching", Resolved): "fetching",
    ("fetching", Fetched): "verifying",
    ("fetching", Unfit): "refused",
    ("verifying", Verified): "probing",
    ("verifying", Damaged): "fetching",
    ("verifying", Unfit): "refused",
    ("probing", Passed): "committing",
    ("probing", Unfit): "refused",
    ("committing", Committed): "idle",
}
"""Where an event leads from a state; what is not here changes nothing. `Wanted` is judged apart."""


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


def advance(saved: Saved, event: Event) -> Saved | None:
    """Return the state that `event` leads to, to be saved before its work; None for no change."""
    if isinstance(event, Wanted):
        return _judge_wish(saved, event)
    following = TABLE.get((saved.state, type(event)))
    if following is None or event.target != saved.target:
        return None
    return _enter(saved, following, event)


def resume(saved: Saved) -> Saved:
    """Return the state to go on with after a start of the process, to be saved before its work."""
    if saved.state != "probing":
        return saved
    if saved.probes >= _MAX_PROBES:
        return _step(saved, state="refused", reason=f"probed {saved.probes} times without an end")
    return msgspec.structs.replace(saved, probes=saved.probes + 1)


def _judge_wish(saved: Saved, wish: Wanted) -> Saved | None:
    is_active = wish.target is not None and digest_in(wish.target) == wish.active
    if wish.target is None or is_active:
        # A refusal outlives silence, not another wish.
        is_done = saved.state == "idle" or (saved.state == "refused" and wish.target is None)
        if is_done or saved.state == "committing":
            return None
        return _step(
            saved, state="idle", target=wish.target or saved.target, reason="no longer wanted"
        )
    if wish.target == saved.target and saved.state != "idle":
        return None
    return _step(
        saved, state="fetching", target=wish.target, model=None, release_seq=0, damaged=0, probes=0
    )


def _enter(saved: Saved, following: State, event: Event) -> Saved | None:
    match event:
        case Resolved(model=model, release_seq=release_seq):
            known = saved.model == model and saved.release_seq == release_seq
            return None if known else _step(saved, model=model, release_seq=release_seq)
        case Damaged(reason=reason) if saved.damaged + 1 >= _MAX_DAMAGED:
            return _step(saved, state="refused", damaged=saved.damaged + 1, reason=reason)
        case Damaged(reason=reason):
            return _step(saved, state="fetching", damaged=saved.damaged + 1, reason=reason)
        case Unfit(reason=reason, evidence=evidence):
            return _step(saved, state="refused", reason=reason, evidence=evidence)
        case Verified():
            return _step(saved, state="probing", probes=saved.probes + 1)
        case Passed(evidence=evidence):
            return _step(saved, state="committing", evidence=evidence)
        case Committed(target=target):
            series = series_of(target)
            newest = max(saved.release_seq, saved.newest.get(series, 0))
            return _step(saved, state="idle", newest={**saved.newest, series: newest})
        case _:
            return _step(saved, state=following)


def _step(saved: Saved, *, reason: str = "", **changes: object) -> Saved:
    evidence = changes.pop("evidence", {})
    return msgspec.structs.replace(
        saved, number=saved.number + 1, reason=reason[:200], evidence=evidence, **changes
    )


def check_release(
    release: Release,
    *,
    target: str,
    size_bytes: int,
    task: Task,
    newest: Mapping[str, int],
    in_slots: Collection[str | None],
    device_version: str,
) -> None:
    """Return quietly where the release under `target`, of the signed size, fits this car.

    `newest` is `Saved.newest`, `in_slots` the digests of the models in the car's slots.

    Raises:
        RefusedError: it does not, and never will; the text says why.
    """
    manifest = release.manifest
    path = target_path(manifest.task.name, manifest.deployment, manifest.sha256)
    pieces = -(-size_bytes // CHUNK_BYTES)
    rules = (
        (path == target, f"the manifest describes {path}"),
        (manifest.task == task, f"a model for another task than {task.name}"),
        (0 < size_bytes <= MAX_MODEL_BYTES, f"a model of {size_bytes} bytes"),
        (manifest.size_bytes == size_bytes, f"manifest says {manifest.size_bytes} bytes"),
        (len(release.chunks) == pieces, f"{len(release.chunks)} pieces instead of {pieces}"),
        (manifest.release_seq == release.release_seq, "manifest and release disagree in sequence"),
        (
            _version(manifest.minimum_device) <= _version(device_version),
            f"needs device software {manifest.minimum_device}, this is {device_version}",
        ),
    )
    for holds, reason in rules:
        if not holds:
            raise RefusedError(reason[:200])
    floor = newest.get(series_of(target), 0)
    if release.release_seq < floor and manifest.sha256 not in in_slots:
        raise RefusedError(
            f"release_seq {release.release_seq} is older than {floor}, which was committed"
        )


def series_of(target: str) -> str:
    """Return the "task/deployment" within which releases are numbered upwards."""
    return target.rpartition("/")[0]


def digest_in(target: str) -> str:
    """Return the digest that a target's path names."""
    return target.rpartition("/")[2].removesuffix(".tflite")


def _version(text: str) -> tuple[int, ...]:
    parts = text.split(".")
    if not all(part.isascii() and part.isdigit() and len(part) < 9 for part in parts):
        raise RefusedError(f"{text!r} is no version number")
    return tuple(int(part) for part in parts)
