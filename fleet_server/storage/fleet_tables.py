"""The tables of a fleet's cars beside what they measure: keys, labels, orders; and who does what.

Laws:
- a command is a row before it is said, and `sent_utc_us` is committed before that too: a kill in
  between loses an order, which is then seen to be unanswered, and never gives one twice;
- a former key counts until `until_utc_us` and stays as a record after that;
- a lease's `term` only ever rises: who finds a higher one than its own has lost it.
"""

from sqlalchemy import Column, Index, LargeBinary, PrimaryKeyConstraint, Table, Text, text

from fleet_server.storage.columns import WHOLE, metadata, need, row_id

former_keys = Table(
    "former_keys",
    metadata,
    row_id(),
    need("device", Text),
    need("public_key", LargeBinary),
    need("replaced_utc_us", WHOLE),
    need("until_utc_us", WHOLE),
    Index("ix_former_keys_device", "device"),
    sqlite_autoincrement=True,
)
"""Keys that cars signed with before they made others."""

device_labels = Table(
    "device_labels",
    metadata,
    need("device", Text),
    need("name", Text),
    need("value", Text),
    PrimaryKeyConstraint("device", "name"),
    Index("ix_device_labels_name_value", "name", "value"),
)
"""What people say of a car, such as place = garage: groups are made of these."""

UNANSWERED = "outcome IS NULL"

commands = Table(
    "commands",
    metadata,
    row_id(),
    need("device", Text),
    need("actor", Text),
    need("verb", Text),
    need("arguments", Text),
    need("boot", Text),
    need("connection", WHOLE),
    need("decision", WHOLE),
    need("utc_us", WHOLE),
    Column("sent_utc_us", WHOLE),
    Column("outcome", Text),
    Column("reason", Text, nullable=False, server_default=text("''")),
    Column("ended_utc_us", WHOLE),
    Index("ix_commands_device", "device"),
    Index(
        "ix_commands_unanswered",
        "id",
        sqlite_where=text(UNANSWERED),
        postgresql_where=text(UNANSWERED),
    ),
    sqlite_autoincrement=True,
)
"""Operators' orders and what became of them; the row id is the command's number. `boot` and
`connection` are those that the operator last saw."""

leases = Table(
    "leases",
    metadata,
    Column("name", Text, primary_key=True),
    need("term", WHOLE),
    need("holder", Text),
    need("since_utc_us", WHOLE),
)
"""What one process at a time may do, and which one last began to."""
