"""The frontier of the Merkle log, and who follows the outbox under a cursor"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    op.add_column("checkpoints", sa.Column("frontier", sa.LargeBinary(), nullable=True))
    op.add_column("cursors", sa.Column("owner", sa.String(length=200), nullable=True))
    op.add_column("cursors", sa.Column("lease_until", sa.Float(), nullable=True))
