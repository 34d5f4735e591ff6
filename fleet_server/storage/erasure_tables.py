"""The tables of erasure: what was asked for, what it removed, and what may not come back.

Laws:
- an erasure is a row before anything is deleted, and its `reached` moves in the transaction that
  deletes: a kill at any instant loses nothing but time;
- a tombstone holds keys and nothing else, as stretches of consecutive numbers.
"""

from sqlalchemy import Column, Index, PrimaryKeyConstraint, Table, Text

from fleet_server.storage.columns import WHOLE, count, metadata, need, row_id

erasures = Table(
    "erasures",
    metadata,
    row_id(),
    need("utc_us", WHOLE),
    need("actor", Text),
    need("reason", Text),
    Column("device", Text),
    Column("since_utc_us", WHOLE),
    Column("until_utc_us", WHOLE),
    need("decision", WHOLE),
    need("last_batch", WHOLE),
    count("reached"),
    count("samples"),
    count("pictures"),
    count("manoeuvres"),
    count("batches"),
    count("refused"),
    Column("finished_utc_us", WHOLE),
    sqlite_autoincrement=True,
)
"""One row a request. Batches with a row id up to `reached` have been looked through, `last_batch`
is the last that was stored when it was asked for; `refused` counts messages in quarantine."""

erasure_jobs = Table(
    "erasure_jobs",
    metadata,
    need("erasure", WHOLE),
    need("job", WHOLE),
    need("pairs", WHOLE),
    PrimaryKeyConstraint("erasure", "job"),
)
"""The training jobs whose data sets held pairs that are erased, and how many."""

tombstones = Table(
    "tombstones",
    metadata,
    need("device", Text),
    need("boot", Text),
    need("kind", Text),
    need("first", WHOLE),
    need("last", WHOLE),
    need("erasure", WHOLE),
    PrimaryKeyConstraint("device", "boot", "kind", "first"),
    Index("ix_tombstones_erasure", "erasure"),
)
"""Erased keys: of kind "sample" the sequences `first` to `last`, of kind "manoeuvre" the numbers of
manoeuvres."""

doomed = Table(
    "doomed",
    metadata,
    Column("sha256", Text, primary_key=True),
    need("utc_us", WHOLE),
)
"""Objects that no row names any more, to be deleted from the object store; while a digest stands
here, no batch with it is stored."""
