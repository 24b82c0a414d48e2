"""What a run costs its plan"""

import json

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("runs", sa.Column("counts", sa.Boolean(), nullable=False, server_default=sa.false()))
    op.add_column("runs", sa.Column("core_seconds", sa.Float(), nullable=False, server_default="0"))
    runs = sa.table("runs", sa.column("id"), sa.column("doc"), sa.column("counts"))
    connection = op.get_bind()
    counted = [id_ for id_, doc in connection.execute(sa.select(runs.c.id, runs.c.doc)) if json.loads(doc).get("counts")]
    for id_ in counted:
        connection.execute(runs.update().where(runs.c.id == id_).values(counts=True))
