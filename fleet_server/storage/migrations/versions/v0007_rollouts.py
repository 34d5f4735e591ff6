"""Rollouts of a new model through a deployment, and candidates among what cars are told."""

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the table and the two columns."""
    op.create_table(
        "rollouts",
        sa.Column("id", _WHOLE, primary_key=True, autoincrement=True),
        sa.Column("deployment", sa.Text, nullable=False),
        sa.Column("model", sa.Text, nullable=False),
        sa.Column("path", sa.Text, nullable=False),
        sa.Column("strategy", sa.Text, nullable=False),
        sa.Column("harm", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("stage", _WHOLE, nullable=False),
        sa.Column("stage_since_utc_us", _WHOLE, nullable=False),
        sa.Column("begun_utc_us", _WHOLE, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_rollouts_deployment", "rollouts", ["deployment"])
    op.add_column("desired", sa.Column("candidate", sa.Text))
    op.add_column(
        "desired", sa.Column("harm", sa.Boolean, nullable=False, server_default=sa.false())
    )
