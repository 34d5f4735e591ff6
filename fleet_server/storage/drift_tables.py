"""The tables of drift: manoeuvres in a few numbers, what is remembered of models on cars, verdicts.

Laws:
- a manoeuvre is summarised once, when its pairs are there or were waited for long enough; what is
  summarised up to a deployment's cursor is never looked through again;
- a track is written in the transaction of the manoeuvre that changed it: a kill leaves both or
  neither;
- one verdict of a kind and subject is open at a time for a model on a car, which the database
  itself enforces.
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
    false,
    text,
    true,
)

from fleet_server.storage.columns import WHOLE, metadata, need, row_id

drift_cursors = Table(
    "drift_cursors",
    metadata,
    Column("deployment", Text, primary_key=True),
    need("manoeuvre", WHOLE),
)
"""Up to which row id a deployment's manoeuvres are summarised."""

drift_summaries = Table(
    "drift_summaries",
    metadata,
    Column("manoeuvre", WHOLE, primary_key=True, autoincrement=False),
    need("device", Text),
    need("deployment", Text),
    need("model", Text),
    need("samples", WHOLE),
    need("body", LargeBinary),
    Index("ix_drift_summaries_deployment", "deployment"),
    Index("ix_drift_summaries_device", "device"),
)
"""One row a manoeuvre, by its row id; `body` is a `drift.summaries.Summary` as msgpack."""

drift_tracks = Table(
    "drift_tracks",
    metadata,
    need("deployment", Text),
    need("device", Text),
    need("model", Text),
    need("manoeuvre", WHOLE),
    need("error_sum", Float),
    need("sigma_sum", Float),
    need("body", LargeBinary),
    PrimaryKeyConstraint("deployment", "device", "model"),
    Index("ix_drift_tracks_model", "model"),
    Index("ix_drift_tracks_device", "device"),
)
"""What is remembered of a model on a car; `body` is a `drift.follow.Track` as msgpack, `manoeuvre`
the last one that it knows. The sums are those of its `Watch`."""

OPEN_VERDICT = "cleared_utc_us IS NULL"

verdicts = Table(
    "verdicts",
    metadata,
    row_id(),
    need("utc_us", WHOLE),
    need("deployment", Text),
    need("model", Text),
    need("kind", Text),
    need("reason", Text),
    need("evidence", Text),
    need("since_sample", WHOLE),
    Column("device", Text, nullable=False, server_default=text("''")),
    Column("subject", Text, nullable=False, server_default=text("'harm'")),
    Column("cause", Text, nullable=False, server_default=text("'unnamed'")),
    Column("hurts", Boolean, nullable=False, server_default=true()),
    Column("is_estimate", Boolean, nullable=False, server_default=false()),
    Column("error", Float),
    Column("normal", Float),
    Column("changed_utc_us", WHOLE),
    Column("cleared_utc_us", WHOLE),
    Column("cleared_reason", Text, nullable=False, server_default=text("''")),
    Index(
        "ux_verdicts_open",
        *("deployment", "model", "device", "kind", "subject"),
        unique=True,
        sqlite_where=text(OPEN_VERDICT),
        postgresql_where=text(OPEN_VERDICT),
    ),
    sqlite_autoincrement=True,
)
"""What was found out about a model on a car; `since_sample` is the row id at which it began.

`kind` is drift (the error rose), sensor or change (which does not hurt); `cause` may be named later
than the verdict was found, at `changed_utc_us`. It is open until it is cleared, and why.
"""

distrusts = Table(
    "distrusts",
    metadata,
    row_id(),
    need("utc_us", WHOLE),
    need("verdict", WHOLE),
    need("deployment", Text),
    need("device", Text),
    need("since_sample", WHOLE),
    Column("until_sample", WHOLE),
    Column("lifted_after_job", WHOLE),
    Index("ix_distrusts_device", "device"),
    sqlite_autoincrement=True,
)
"""Stretches of a car's labels that no job learns: from the row id `since_sample` on, to
`until_sample` once the verdict is cleared. A person who has checked the sensor lifts it for the
jobs after `lifted_after_job`."""
