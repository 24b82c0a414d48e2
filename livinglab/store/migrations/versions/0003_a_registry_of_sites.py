"""A registry of sites, and what a run's turn depends on"""

import json
from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    sites = op.create_table(
        "sites",
        sa.Column("name", sa.String(length=80), nullable=False),
        sa.Column("state", sa.String(length=80), nullable=False),
        sa.Column("doc", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_sites")),
        sa.CheckConstraint("state IN ('open', 'draining')", name=op.f("ck_sites_state")),
    )
    now = datetime.now(UTC).isoformat()  # the site that every lab has had so far
    docker = {"name": "docker", "kind": "docker", "added_at": now, "changed_at": now}
    op.bulk_insert(sites, [{"name": "docker", "state": "open", "doc": json.dumps(docker)}])
    op.add_column("runs", sa.Column("priority", sa.Integer(), nullable=False, server_default="0"))
    op.add_column("runs", sa.Column("held", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("runs", sa.Column("longest_seconds", sa.Float(), nullable=False, server_default="0"))
