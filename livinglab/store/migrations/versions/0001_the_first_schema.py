"""The first schema"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    op.create_table(
        "chains",
        sa.Column("chain", sa.String(length=80), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("head", sa.String(length=71), nullable=False),
        sa.Column("leaf_head", sa.String(length=71), nullable=True),
        sa.PrimaryKeyConstraint("chain", name=op.f("pk_chains")),
    )
    op.create_table(
        "checkpoints",
        sa.Column("size", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("root", sa.LargeBinary(), nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("size", name=op.f("pk_checkpoints")),
    )
    op.create_table(
        "cursors",
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("position", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_cursors")),
    )
    op.create_table(
        "documents",
        sa.Column("subject", sa.String(length=80), nullable=False),
        sa.Column("name", sa.String(length=300), nullable=False),
        sa.Column("doc", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("subject", "name", name=op.f("pk_documents")),
    )
    op.create_table(
        "events",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=True, nullable=False),
        sa.Column("kind", sa.String(length=80), nullable=False),
        sa.Column("organisation", sa.String(length=80), nullable=False),
        sa.Column("sandbox", sa.String(length=80), nullable=False),
        sa.Column("run", sa.String(length=80), nullable=True),
        sa.Column("doc", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
        sqlite_autoincrement=True,
    )
    with op.batch_alter_table("events", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_events_run"), ["run"], unique=False)

    op.create_table(
        "idempotency",
        sa.Column("organisation", sa.String(length=80), nullable=False),
        sa.Column("key", sa.String(length=200), nullable=False),
        sa.Column("request", sa.String(length=71), nullable=False),
        sa.Column("made", sa.String(length=80), nullable=False),
        sa.PrimaryKeyConstraint("organisation", "key", name=op.f("pk_idempotency")),
    )
    op.create_table(
        "images",
        sa.Column("digest", sa.String(length=71), nullable=False),
        sa.Column("doc", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_images")),
    )
    op.create_table(
        "keys",
        sa.Column("key_id", sa.String(length=64), nullable=False),
        sa.Column("organisation", sa.String(length=80), nullable=False),
        sa.Column("doc", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key_id", name=op.f("pk_keys")),
    )
    with op.batch_alter_table("keys", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_keys_organisation"), ["organisation"], unique=False)

    op.create_table(
        "leaves",
        sa.Column("index", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("chain", sa.String(length=80), nullable=False),
        sa.Column("head", sa.String(length=71), nullable=False),
        sa.Column("salt", sa.LargeBinary(), nullable=False),
        sa.Column("leaf", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["chain"], ["chains.chain"], name=op.f("fk_leaves_chain")),
        sa.PrimaryKeyConstraint("index", name=op.f("pk_leaves")),
    )
    with op.batch_alter_table("leaves", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_leaves_chain"), ["chain"], unique=False)

    op.create_table(
        "ledger",
        sa.Column("chain", sa.String(length=80), nullable=False),
        sa.Column("sequence", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.String(length=71), nullable=False),
        sa.Column("entry", sa.LargeBinary(), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.PrimaryKeyConstraint("chain", "sequence", name=op.f("pk_ledger")),
        sa.UniqueConstraint("digest", name=op.f("uq_ledger_digest")),
        sa.CheckConstraint("sequence >= 0", name=op.f("ck_ledger_sequence")),
    )
    op.create_table(
        "pilots",
        sa.Column("id", sa.String(length=80), nullable=False),
        sa.Column("organisation", sa.String(length=80), nullable=False),
        sa.Column("sandbox", sa.String(length=80), nullable=False),
        sa.Column("state", sa.String(length=80), nullable=False),
        sa.Column("doc", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_pilots")),
        sa.CheckConstraint(
            "state IN ('draft', 'submitted', 'eligible', 'ineligible', 'scored', 'selected', 'rejected', 'plan_negotiation', 'plan_agreed', "
            "'active', 'suspended', 'completing', 'completed', 'terminated', 'proof_issued', 'exit_report_issued', 'published', 'follow_up', "
            "'archived')",
            name=op.f("ck_pilots_state"),
        ),
    )
    with op.batch_alter_table("pilots", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_pilots_organisation"), ["organisation"], unique=False)
        batch_op.create_index(batch_op.f("ix_pilots_sandbox"), ["sandbox"], unique=False)

    op.create_table(
        "releases",
        sa.Column("digest", sa.String(length=71), nullable=False),
        sa.Column("sandbox", sa.String(length=80), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("authority", sa.String(length=80), nullable=False),
        sa.Column("document", sa.LargeBinary(), nullable=False),
        sa.Column("at", sa.Float(), nullable=False),
        sa.PrimaryKeyConstraint("digest", name=op.f("pk_releases")),
        sa.UniqueConstraint("sandbox", "version", name=op.f("uq_releases_sandbox_version")),
    )
    op.create_table(
        "tokens",
        sa.Column("id", sa.String(length=80), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("doc", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tokens")),
        sa.UniqueConstraint("hash", name=op.f("uq_tokens_hash")),
    )
    op.create_table(
        "plans",
        sa.Column("id", sa.String(length=80), nullable=False),
        sa.Column("version", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("digest", sa.String(length=71), nullable=False),
        sa.Column("pilot", sa.String(length=80), nullable=False),
        sa.Column("organisation", sa.String(length=80), nullable=False),
        sa.Column("sandbox", sa.String(length=80), nullable=False),
        sa.Column("state", sa.String(length=80), nullable=False),
        sa.Column("body", sa.LargeBinary(), nullable=False),
        sa.Column("doc", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["pilot"], ["pilots.id"], name=op.f("fk_plans_pilot")),
        sa.PrimaryKeyConstraint("id", "version", name=op.f("pk_plans")),
        sa.UniqueConstraint("digest", name=op.f("uq_plans_digest")),
        sa.CheckConstraint("state IN ('proposed', 'agreed', 'suspended', 'completed', 'terminated')", name=op.f("ck_plans_state")),
        sa.CheckConstraint("version >= 1", name=op.f("ck_plans_version")),
    )
    with op.batch_alter_table("plans", schema=None) as batch_op:
        batch_op.create_index(batch_op.f("ix_plans_organisation"), ["organisation"], unique=False)
        batch_op.create_index(batch_op.f("ix_plans_pilot"), ["pilot"], unique=False)
        batch_op.create_index(batch_op.f("ix_plans_sandbox"), ["sandbox"], unique=False)

    op.create_table(
        "runs",
        sa.Column("id", sa.String(length=80), nullable=False),
        sa.Column("plan", sa.String(length=80), nullable=False),
        sa.Column("ordinal", sa.Integer(), nullable=False),
        sa.Column("pilot", sa.String(length=80), nullable=False),
        sa.Column("organisation", sa.String(length=80), nullable=False),
        sa.Column("sandbox", sa.String(length=80), nullable=False),
        sa.Column("site", sa.String(length=80), nullable=False),
        sa.Column("state", sa.String(length=80), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("doc", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["pilot"], ["pilots.id"], name=op.f("fk_runs_pilot")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_runs")),
        sa.UniqueConstraint("plan", "ordinal", name=op.f("uq_runs_plan_ordinal")),
        sa.CheckConstraint("ordinal >= 1", name=op.f("ck_runs_ordinal")),
        sa.CheckConstraint("state IN ('queued', 'running', 'cancelling', 'completed', 'failed', 'refused', 'cancelled')", name=op.f("ck_runs_state")),
    )
    with op.batch_alter_table("runs", schema=None) as batch_op:
        batch_op.create_index("ix_runs_organisation_sandbox", ["organisation", "sandbox"], unique=False)
        batch_op.create_index(batch_op.f("ix_runs_pilot"), ["pilot"], unique=False)
        batch_op.create_index("ix_runs_queue", ["site", "state", "created_at"], unique=False)

    op.create_table(
        "uploads",
        sa.Column("organisation", sa.String(length=80), nullable=False),
        sa.Column("digest", sa.String(length=71), nullable=False),
        sa.ForeignKeyConstraint(["digest"], ["images.digest"], name=op.f("fk_uploads_digest")),
        sa.PrimaryKeyConstraint("organisation", "digest", name=op.f("pk_uploads")),
    )
    op.create_table(
        "attempts",
        sa.Column("id", sa.String(length=80), nullable=False),
        sa.Column("run", sa.String(length=80), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("site", sa.String(length=80), nullable=False),
        sa.Column("final", sa.Boolean(), nullable=False),
        sa.Column("state", sa.String(length=80), nullable=False),
        sa.Column("owner", sa.String(length=200), nullable=True),
        sa.Column("lease_until", sa.Float(), nullable=True),
        sa.Column("epoch", sa.Integer(), nullable=False),
        sa.Column("created_at", sa.Float(), nullable=False),
        sa.Column("doc", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["run"], ["runs.id"], name=op.f("fk_attempts_run")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_attempts")),
        sa.UniqueConstraint("run", "number", name=op.f("uq_attempts_run_number")),
        sa.CheckConstraint("epoch >= 0", name=op.f("ck_attempts_epoch")),
        sa.CheckConstraint("number >= 1", name=op.f("ck_attempts_number")),
        sa.CheckConstraint(
            "state IN ('queued', 'running', 'cancelling', 'completed', 'failed', 'refused', 'cancelled')", name=op.f("ck_attempts_state")
        ),
    )
    with op.batch_alter_table("attempts", schema=None) as batch_op:
        batch_op.create_index("ix_attempts_claim", ["site", "final", "created_at"], unique=False)

    op.create_table(
        "journal",
        sa.Column("attempt", sa.String(length=80), nullable=False),
        sa.Column("step", sa.String(length=80), nullable=False),
        sa.Column("status", sa.String(length=8), nullable=False),
        sa.Column("doc", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["attempt"], ["attempts.id"], name=op.f("fk_journal_attempt")),
        sa.PrimaryKeyConstraint("attempt", "step", name=op.f("pk_journal")),
        sa.CheckConstraint("status IN ('intent', 'done')", name=op.f("ck_journal_status")),
        sa.CheckConstraint(
            "step IN ('admit', 'images', 'prepare', 'stage', 'execute', 'collect', 'attest', 'decode', 'measure', 'judge', 'release', 'seal')",
            name=op.f("ck_journal_step"),
        ),
    )
    op.create_table(
        "logs",
        sa.Column("attempt", sa.String(length=80), nullable=False),
        sa.Column("role", sa.String(length=80), nullable=False),
        sa.Column("start", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), autoincrement=False, nullable=False),
        sa.Column("size", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.ForeignKeyConstraint(["attempt"], ["attempts.id"], name=op.f("fk_logs_attempt")),
        sa.PrimaryKeyConstraint("attempt", "role", "start", name=op.f("pk_logs")),
    )
