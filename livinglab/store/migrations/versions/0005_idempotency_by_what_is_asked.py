"""An idempotency key is an organisation's for what it asks for"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    with op.batch_alter_table("idempotency") as table:  # so far it was for runs alone
        table.add_column(sa.Column("what", sa.String(length=80), nullable=False, server_default="runs"))
        table.drop_constraint(op.f("pk_idempotency"), type_="primary")
        table.create_primary_key(op.f("pk_idempotency"), ["organisation", "what", "key"])
