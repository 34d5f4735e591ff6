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
    Integer,
    LargeBinary,
    MetaData,
    PrimaryKeyConstraint,
    Table,
    Text,
    UniqueConstraint,
    and_,
    text,
)
from sqlalchemy.sql import ColumnElement

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


def _id() -> Column[int]:
    return Column("id", Integer, primary_key=True, autoincrement=True)


def _need(name: str, kind: type) -> Column[object]:
    return Column(name, kind, nullable=False)


def _count(name: str) -> Column[int]:
    return Column(name, Integer, nullable=False, server_default=text("0"))


meta = Table(
    "meta",
    metadata,
    Column("key", Text, primary_key=True),
    _need("value", Text),
)
"""Facts about this database: `epoch` orders the desired states of two databases."""

deployments = Table(
    "deployments",
    metadata,
    _id(),
    Column("name", Text, nullable=False, unique=True),
    _need("task", Text),
    Column("latest_model", Text),
    _need("created_utc_us", Integer),
    sqlite_autoincrement=True,
)

devices = Table(
    "devices",
    metadata,
    _id(),
    Column("name", Text, nullable=False, unique=True),
    _need("public_key", LargeBinary),
    _need("deployment", Text),
    _need("enrolled_utc_us", Integer),
    Column("desired", Integer),
    _count("pairs_stored"),
    _count("pictures_stored"),
    Column("last_seen_utc_us", Integer),
    Column("online", Boolean, nullable=False, server_default=text("0")),
    Column("boot", Text),
    _count("connection"),
    Column("loaded", Text),
    Column("status", Text),
    Column("update_event", Text),
    sqlite_autoincrement=True,
)
"""One row a car: who it is, the desired state in force, and what it last said of itself."""

model_history = Table(
    "model_history",
    metadata,
    _id(),
    _need("device", Text),
    _need("model", Text),
    _need("release_seq", Integer),
    _need("since_utc_us", Integer),
    Index("ix_model_history_device", "device"),
    sqlite_autoincrement=True,
)
"""Each change of the digest that a car reports as loaded."""

update_events = Table(
    "update_events",
    metadata,
    _id(),
    _need("device", Text),
    _need("boot", Text),
    _need("number", Integer),
    _need("received_utc_us", Integer),
    _need("body", LargeBinary),
    UniqueConstraint("device", "boot", "number"),
    sqlite_autoincrement=True,
)

enrolments = Table(
    "enrolments",
    metadata,
    _id(),
    Column("code_sha256", Text, nullable=False, unique=True),
    _need("device", Text),
    _need("deployment", Text),
    _need("created_utc_us", Integer),
    _need("expires_utc_us", Integer),
    Column("used_utc_us", Integer),
    sqlite_autoincrement=True,
)

tokens = Table(
    "tokens",
    metadata,
    _id(),
    _need("name", Text),
    _need("role", Text),
    Column("sha256", Text, nullable=False, unique=True),
    _need("created_utc_us", Integer),
    sqlite_autoincrement=True,
)

batches = Table(
    "batches",
    metadata,
    _id(),
    _need("device", Text),
    Column("sha256", Text, nullable=False, unique=True),
    _need("received_utc_us", Integer),
    _need("samples", Integer),
    _need("manoeuvres", Integer),
    _need("pictures", Integer),
    _need("size_bytes", Integer),
    _need("body", LargeBinary),
    Index("ix_batches_device", "device"),
    sqlite_autoincrement=True,
)

samples = Table(
    "samples",
    metadata,
    _id(),
    _need("device", Text),
    _need("boot", Text),
    _need("sequence", Integer),
    _need("manoeuvre", Integer),
    _need("deployment", Text),
    Column("label", Float),
    Column("picture_sha256", Text),
    _need("batch", Integer),
    _need("received_utc_us", Integer),
    _need("content_hash", Text),
    _need("body", LargeBinary),
    UniqueConstraint("device", "boot", "sequence"),
    Index("ix_samples_deployment", "deployment"),
    Index("ix_samples_device", "device"),
    sqlite_autoincrement=True,
)

pictures = Table(
    "pictures",
    metadata,
    _id(),
    _need("device", Text),
    _need("boot", Text),
    _need("sequence", Integer),
    _need("sha256", Text),
    _need("batch", Integer),
    _need("offset", Integer),
    _need("size_bytes", Integer),
    UniqueConstraint("device", "boot", "sequence"),
    sqlite_autoincrement=True,
)
"""Where each sample's JPEG lies inside its batch's bytes."""

manoeuvres = Table(
    "manoeuvres",
    metadata,
    _id(),
    _need("device", Text),
    _need("boot", Text),
    _need("manoeuvre", Integer),
    _need("deployment", Text),
    _need("batch", Integer),
    _need("received_utc_us", Integer),
    _need("pairs", Integer),
    _need("content_hash", Text),
    _need("body", LargeBinary),
    UniqueConstraint("device", "boot", "manoeuvre"),
    Index("ix_manoeuvres_deployment", "deployment"),
    Index("ix_manoeuvres_device", "device"),
    sqlite_autoincrement=True,
)
"""How each manoeuvre ended; its numbers stand in `tallies`."""

tallies = Table(
    "tallies",
    metadata,
    _need("device", Text),
    _need("boot", Text),
    _need("manoeuvre", Integer),
    _need("model", Text),
    _need("samples", Integer),
    _need("led", Integer),
    _need("labelled", Integer),
    _need("label_sum", Float),
    _need("error_sum", Float),
    _need("since_sample", Integer),
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
    _id(),
    _need("device", Text),
    _need("topic", Text),
    Column("sha256", Text, nullable=False, unique=True),
    _need("reason", Text),
    _need("received_utc_us", Integer),
    _need("size_bytes", Integer),
    _count("repeats"),
    _need("body", LargeBinary),
    sqlite_autoincrement=True,
)
"""Messages that were refused, with the reason."""

models = Table(
    "models",
    metadata,
    _id(),
    Column("sha256", Text, nullable=False, unique=True),
    _need("deployment", Text),
    _need("version", Integer),
    _need("release_seq", Integer),
    _need("path", Text),
    _need("manifest", Text),
    _need("registered_utc_us", Integer),
    Column("job", Integer),
    _need("since_manoeuvre", Integer),
    Column("reference_mae", Float),
    UniqueConstraint("deployment", "version"),
    sqlite_autoincrement=True,
)
"""`since_manoeuvre` is the last manoeuvre before the model was there; `reference_mae` its error in
the field once that was measured, in the task's unit."""

OPEN_JOB = "state IN ('queued', 'running')"

training_jobs = Table(
    "training_jobs",
    metadata,
    _id(),
    _need("deployment", Text),
    _need("reason", Text),
    _need("decision", Integer),
    Column("verdict", Integer),
    _need("state", Text),
    _need("created_utc_us", Integer),
    _need("changed_utc_us", Integer),
    Column("worker", Text),
    _count("attempt"),
    Column("lease_until_utc_us", Integer),
    Column("release_seq", Integer),
    Column("cut_sample", Integer),
    Column("cut_picture", Integer),
    Column("stage", Text, nullable=False, server_default=text("''")),
    Column("fraction", Float, nullable=False, server_default=text("0")),
    Column("message", Text, nullable=False, server_default=text("''")),
    Column("model", Text),
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

verdicts = Table(
    "verdicts",
    metadata,
    _id(),
    _need("utc_us", Integer),
    _need("deployment", Text),
    _need("model", Text),
    _need("kind", Text),
    _need("reason", Text),
    _need("evidence", Text),
    _need("since_sample", Integer),
    UniqueConstraint("deployment", "model", "kind"),
    sqlite_autoincrement=True,
)
"""What was found out about a model; `since_sample` is the row id at which it began."""

decisions = Table(
    "decisions",
    metadata,
    _id(),
    _need("utc_us", Integer),
    _need("deployment", Text),
    _need("actor", Text),
    _need("kind", Text),
    _need("reason", Text),
    _need("evidence", Text),
    Column("verdict", Integer),
    Column("model", Text),
    sqlite_autoincrement=True,
)
"""The fleet's log book: what was changed, by whom, and why."""

desired = Table(
    "desired",
    metadata,
    _id(),
    _need("device", Text),
    _need("epoch", Integer),
    _need("revision", Integer),
    _need("deployment", Text),
    Column("target", Text),
    _need("upload", Text),
    Column("decision", Integer),
    _need("utc_us", Integer),
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
