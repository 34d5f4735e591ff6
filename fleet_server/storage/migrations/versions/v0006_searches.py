"""How many settings a training job's search shall try."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

_WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the number; jobs of before ask for none."""
    op.add_column(
        "training_jobs",
        sa.Column("trials", _WHOLE, server_default=sa.text("0"), nullable=False),
    )
