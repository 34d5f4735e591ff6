"""Runs and artefacts, annotations, alerts and their deliveries; tokens that can be revoked."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_WAITING = sa.text("delivered_utc_us IS NULL AND given_up_utc_us IS NULL")
_OPEN = sa.text("ended_utc_us IS NULL")


def upgrade() -> None:
    """Add the tables; a token of before is in force as before."""
    op.add_column("tokens", sa.Column("revoked_utc_us", _WHOLE, nullable=True))
    _create_annotations()
    _create_runs()
    _create_artefacts()
    _create_alerts()
    _create_deliveries()


def _create_annotations() -> None:
    op.create_table(
        "annotations",
        sa.Column("id", _WHOLE, autoincrement=True, nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("boot", sa.Text(), nullable=False),
        sa.Column("sequence", _WHOLE, nullable=False),
        sa.Column("utc_us", _WHOLE, nullable=False),
        sa.Column("author", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("text", sa.Text(), nullable=False),
        sa.Column("label", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_annotations")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_annotations_device_boot_sequence", "annotations", ["device", "boot", "sequence"]
    )


def _create_runs() -> None:
    op.create_table(
        "runs",
        sa.Column("id", _WHOLE, autoincrement=True, nullable=False),
        sa.Column("run", sa.Text(), nullable=False),
        sa.Column("job", _WHOLE, nullable=False),
        sa.Column("attempt", _WHOLE, nullable=False),
        sa.Column("experiment", sa.Text(), nullable=False),
        sa.Column("deployment", sa.Text(), nullable=False),
        sa.Column("dataset_sha256", sa.Text(), nullable=False),
        sa.Column("utc_us", _WHOLE, nullable=False),
        sa.Column("record", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runs")),
        sa.UniqueConstraint("run", name=op.f("uq_runs_run")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_runs_job", "runs", ["job"])
    op.create_index("ix_runs_experiment", "runs", ["experiment"])
    op.create_index("ix_runs_dataset_sha256", "runs", ["dataset_sha256"])


def _create_artefacts() -> None:
    op.create_table(
        "artefacts",
        sa.Column("id", _WHOLE, autoincrement=True, nullable=False),
        sa.Column("job", _WHOLE, nullable=False),
        sa.Column("attempt", _WHOLE, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("size_bytes", _WHOLE, nullable=False),
        sa.Column("utc_us", _WHOLE, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_artefacts")),
        sa.UniqueConstraint("job", "attempt", "name", name=op.f("uq_artefacts_job_attempt_name")),
        sqlite_autoincrement=True,
    )


def _create_alerts() -> None:
    op.create_table(
        "alerts",
        sa.Column("id", _WHOLE, autoincrement=True, nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("severity", sa.Text(), nullable=False),
        sa.Column("deployment", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.Column("verdict", _WHOLE, nullable=True),
        sa.Column("utc_us", _WHOLE, nullable=False),
        sa.Column("acknowledged_utc_us", _WHOLE, nullable=True),
        sa.Column("acknowledged_by", sa.Text(), nullable=True),
        sa.Column("ended_utc_us", _WHOLE, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_alerts")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ux_alerts_open",
        "alerts",
        ["key"],
        unique=True,
        sqlite_where=_OPEN,
        postgresql_where=_OPEN,
    )


def _create_deliveries() -> None:
    op.create_table(
        "deliveries",
        sa.Column("id", _WHOLE, autoincrement=True, nullable=False),
        sa.Column("alert", _WHOLE, nullable=False),
        sa.Column("channel", sa.Text(), nullable=False),
        sa.Column("attempts", _WHOLE, server_default=sa.text("0"), nullable=False),
        sa.Column("due_utc_us", _WHOLE, nullable=False),
        sa.Column("delivered_utc_us", _WHOLE, nullable=True),
        sa.Column("given_up_utc_us", _WHOLE, nullable=True),
        sa.Column("problem", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deliveries")),
        sa.UniqueConstraint("alert", "channel", name=op.f("uq_deliveries_alert_channel")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ix_deliveries_due",
        "deliveries",
        ["due_utc_us"],
        sqlite_where=_WAITING,
        postgresql_where=_WAITING,
    )
