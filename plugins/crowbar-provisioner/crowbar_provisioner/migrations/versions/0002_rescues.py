"""Nodes in rescue, and what is to be as it was afterwards."""

import sqlalchemy as sa
from alembic import op

from crowbar_core.tables import JsonType, UtcDateTime

revision, down_revision = "provisioner0002", "provisioner0001"


def upgrade() -> None:
    op.create_table(
        "provisioner_rescues",
        sa.Column("node_id", sa.Integer, sa.ForeignKey("nodes.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("bootenv", sa.String(64), nullable=False),
        sa.Column("host_keys", JsonType, nullable=False),
        sa.Column("available", sa.Boolean, nullable=False),
        sa.Column("since", UtcDateTime, nullable=False),
    )
