"""Manoeuvres in a few numbers, models on cars, verdicts that are named and cleared, distrust."""

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

_WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_OPEN = sa.text("cleared_utc_us IS NULL")


def upgrade() -> None:
    """Add the tables of drift; verdicts of before count as drift without a named cause."""
    op.create_table(
        "drift_cursors",
        sa.Column("deployment", sa.Text(), nullable=False),
        sa.Column("manoeuvre", _WHOLE, nullable=False),
        sa.PrimaryKeyConstraint("deployment", name=op.f("pk_drift_cursors")),
    )
    _create_summaries()
    _create_tracks()
    _create_distrusts()
    op.add_column("training_jobs", sa.Column("cut_distrust", _WHOLE, nullable=True))
    _change_verdicts()


def _create_summaries() -> None:
    op.create_table(
        "drift_summaries",
        sa.Column("manoeuvre", _WHOLE, autoincrement=False, nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("deployment", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("samples", _WHOLE, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("manoeuvre", name=op.f("pk_drift_summaries")),
    )
    op.create_index("ix_drift_summaries_deployment", "drift_summaries", ["deployment"])
    op.create_index("ix_drift_summaries_device", "drift_summaries", ["device"])


def _create_tracks() -> None:
    op.create_table(
        "drift_tracks",
        sa.Column("deployment", sa.Text(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("manoeuvre", _WHOLE, nullable=False),
        sa.Column("error_sum", sa.Float(), nullable=False),
        sa.Column("sigma_sum", sa.Float(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("deployment", "device", "model", name=op.f("pk_drift_tracks")),
    )
    op.create_index("ix_drift_tracks_model", "drift_tracks", ["model"])
    op.create_index("ix_drift_tracks_device", "drift_tracks", ["device"])


def _create_distrusts() -> None:
    op.create_table(
        "distrusts",
        sa.Column("id", _WHOLE, autoincrement=True, nullable=False),
        sa.Column("utc_us", _WHOLE, nullable=False),
        sa.Column("verdict", _WHOLE, nullable=False),
        sa.Column("deployment", sa.Text(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("since_sample", _WHOLE, nullable=False),
        sa.Column("until_sample", _WHOLE, nullable=True),
        sa.Column("lifted_after_job", _WHOLE, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_distrusts")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_distrusts_device", "distrusts", ["device"])


def _change_verdicts() -> None:
    # SQLite knows no other way to drop a constraint than to write the table anew.
    with op.batch_alter_table("verdicts", table_kwargs={"sqlite_autoincrement": True}) as verdicts:
        verdicts.drop_constraint("uq_verdicts_deployment_model_kind", type_="unique")
        for column in _verdict_columns():
            verdicts.add_column(column)
    op.execute("UPDATE verdicts SET kind = 'drift' WHERE kind = 'measured-error-risen'")
    op.create_index(
        "ux_verdicts_open",
        "verdicts",
        ["deployment", "model", "device", "kind", "subject"],
        unique=True,
        sqlite_where=_OPEN,
        postgresql_where=_OPEN,
    )


def _verdict_columns() -> list[sa.Column[object]]:
    def text(name: str, default: str) -> sa.Column[object]:
        return sa.Column(name, sa.Text(), server_default=sa.text(f"'{default}'"), nullable=False)

    return [
        text("device", ""),
        text("subject", "harm"),
        text("cause", "unnamed"),
        sa.Column("hurts", sa.Boolean(), server_default=sa.true(), nullable=False),
        sa.Column("is_estimate", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("error", sa.Float(), nullable=True),
        sa.Column("normal", sa.Float(), nullable=True),
        sa.Column("changed_utc_us", _WHOLE, nullable=True),
        sa.Column("cleared_utc_us", _WHOLE, nullable=True),
        text("cleared_reason", ""),
    ]
