"""Everything that crosses MQTT, as closed, immutable records.

Laws:
- a message says what it means without its topic, and its signature covers both (`shared.signing`);
- fields are only ever added, with a default; a receiver refuses what it does not know, so a new
  field waits until every receiver has it;
- a receipt is the only proof that a batch is stored: an MQTT acknowledgement is not.
"""

from typing import Annotated, Literal

import msgspec
from msgspec import field

from shared.ids import END, BootId, DeviceName, Name, Sha256
from shared.samples import Count, ManoeuvreEnd, Picture, Reason, Record, Sample

UploadLevel = Literal["none", "characteristics", "pictures"]
"""The owner's consent, from least to most."""

UPLOAD_ORDER: tuple[UploadLevel, ...] = ("none", "characteristics", "pictures")

ShortText = Annotated[str, msgspec.Meta(max_length=200)]
TargetPath = Annotated[str, msgspec.Meta(max_length=256, pattern=r"^[A-Za-z0-9_./-]+" + END)]

Arms = Annotated[dict[TargetPath, float], msgspec.Meta(max_length=2)]
Draw = Literal["share", "thompson"]
"""How a car draws which of two arms drives a manoeuvre (`device.update.arms`)."""

Counts = Annotated[dict[ShortText, Count], msgspec.Meta(max_length=16)]
Texts = Annotated[dict[ShortText, ShortText], msgspec.Meta(max_length=16)]
Numbers = Annotated[dict[ShortText, float], msgspec.Meta(max_length=32)]


class Presence(Record, frozen=True):
    """Whether a car is reachable. Also its last will; an older connection number is ignored."""

    device: DeviceName
    boot: BootId
    connection: Count
    online: bool


class Slot(Record, frozen=True):
    """One of a car's two model slots, and what lies in it.

    A model in `shadow` answers beside the active one and never steers: a candidate, or the former
    model while its successor is on probation.
    """

    name: Literal["a", "b"]
    model: Sha256 | None
    release_seq: Count
    state: Literal["empty", "active", "standby", "refused", "shadow"]


class Status(Record, frozen=True):
    """What a car reports of itself. `loaded` is the digest drive has in memory, not a wish.

    `dropped` says why the `pairs_dropped` were lost or given up: pairs by reason. Its `pictures`
    are none of them, but pictures alone, given up after their pairs were sent.
    """

    device: DeviceName
    boot: BootId
    utc_us: Count
    clock_synced: bool
    loaded: Sha256 | None
    loaded_release_seq: Count
    slots: Annotated[tuple[Slot, ...], msgspec.Meta(max_length=2)]
    deployment: Name
    desired_epoch: Count
    desired_revision: Count
    upload: UploadLevel
    queue_depth: Count
    pairs_logged: Count
    pairs_dropped: Count
    disk_free_bytes: Count
    temperature_c: float | None
    versions: Texts
    faults: Annotated[tuple[ShortText, ...], msgspec.Meta(max_length=16)] = ()
    dropped: Counts = msgspec.field(default_factory=dict)


class Telemetry(Record, frozen=True):
    """Live values, sent without guarantee; lengths in the task's unit, speed in mm/s."""

    device: DeviceName
    boot: BootId
    utc_us: Count
    state: ShortText
    label: float | None
    estimate: float | None
    sigma: float | None
    speed_mm_s: float
    manoeuvre: Count


class Batch(Record, frozen=True):
    """Samples, manoeuvre ends and pictures of one car, in one signed message."""

    device: DeviceName
    samples: Annotated[tuple[Sample, ...], msgspec.Meta(max_length=1000)] = ()
    manoeuvres: Annotated[tuple[ManoeuvreEnd, ...], msgspec.Meta(max_length=1000)] = ()
    pictures: Annotated[tuple[Picture, ...], msgspec.Meta(max_length=1000)] = ()


class Receipt(Record, frozen=True):
    """The server's word on one batch, sent only after its commit.

    `batch` is the SHA-256 of the received message. "stored" and "duplicate" release the rows on the
    car; "rejected" puts them aside there with `reason`.
    """

    device: DeviceName
    batch: Sha256
    outcome: Literal["stored", "duplicate", "rejected"]
    reason: Reason = ""
    new_samples: Count = 0


class Desired(Record, frozen=True, omit_defaults=True):
    """What the server wants of a car; a lower (epoch, revision) than the one in force is void.

    `target` is what the car ought to drive by, `candidate` what it is to try beside that and keep
    if it is better. `harm`: the model in service is known to do badly, so that less proof is asked.
    `arms`: both drive, each the share of manoeuvres beside its path, or as `draw` says otherwise;
    which one stays is for the server to say. A car that knows no arms tries the candidate.
    What is a default is not on the wire, so that an older car reads what it always read.
    """

    device: DeviceName
    epoch: Count
    revision: Count
    deployment: Name
    target: TargetPath | None = None
    candidate: TargetPath | None = None
    arms: Arms = field(default_factory=dict)
    upload: UploadLevel = "pictures"
    harm: bool = False
    draw: Draw = "share"


class Command(Record, frozen=True):
    """An operator's order to one car, bound to the boot and connection last seen."""

    device: DeviceName
    actor: Name
    boot: BootId
    connection: Count
    number: Count
    verb: Literal["park", "stop", "sync", "pictures", "selftest", "identify"]
    arguments: Texts = field(default_factory=dict)


class OperatorKey(Record, frozen=True):
    """The key (Ed25519, raw) by which one operator signs orders, and until when it counts."""

    name: Name
    public_key: Annotated[bytes, msgspec.Meta(min_length=32, max_length=32)]
    until_utc_us: Count


class Operators(Record, frozen=True):
    """Everybody whose own orders cars are to obey, in the server's word; a lower revision is void.

    `utc_us` is when the server said it: no earlier moment is the present one.
    """

    revision: Count
    utc_us: Count
    keys: Annotated[tuple[OperatorKey, ...], msgspec.Meta(max_length=64)]


class CommandResult(Record, frozen=True):
    """A car's answer to one command."""

    device: DeviceName
    actor: Name
    number: Count
    outcome: Literal["done", "refused", "failed"]
    reason: Reason = ""


class UpdateEvent(Record, frozen=True):
    """One step of a model update on a car, with the evidence for it."""

    device: DeviceName
    boot: BootId
    utc_us: Count
    number: Count
    target: TargetPath
    model: Sha256 | None
    state: Literal[
        "fetching",
        "verifying",
        "probing",
        "shadowing",
        "choosing",
        "committing",
        "idle",
        "refused",
        "rolled_back",
    ]
    reason: Reason = ""
    evidence: Numbers = field(default_factory=dict)


class ReleaseMetadata(Record, frozen=True):
    """All TUF metadata at once, so that what is missing is known to be missing.

    `files` maps a metadata file name as TUF asks for it ("2.root.json", "timestamp.json", ...) to
    its bytes; the bytes carry their own signatures.
    """

    files: Annotated[
        dict[
            Annotated[str, msgspec.Meta(max_length=96, pattern=r"^[A-Za-z0-9_.-]+\.json" + END)],
            Annotated[bytes, msgspec.Meta(max_length=512 * 1024)],
        ],
        msgspec.Meta(max_length=512),
    ]


class Chunk(Record, frozen=True):
    """One piece of a model; its bytes go over the wire bare (see `shared.codec`)."""

    data: Annotated[bytes, msgspec.Meta(max_length=64 * 1024)]


Message = (
    Presence
    | Status
    | Telemetry
    | Batch
    | Receipt
    | Desired
    | Command
    | CommandResult
    | Operators
    | UpdateEvent
    | ReleaseMetadata
    | Chunk
)
"""Any message."""
