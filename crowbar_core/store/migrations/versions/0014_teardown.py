"""What is being taken off its node, once its role has torn down there what it had made."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.add_column("node_roles", sa.Column("leaving", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("node_roles", sa.Column("torn_down", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.create_index(
        "ix_node_roles_leaving", "node_roles", ["id"], sqlite_where=sa.text("leaving"),
        postgresql_where=sa.text("leaving"),
    )  # fmt: skip
    op.add_column("nodes", sa.Column("leaving", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("runs", sa.Column("teardown", sa.Boolean(), server_default=sa.false(), nullable=False))
