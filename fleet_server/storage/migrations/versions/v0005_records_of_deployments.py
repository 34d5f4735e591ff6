"""How many pairs were filed under each deployment, counted as they are stored."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

_WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the counter, which begins at what is stored."""
    op.add_column(
        "deployments",
        sa.Column("pairs_stored", _WHOLE, server_default=sa.text("0"), nullable=False),
    )
    op.execute(
        "UPDATE deployments SET pairs_stored = "
        "(SELECT count(*) FROM samples WHERE samples.deployment = deployments.name)"
    )
