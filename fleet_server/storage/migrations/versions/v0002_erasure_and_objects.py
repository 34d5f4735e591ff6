"""Erasure with tombstones, bytes in an object store, a quarantine with a budget."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add what is needed; batches stored so far have their bytes in their rows."""
    op.add_column(
        "batches", sa.Column("external", sa.Boolean(), server_default=sa.false(), nullable=False)
    )
    op.add_column("batches", sa.Column("rewritten_by", _WHOLE, nullable=True))
    _create_erasures()
    op.create_index("ix_quarantine_device", "quarantine", ["device"], unique=False)
    op.create_table(
        "quarantine_tallies",
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("kept_bytes", _WHOLE, server_default=sa.text("0"), nullable=False),
        sa.Column("dropped", _WHOLE, server_default=sa.text("0"), nullable=False),
        sa.Column("dropped_bytes", _WHOLE, server_default=sa.text("0"), nullable=False),
        sa.PrimaryKeyConstraint("device", name=op.f("pk_quarantine_tallies")),
    )
    op.execute(
        "INSERT INTO quarantine_tallies (device, kept_bytes) "
        "SELECT device, sum(length(body)) FROM quarantine GROUP BY device"
    )


def _create_erasures() -> None:
    op.create_table(
        "erasures",
        sa.Column("id", _WHOLE, autoincrement=True, nullable=False),
        sa.Column("utc_us", _WHOLE, nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("device", sa.Text(), nullable=True),
        sa.Column("since_utc_us", _WHOLE, nullable=True),
        sa.Column("until_utc_us", _WHOLE, nullable=True),
        sa.Column("decision", _WHOLE, nullable=False),
        sa.Column("last_batch", _WHOLE, nullable=False),
        sa.Column("reached", _WHOLE, server_default=sa.text("0"), nullable=False),
        sa.Column("samples", _WHOLE, server_default=sa.text("0"), nullable=False),
        sa.Column("pictures", _WHOLE, server_default=sa.text("0"), nullable=False),
        sa.Column("manoeuvres", _WHOLE, server_default=sa.text("0"), nullable=False),
        sa.Column("batches", _WHOLE, server_default=sa.text("0"), nullable=False),
        sa.Column("refused", _WHOLE, server_default=sa.text("0"), nullable=False),
        sa.Column("finished_utc_us", _WHOLE, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_erasures")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "erasure_jobs",
        sa.Column("erasure", _WHOLE, nullable=False),
        sa.Column("job", _WHOLE, nullable=False),
        sa.Column("pairs", _WHOLE, nullable=False),
        sa.PrimaryKeyConstraint("erasure", "job", name=op.f("pk_erasure_jobs")),
    )
    op.create_table(
        "tombstones",
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("boot", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("first", _WHOLE, nullable=False),
        sa.Column("last", _WHOLE, nullable=False),
        sa.Column("erasure", _WHOLE, nullable=False),
        sa.PrimaryKeyConstraint("device", "boot", "kind", "first", name=op.f("pk_tombstones")),
    )
    op.create_index("ix_tombstones_erasure", "tombstones", ["erasure"], unique=False)
    op.create_table(
        "doomed",
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("utc_us", _WHOLE, nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_doomed")),
    )
