"""The table of rollouts.

Laws:
- a deployment has one open rollout (running or paused) at most: the control loop begins none while
  there is one;
- what moved a rollout is in the log book; the row says where it stands.
"""

from sqlalchemy import Boolean, Column, Float, Index, Table, Text, false, text

from fleet_server.storage.columns import WHOLE, metadata, need, row_id

rollouts = Table(
    "rollouts",
    metadata,
    row_id(),
    need("deployment", Text),
    need("model", Text),
    need("path", Text),
    need("strategy", Text),
    Column("share", Float, nullable=False, server_default=text("0.5")),
    Column("harm", Boolean, nullable=False, server_default=false()),
    need("state", Text),
    need("stage", WHOLE),
    need("stage_since_utc_us", WHOLE),
    need("begun_utc_us", WHOLE),
    need("reason", Text),
    Index("ix_rollouts_deployment", "deployment"),
    sqlite_autoincrement=True,
)
"""A new model on its way.

`state` is running, paused, ended (it was promoted), aborted (by a person) or dropped (not better).
"""

OPEN = ("running", "paused")
STOPPED = ("aborted", "dropped")
