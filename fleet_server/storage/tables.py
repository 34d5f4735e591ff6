"""All tables of the fleet server, as SQLAlchemy Core sees them.

Laws:
- a table's row id only ever grows and is never used twice (AUTOINCREMENT), so it is its own cursor;
- `batches` holds the received messages, unchanged; `samples`, `manoeuvres` and `pictures` are an
  index over them, written in the same transaction: a picture is a slice of its batch's bytes;
- (device, boot, sequence) and (device, boot, manoeuvre) are unique: a repeat stores nothing;
- no index on a random column but where a look-up needs it (`batches.sha256`, `quarantine.sha256`,
  `tokens.sha256`: one row each for many samples); all others grow at their end.

There are no foreign keys: what belongs together is written together, and what is erased later
leaves its references as tombstones. Digests are lower-case hexadecimal text; times are UTC
microseconds; structured values are JSON text, records of cars msgpack.
"""

from sqlalchemy import (
    Boolean,
    Column,
    Float,
    Index,
    LargeBinary,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    and_,
    false,
    text,
)
from sqlalchemy.sql import ColumnElement

from fleet_server.storage.columns import WHOLE, count, metadata, need, row_id

meta = Table(
    "meta",
    metadata,
    Column("key", Text, primary_key=True),
    need("value", Text),
)
"""Facts about this database: `epoch` orders the desired states of two databases."""

deployments = Table(
    "deployments",
    metadata,
    row_id(),
    Column("name", Text, nullable=False, unique=True),
    need("task", Text),
    Column("latest_model", Text),
    need("created_utc_us", WHOLE),
    Column("status", Text, nullable=False, server_default=text("'active'")),
    Column("pinned_version", WHOLE),
    count("pairs_stored"),
    sqlite_autoincrement=True,
)
"""A setting; its cars run `pinned_version`, or else `latest_model`. `status` is active or retired;
`pairs_stored` counts the samples filed under it."""

devices = Table(
    "devices",
    metadata,
    row_id(),
    Column("name", Text, nullable=False, unique=True),
    need("public_key", LargeBinary),
    need("deployment", Text),
    need("enrolled_utc_us", WHOLE),
    Column("desired", WHOLE),
    count("pairs_stored"),
    count("pictures_stored"),
    Column("last_seen_utc_us", WHOLE),
    Column("online", Boolean, nullable=False, server_default=false()),
    Column("boot", Text),
    count("connection"),
    Column("loaded", Text),
    Column("status", Text),
    Column("update_event", Text),
    Column("state", Text, nullable=False, server_default=text("'confirmed'")),
    count("silences"),
    Column("silent_since_utc_us", WHOLE),
    sqlite_autoincrement=True,
)
"""One row a car: who it is, the desired state in force, and what it last said of itself. `state` is
unconfirmed, confirmed or revoked; `silences` counts how often it fell silent while connected."""

model_history = Table(
    "model_history",
    metadata,
    row_id(),
    need("device", Text),
    need("model", Text),
    need("release_seq", WHOLE),
    need("since_utc_us", WHOLE),
    Index("ix_model_history_device", "device"),
    sqlite_autoincrement=True,
)
"""Each change of the digest that a car reports as loaded."""

update_events = Table(
    "update_events",
    metadata,
    row_id(),
    need("device", Text),
    need("boot", Text),
    need("number", WHOLE),
    need("received_utc_us", WHOLE),
    need("body", LargeBinary),
    UniqueConstraint("device", "boot", "number"),
    sqlite_autoincrement=True,
)

enrolments = Table(
    "enrolments",
    metadata,
    row_id(),
    Column("code_sha256", Text, nullable=False, unique=True),
    need("device", Text),
    need("deployment", Text),
    need("created_utc_us", WHOLE),
    need("expires_utc_us", WHOLE),
    Column("used_utc_us", WHOLE),
    sqlite_autoincrement=True,
)

tokens = Table(
    "tokens",
    metadata,
    row_id(),
    need("name", Text),
    need("role", Text),
    Column("sha256", Text, nullable=False, unique=True),
    need("created_utc_us", WHOLE),
    Column("revoked_utc_us", WHOLE),
    sqlite_autoincrement=True,
)

batches = Table(
    "batches",
    metadata,
    row_id(),
    need("device", Text),
    Column("sha256", Text, nullable=False, unique=True),
    need("received_utc_us", WHOLE),
    need("samples", WHOLE),
    need("manoeuvres", WHOLE),
    need("pictures", WHOLE),
    need("size_bytes", WHOLE),
    need("body", LargeBinary),
    Column("external", Boolean, nullable=False, server_default=false()),
    Column("rewritten_by", WHOLE),
    Index("ix_batches_device", "device"),
    sqlite_autoincrement=True,
)
"""`sha256` is that of the batch's bytes, which lie in `body`, or, where `external`, under their
digest in the object store (then `body` is empty). A batch that an erasure has been through
(`rewritten_by`) holds a bare `Batch` of what is left, all others the signed message as received."""

samples = Table(
    "samples",
    metadata,
    row_id(),
    need("device", Text),
    need("boot", Text),
    need("sequence", WHOLE),
    need("manoeuvre", WHOLE),
    need("deployment", Text),
    Column("label", Float),
    Column("picture_sha256", Text),
    need("batch", WHOLE),
    need("received_utc_us", WHOLE),
    need("content_hash", Text),
    need("body", LargeBinary),
    UniqueConstraint("device", "boot", "sequence"),
    Index("ix_samples_deployment", "deployment"),
    Index("ix_samples_device", "device"),
    sqlite_autoincrement=True,
)

pictures = Table(
    "pictures",
    metadata,
    row_id(),
    need("device", Text),
    need("boot", Text),
    need("sequence", WHOLE),
    need("sha256", Text),
    need("batch", WHOLE),
    need("offset", WHOLE),
    need("size_bytes", WHOLE),
    UniqueConstraint("device", "boot", "sequence"),
    sqlite_autoincrement=True,
)
"""Where each sample's JPEG lies inside its batch's bytes."""

manoeuvres = Table(
    "manoeuvres",
    metadata,
    row_id(),
    need("device", Text),
    need("boot", Text),
    need("manoeuvre", WHOLE),
    need("deployment", Text),
    need("batch", WHOLE),
    need("received_utc_us", WHOLE),
    need("pairs", WHOLE),
    need("content_hash", Text),
    need("body", LargeBinary),
    UniqueConstraint("device", "boot", "manoeuvre"),
    Index("ix_manoeuvres_deployment", "deployment"),
    Index("ix_manoeuvres_device", "device"),
    sqlite_autoincrement=True,
)
"""How each manoeuvre ended; its numbers stand in `tallies`."""

tallies = Table(
    "tallies",
    metadata,
    need("device", Text),
    need("boot", Text),
    need("manoeuvre", WHOLE),
    need("model", Text),
    need("samples", WHOLE),
    need("led", WHOLE),
    need("labelled", WHOLE),
    need("label_sum", Float),
    need("error_sum", Float),
    need("since_sample", WHOLE),
    PrimaryKeyConstraint("device", "boot", "manoeuvre", "model"),
    sqlite_with_rowid=False,
)
"""Sums over the stored samples of a manoeuvre, so that its mean error costs no scan.

`model` is "" for all samples, else a digest: `samples` it estimated, `led` those it steered (its
estimate came first), `labelled` those with a label, `label_sum` over these, and `error_sum` over
these, where an error is |estimate - label|. None of the samples has a row id below `since_sample`.
"""

quarantine = Table(
    "quarantine",
    metadata,
    row_id(),
    need("device", Text),
    need("topic", Text),
    Column("sha256", Text, nullable=False, unique=True),
    need("reason", Text),
    need("received_utc_us", WHOLE),
    need("size_bytes", WHOLE),
    count("repeats"),
    need("body", LargeBinary),
    Index("ix_quarantine_device", "device"),
    sqlite_autoincrement=True,
)
"""Messages that were refused, with the reason."""

quarantine_tallies = Table(
    "quarantine_tallies",
    metadata,
    Column("device", Text, primary_key=True),
    count("kept_bytes"),
    count("dropped"),
    count("dropped_bytes"),
)
"""How much is kept of the refused messages on each car's topic, and how much had to make room."""

models = Table(
    "models",
    metadata,
    row_id(),
    Column("sha256", Text, nullable=False, unique=True),
    need("deployment", Text),
    need("version", WHOLE),
    need("release_seq", WHOLE),
    need("path", Text),
    need("manifest", Text),
    need("registered_utc_us", WHOLE),
    Column("job", WHOLE),
    need("since_manoeuvre", WHOLE),
    Column("reference_mae", Float),
    Column("withdrawn_utc_us", WHOLE),
    UniqueConstraint("deployment", "version"),
    sqlite_autoincrement=True,
)
"""`since_manoeuvre` is the last manoeuvre before the model was there; `reference_mae` its error in
the field once that was measured, in the task's unit; `withdrawn_utc_us` when it was taken back."""

OPEN_JOB = "state IN ('queued', 'running')"

training_jobs = Table(
    "training_jobs",
    metadata,
    row_id(),
    need("deployment", Text),
    need("reason", Text),
    need("decision", WHOLE),
    Column("verdict", WHOLE),
    need("state", Text),
    need("created_utc_us", WHOLE),
    need("changed_utc_us", WHOLE),
    Column("worker", Text),
    count("attempt"),
    Column("lease_until_utc_us", WHOLE),
    Column("release_seq", WHOLE),
    Column("cut_sample", WHOLE),
    Column("cut_picture", WHOLE),
    Column("cut_distrust", WHOLE),
    Column("stage", Text, nullable=False, server_default=text("''")),
    Column("fraction", Float, nullable=False, server_default=text("0")),
    Column("message", Text, nullable=False, server_default=text("''")),
    Column("model", Text),
    count("trials"),
    Index(
        "ux_training_jobs_open",
        "deployment",
        unique=True,
        sqlite_where=text(OPEN_JOB),
        postgresql_where=text(OPEN_JOB),
    ),
    sqlite_autoincrement=True,
)
"""The queue; the database itself holds a deployment to one open job."""

decisions = Table(
    "decisions",
    metadata,
    row_id(),
    need("utc_us", WHOLE),
    need("deployment", Text),
    need("actor", Text),
    need("kind", Text),
    need("reason", Text),
    need("evidence", Text),
    Column("verdict", WHOLE),
    Column("model", Text),
    sqlite_autoincrement=True,
)
"""The fleet's log book: what was changed, by whom, and why."""

desired = Table(
    "desired",
    metadata,
    row_id(),
    need("device", Text),
    need("epoch", WHOLE),
    need("revision", WHOLE),
    need("deployment", Text),
    Column("target", Text),
    Column("candidate", Text),
    Column("harm", Boolean, nullable=False, server_default=false()),
    Column("share", Float),
    Column("draw", Text),
    need("upload", Text),
    Column("decision", WHOLE),
    need("utc_us", WHOLE),
    UniqueConstraint("device", "epoch", "revision"),
    sqlite_autoincrement=True,
)
"""Every desired state that was ever set; `devices.desired` names the one in force."""


def of_a_pair() -> ColumnElement[bool]:
    """Return the condition that a sample has a label and that a picture is the one it names."""
    return and_(
        same_sample(samples, pictures),
        samples.c.label.is_not(None),
        pictures.c.sha256 == samples.c.picture_sha256,
    )


def same_sample(left: Table, right: Table) -> ColumnElement[bool]:
    """Return the condition that two rows belong to the same sample."""
    return and_(*(left.c[name] == right.c[name] for name in ("device", "boot", "sequence")))
