"""Two models that share a car's driving, and models that were withdrawn by their owner."""

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; a rollout of before has no second arm, whatever its share."""
    share = sa.Column("share", sa.Float(), server_default=sa.text("0.5"), nullable=False)
    op.add_column("rollouts", share)
    op.add_column("desired", sa.Column("share", sa.Float(), nullable=True))
    op.add_column("desired", sa.Column("draw", sa.Text(), nullable=True))
    whole = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.add_column("models", sa.Column("withdrawn_utc_us", whole, nullable=True))
