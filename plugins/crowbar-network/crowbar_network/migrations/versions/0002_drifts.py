"""What was found when somebody looked at the interfaces of a node."""

import sqlalchemy as sa
from alembic import op

from crowbar_core.tables import JsonType, UtcDateTime

revision, down_revision = "network0002", "network0001"


def upgrade() -> None:
    op.create_table(
        "network_drifts",
        sa.Column("node_id", sa.Integer, sa.ForeignKey("nodes.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("seen_at", UtcDateTime, nullable=False),
        sa.Column("said", JsonType, nullable=False),
        sa.Column("problem", sa.Text, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("network_drifts")
