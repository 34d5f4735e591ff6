"""The journal's records, and their way into rows and back.

Laws:
- a record is proven readable before it is written: a field of a wrong type is our bug, and must
  show as one rather than as a row that nobody can read;
- a row that cannot be read any more is damage, and is said to be.
"""

from typing import Annotated, Literal, TypeVar

import msgspec

from device.retention import cell_of, residual_of
from shared.errors import RefusedError
from shared.ids import BootId, Sha256
from shared.messages import Desired
from shared.samples import Count, ManoeuvreEnd, Reason, Record, Sample, content_hash

T = TypeVar("T")

_samples = msgspec.msgpack.Decoder(Sample)
_manoeuvres = msgspec.msgpack.Decoder(ManoeuvreEnd)
_desired = msgspec.msgpack.Decoder(Desired)

Faults = Annotated[tuple[Reason, ...], msgspec.Meta(max_length=8)]


class SlotRow(Record, frozen=True):
    """One of the two model slots."""

    name: Literal["a", "b"]
    sha256: Sha256 | None
    release_seq: Count
    state: Literal["empty", "active", "standby", "refused", "shadow"]


class DriveState(Record, frozen=True):
    """What drive has in memory and is doing, as of `utc_us`; `faults` are what is wrong then."""

    boot: BootId
    loaded: Sha256 | None
    release_seq: Count
    state: Reason
    utc_us: Count
    faults: Faults = ()


class JournalCounts(Record, frozen=True):
    """How many pairs there ever were and what became of them; `queue_depth` still wait.

    `pairs_withheld` were logged while the owner's level was `none`: they never leave the car.

    `pairs_dropped` are lost: before they were stored (`queue_full`, `disk`, `refused`, or
    `unwritten` as their process ended), or given up when space ran out (`crowded`, `valuable`,
    `flagged`); `dropped` says why. `pairs_discarded` went after the server had them, and are in
    `pairs_sent` too.
    """

    pairs_logged: Count
    pairs_sent: Count
    pairs_rejected: Count
    pairs_dropped: Count
    queue_depth: Count
    pairs_discarded: Count = 0
    pictures_dropped: Count = 0
    pairs_withheld: Count = 0
    dropped: dict[str, Count] = msgspec.field(default_factory=dict)


def sample_row(sample: Sample, consent: int) -> dict[str, object]:
    """Return the row of `sample`, captured while the owner's level was `UPLOAD_ORDER[consent]`."""
    return {
        "boot": sample.boot,
        "sequence": sample.sequence,
        "manoeuvre": sample.manoeuvre,
        "body": _readable(_samples, msgspec.msgpack.encode(sample)),
        "content_hash": content_hash(sample),
        "cell": cell_of(sample),
        "residual": residual_of(sample),
        "consent": consent,
    }


def picture_row(sample: Sample, jpeg: bytes, consent: int) -> dict[str, object]:
    """Return the row of the picture of `sample`; `consent` as for `sample_row`."""
    return {
        "boot": sample.boot,
        "sequence": sample.sequence,
        "device": sample.device,
        "sha256": sample.picture_sha256,
        "jpeg": jpeg,
        "consent": consent,
    }


def manoeuvre_row(end: ManoeuvreEnd, consent: int) -> dict[str, object]:
    """Return the row of the end of a manoeuvre; `consent` as for `sample_row`."""
    return {
        "boot": end.boot,
        "manoeuvre": end.manoeuvre,
        "body": _readable(_manoeuvres, msgspec.msgpack.encode(end)),
        "content_hash": content_hash(end),
        "consent": consent,
    }


def to_sample(body: bytes) -> Sample:
    """Return the sample in a row.

    Raises:
        RefusedError: the row is damaged.
    """
    return _decode(_samples, body)


def to_manoeuvre(body: bytes) -> ManoeuvreEnd:
    """Return the end of a manoeuvre in a row.

    Raises:
        RefusedError: the row is damaged.
    """
    return _decode(_manoeuvres, body)


def to_desired(body: bytes) -> Desired:
    """Return the desired state in a row.

    Raises:
        RefusedError: the row is damaged.
    """
    return _decode(_desired, body)


def _readable(decoder: msgspec.msgpack.Decoder[T], body: bytes) -> bytes:
    decoder.decode(body)
    return body


def _decode(decoder: msgspec.msgpack.Decoder[T], body: bytes) -> T:
    try:
        return decoder.decode(body)
    except msgspec.MsgspecError as error:
        raise RefusedError(f"journal is damaged: {error}") from None
