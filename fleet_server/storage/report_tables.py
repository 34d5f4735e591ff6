"""The tables of what people and workers report, and of what people are told.

Laws:
- a run and its artefacts are written once and never changed: they are what a model's past is read
  from;
- one alert of a key is open at a time, which the database itself enforces;
- an open alert without a delivery row for a channel has not been told there yet: a kill tells too
  late, and never not at all.
"""

from sqlalchemy import Column, Float, Index, LargeBinary, Table, Text, UniqueConstraint, text

from fleet_server.storage.columns import WHOLE, count, metadata, need, row_id

annotations = Table(
    "annotations",
    metadata,
    row_id(),
    need("device", Text),
    need("boot", Text),
    need("sequence", WHOLE),
    need("utc_us", WHOLE),
    need("author", Text),
    need("kind", Text),
    need("text", Text),
    Column("label", Float),
    Index("ix_annotations_device_boot_sequence", "device", "boot", "sequence"),
    sqlite_autoincrement=True,
)
"""What people wrote to a pair; `label` is what it should have been, in the task's unit."""

runs = Table(
    "runs",
    metadata,
    row_id(),
    Column("run", Text, nullable=False, unique=True),
    need("job", WHOLE),
    need("attempt", WHOLE),
    need("experiment", Text),
    need("deployment", Text),
    need("dataset_sha256", Text),
    need("utc_us", WHOLE),
    need("record", Text),
    Index("ix_runs_job", "job"),
    Index("ix_runs_experiment", "experiment"),
    Index("ix_runs_dataset_sha256", "dataset_sha256"),
    sqlite_autoincrement=True,
)
"""One row a run of a worker's pipeline; `record` is JSON: parameters, metrics, steps, versions."""

artefacts = Table(
    "artefacts",
    metadata,
    row_id(),
    need("job", WHOLE),
    need("attempt", WHOLE),
    need("name", Text),
    need("sha256", Text),
    need("size_bytes", WHOLE),
    need("utc_us", WHOLE),
    need("body", LargeBinary),
    UniqueConstraint("job", "attempt", "name"),
    sqlite_autoincrement=True,
)
"""Files that a worker handed in with its result."""

OPEN_ALERT = "ended_utc_us IS NULL"

alerts = Table(
    "alerts",
    metadata,
    row_id(),
    need("key", Text),
    need("kind", Text),
    need("severity", Text),
    need("deployment", Text),
    need("subject", Text),
    need("reason", Text),
    need("evidence", Text),
    Column("verdict", WHOLE),
    need("utc_us", WHOLE),
    Column("acknowledged_utc_us", WHOLE),
    Column("acknowledged_by", Text),
    Column("ended_utc_us", WHOLE),
    Index(
        "ux_alerts_open",
        "key",
        unique=True,
        sqlite_where=text(OPEN_ALERT),
        postgresql_where=text(OPEN_ALERT),
    ),
    sqlite_autoincrement=True,
)
"""What people should know. `key` names the condition; an alert ends when its condition does, one
that tells of an event when somebody acknowledges it."""

deliveries = Table(
    "deliveries",
    metadata,
    row_id(),
    need("alert", WHOLE),
    need("channel", Text),
    count("attempts"),
    need("due_utc_us", WHOLE),
    Column("delivered_utc_us", WHOLE),
    Column("given_up_utc_us", WHOLE),
    Column("problem", Text, nullable=False, server_default=text("''")),
    UniqueConstraint("alert", "channel"),
    Index(
        "ix_deliveries_due",
        "due_utc_us",
        sqlite_where=text("delivered_utc_us IS NULL AND given_up_utc_us IS NULL"),
        postgresql_where=text("delivered_utc_us IS NULL AND given_up_utc_us IS NULL"),
    ),
    sqlite_autoincrement=True,
)
"""One row for each alert and channel: when to try next, and how it went."""
