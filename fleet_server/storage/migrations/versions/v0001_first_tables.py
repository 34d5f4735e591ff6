"""The first schema."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# SQLite counts row ids in INTEGER columns alone, where every number has 64 bits anyway.
_WHOLE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create every table of the first version."""
    op.create_table(
        "batches",
        sa.Column("id", _WHOLE, autoincrement=True, nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("received_utc_us", _WHOLE, nullable=False),
        sa.Column("samples", _WHOLE, nullable=False),
        sa.Column("manoeuvres", _WHOLE, nullable=False),
        sa.Column("pictures", _WHOLE, nullable=False),
        sa.Column("size_bytes", _WHOLE, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_batches")),
        sa.UniqueConstraint("sha256", name=op.f("uq_batches_sha256")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_batches_device", "batches", ["device"], unique=False)
    op.create_table(
        "decisions",
        sa.Column("id", _WHOLE, autoincrement=True, nullable=False),
        sa.Column("utc_us", _WHOLE, nullable=False),
        sa.Column("deployment", sa.Text(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.Column("verdict", _WHOLE, nullable=True),
        sa.Column("model", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_decisions")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "deployments",
        sa.Column("id", _WHOLE, autoincrement=True, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("task", sa.Text(), nullable=False),
        sa.Column("latest_model", sa.Text(), nullable=True),
        sa.Column("created_utc_us", _WHOLE, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_deployments")),
        sa.UniqueConstraint("name", name=op.f("uq_deployments_name")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "desired",
        sa.Column("id", _WHOLE, autoincrement=True, nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("epoch", _WHOLE, nullable=False),
        sa.Column("revision", _WHOLE, nullable=False),
        sa.Column("deployment", sa.Text(), nullable=False),
        sa.Column("target", sa.Text(), nullable=True),
        sa.Column("upload", sa.Text(), nullable=False),
        sa.Column("decision", _WHOLE, nullable=True),
        sa.Column("utc_us", _WHOLE, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_desired")),
        sa.UniqueConstraint(
            "device", "epoch", "revision", name=op.f("uq_desired_device_epoch_revision")
        ),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "devices",
        sa.Column("id", _WHOLE, autoincrement=True, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("public_key", sa.LargeBinary(), nullable=False),
        sa.Column("deployment", sa.Text(), nullable=False),
        sa.Column("enrolled_utc_us", _WHOLE, nullable=False),
        sa.Column("desired", _WHOLE, nullable=True),
        sa.Column("pairs_stored", _WHOLE, server_default=sa.text("0"), nullable=False),
        sa.Column("pictures_stored", _WHOLE, server_default=sa.text("0"), nullable=False),
        sa.Column("last_seen_utc_us", _WHOLE, nullable=True),
        sa.Column("online", sa.Boolean(), server_default=sa.false(), nullable=False),
        sa.Column("boot", sa.Text(), nullable=True),
        sa.Column("connection", _WHOLE, server_default=sa.text("0"), nullable=False),
        sa.Column("loaded", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=True),
        sa.Column("update_event", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_devices")),
        sa.UniqueConstraint("name", name=op.f("uq_devices_name")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "enrolments",
        sa.Column("id", _WHOLE, autoincrement=True, nullable=False),
        sa.Column("code_sha256", sa.Text(), nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("deployment", sa.Text(), nullable=False),
        sa.Column("created_utc_us", _WHOLE, nullable=False),
        sa.Column("expires_utc_us", _WHOLE, nullable=False),
        sa.Column("used_utc_us", _WHOLE, nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_enrolments")),
        sa.UniqueConstraint("code_sha256", name=op.f("uq_enrolments_code_sha256")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "manoeuvres",
        sa.Column("id", _WHOLE, autoincrement=True, nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("boot", sa.Text(), nullable=False),
        sa.Column("manoeuvre", _WHOLE, nullable=False),
        sa.Column("deployment", sa.Text(), nullable=False),
        sa.Column("batch", _WHOLE, nullable=False),
        sa.Column("received_utc_us", _WHOLE, nullable=False),
        sa.Column("pairs", _WHOLE, nullable=False),
        sa.Column("content_hash", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_manoeuvres")),
        sa.UniqueConstraint(
            "device", "boot", "manoeuvre", name=op.f("uq_manoeuvres_device_boot_manoeuvre")
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_manoeuvres_deployment", "manoeuvres", ["deployment"], unique=False)
    op.create_index("ix_manoeuvres_device", "manoeuvres", ["device"], unique=False)
    op.create_table(
        "meta",
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("value", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key", name=op.f("pk_meta")),
    )
    op.create_table(
        "model_history",
        sa.Column("id", _WHOLE, autoincrement=True, nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("release_seq", _WHOLE, nullable=False),
        sa.Column("since_utc_us", _WHOLE, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_model_history")),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_model_history_device", "model_history", ["device"], unique=False)
    op.create_table(
        "models",
        sa.Column("id", _WHOLE, autoincrement=True, nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("deployment", sa.Text(), nullable=False),
        sa.Column("version", _WHOLE, nullable=False),
        sa.Column("release_seq", _WHOLE, nullable=False),
        sa.Column("path", sa.Text(), nullable=False),
        sa.Column("manifest", sa.Text(), nullable=False),
        sa.Column("registered_utc_us", _WHOLE, nullable=False),
        sa.Column("job", _WHOLE, nullable=True),
        sa.Column("since_manoeuvre", _WHOLE, nullable=False),
        sa.Column("reference_mae", sa.Float(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_models")),
        sa.UniqueConstraint("deployment", "version", name=op.f("uq_models_deployment_version")),
        sa.UniqueConstraint("sha256", name=op.f("uq_models_sha256")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "pictures",
        sa.Column("id", _WHOLE, autoincrement=True, nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("boot", sa.Text(), nullable=False),
        sa.Column("sequence", _WHOLE, nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("batch", _WHOLE, nullable=False),
        sa.Column("offset", _WHOLE, nullable=False),
        sa.Column("size_bytes", _WHOLE, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pictures")),
        sa.UniqueConstraint(
            "device", "boot", "sequence", name=op.f("uq_pictures_device_boot_sequence")
        ),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "quarantine",
        sa.Column("id", _WHOLE, autoincrement=True, nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("received_utc_us", _WHOLE, nullable=False),
        sa.Column("size_bytes", _WHOLE, nullable=False),
        sa.Column("repeats", _WHOLE, server_default=sa.text("0"), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quarantine")),
        sa.UniqueConstraint("sha256", name=op.f("uq_quarantine_sha256")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "samples",
        sa.Column("id", _WHOLE, autoincrement=True, nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("boot", sa.Text(), nullable=False),
        sa.Column("sequence", _WHOLE, nullable=False),
        sa.Column("manoeuvre", _WHOLE, nullable=False),
        sa.Column("deployment", sa.Text(), nullable=False),
        sa.Column("label", sa.Float(), nullable=True),
        sa.Column("picture_sha256", sa.Text(), nullable=True),
        sa.Column("batch", _WHOLE, nullable=False),
        sa.Column("received_utc_us", _WHOLE, nullable=False),
        sa.Column("content_hash", sa.Text(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_samples")),
        sa.UniqueConstraint(
            "device", "boot", "sequence", name=op.f("uq_samples_device_boot_sequence")
        ),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_samples_deployment", "samples", ["deployment"], unique=False)
    op.create_index("ix_samples_device", "samples", ["device"], unique=False)
    op.create_table(
        "tallies",
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("boot", sa.Text(), nullable=False),
        sa.Column("manoeuvre", _WHOLE, nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("samples", _WHOLE, nullable=False),
        sa.Column("led", _WHOLE, nullable=False),
        sa.Column("labelled", _WHOLE, nullable=False),
        sa.Column("label_sum", sa.Float(), nullable=False),
        sa.Column("error_sum", sa.Float(), nullable=False),
        sa.Column("since_sample", _WHOLE, nullable=False),
        sa.PrimaryKeyConstraint("device", "boot", "manoeuvre", "model", name=op.f("pk_tallies")),
        sqlite_with_rowid=False,
    )
    op.create_table(
        "tokens",
        sa.Column("id", _WHOLE, autoincrement=True, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("sha256", sa.Text(), nullable=False),
        sa.Column("created_utc_us", _WHOLE, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tokens")),
        sa.UniqueConstraint("sha256", name=op.f("uq_tokens_sha256")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "training_jobs",
        sa.Column("id", _WHOLE, autoincrement=True, nullable=False),
        sa.Column("deployment", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("decision", _WHOLE, nullable=False),
        sa.Column("verdict", _WHOLE, nullable=True),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("created_utc_us", _WHOLE, nullable=False),
        sa.Column("changed_utc_us", _WHOLE, nullable=False),
        sa.Column("worker", sa.Text(), nullable=True),
        sa.Column("attempt", _WHOLE, server_default=sa.text("0"), nullable=False),
        sa.Column("lease_until_utc_us", _WHOLE, nullable=True),
        sa.Column("release_seq", _WHOLE, nullable=True),
        sa.Column("cut_sample", _WHOLE, nullable=True),
        sa.Column("cut_picture", _WHOLE, nullable=True),
        sa.Column("stage", sa.Text(), server_default=sa.text("('')"), nullable=False),
        sa.Column("fraction", sa.Float(), server_default=sa.text("0"), nullable=False),
        sa.Column("message", sa.Text(), server_default=sa.text("('')"), nullable=False),
        sa.Column("model", sa.Text(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_training_jobs")),
        sqlite_autoincrement=True,
    )
    op.create_index(
        "ux_training_jobs_open",
        "training_jobs",
        ["deployment"],
        unique=True,
        sqlite_where=sa.text("state IN ('queued', 'running')"),
        postgresql_where=sa.text("state IN ('queued', 'running')"),
    )
    op.create_table(
        "update_events",
        sa.Column("id", _WHOLE, autoincrement=True, nullable=False),
        sa.Column("device", sa.Text(), nullable=False),
        sa.Column("boot", sa.Text(), nullable=False),
        sa.Column("number", _WHOLE, nullable=False),
        sa.Column("received_utc_us", _WHOLE, nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_update_events")),
        sa.UniqueConstraint(
            "device", "boot", "number", name=op.f("uq_update_events_device_boot_number")
        ),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "verdicts",
        sa.Column("id", _WHOLE, autoincrement=True, nullable=False),
        sa.Column("utc_us", _WHOLE, nullable=False),
        sa.Column("deployment", sa.Text(), nullable=False),
        sa.Column("model", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.Column("since_sample", _WHOLE, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_verdicts")),
        sa.UniqueConstraint(
            "deployment", "model", "kind", name=op.f("uq_verdicts_deployment_model_kind")
        ),
        sqlite_autoincrement=True,
    )
