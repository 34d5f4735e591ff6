"""Cars that wait to be confirmed, former keys, labels, silence; pinned versions; orders; leases."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_UNANSWERED = sa.text("outcome IS NULL")


def upgrade() -> None:
    """Add what is needed; cars enrolled so far count as confirmed, deployments as active."""
    op.add_column(
        "devices",
        sa.Column("state", sa.Text(), server_default=sa.text("'confirmed'"), nullable=False),
    )
    op.add_column(
        "devices", sa.Column("silences", _WHOLE, server_default=sa.text("0"), nullable=False)
    )
    op.add_column("devices", sa.Column("silent_since_utc_us", _WHOLE, nullable=True))
    op.add_column(
        "deployments",
        sa.Column("status", sa.Text(), server_default=sa.text("'active'"), nullable=False),
    )
    op.add_column("deployments", sa.Column("pinned_version", _WHOLE, nullable=True))
    _create_keys_and_labels()
    _create_commands()
    op.create_table(
        "leases",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("term", _WHOLE, nullable=False),
        sa.Column("holder", sa.Text(), nullable=False),
        sa.Column("since_utc_us", _WHOLE, nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_leases")),
    )


def _create_keys_and_labels() -> None:
    op.create_table(
        "former_keys",
        sa.Column("id", _WHOLE, autoincrement=True, nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("replaced_utc_us", _WHOLE, nullable=False),
        sa.Column("until_utc_us", _WHOLE, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_former_keys")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_former_keys_device", "former_keys", ["device"])
    op.create_table(
        "device_labels",
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("device", "name", name=op.f("pk_device_labels")),
    )
    op.create_index("ix_device_labels_name_value", "device_labels", ["name", "value"])


def _create_commands() -> None:
    op.create_table(
        "commands",
        sa.Column("id", _WHOLE, autoincrement=True, nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("verb", sa.Text(), nullable=False),
        sa.Column("arguments", sa.Text(), nullable=False),
        sa.Column("boot", sa.Text(), nullable=False),
        sa.Column("connection", _WHOLE, nullable=False),
        sa.Column("decision", _WHOLE, nullable=False),
        sa.Column("utc_us", _WHOLE, nullable=False),
        sa.Column("sent_utc_us", _WHOLE, nullable=True),
        sa.Column("outcome", sa.Text(), nullable=True),
        sa.Column("reason", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("ended_utc_us", _WHOLE, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_commands")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_commands_device", "commands", ["device"])
    op.create_index(
        "ix_commands_unanswered",
        "commands",
        ["id"],
        sqlite_where=_UNANSWERED,
        postgresql_where=_UNANSWERED,
    )
