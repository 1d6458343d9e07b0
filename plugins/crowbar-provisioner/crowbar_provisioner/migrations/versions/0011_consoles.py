"""What machines' consoles showed last, and what machines sent of their last lines themselves."""

import sqlalchemy as sa
from alembic import op

from crowbar_core.tables import JsonType, UtcDateTime

revision, down_revision = "provisioner0011", "provisioner0010"


def upgrade() -> None:
    op.create_table(
        "provisioner_consoles",
        sa.Column("node_id", sa.Integer, sa.ForeignKey("nodes.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("heard_from", sa.String(16), primary_key=True),
        sa.Column("lines", JsonType, nullable=False),
        sa.Column("at", UtcDateTime, nullable=False),
    )
