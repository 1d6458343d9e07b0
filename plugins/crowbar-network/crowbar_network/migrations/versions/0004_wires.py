"""What was found when cables and ports were checked, and where cards were accepted to be plugged in."""

import sqlalchemy as sa
from alembic import op

from crowbar_core.tables import JsonType, UtcDateTime

revision, down_revision = "network0004", "network0003"


def upgrade() -> None:
    op.create_table(
        "network_checks",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("networks", JsonType, nullable=False),
        sa.Column("asked_at", UtcDateTime, nullable=False),
        sa.Column("ended_at", UtcDateTime),
        sa.Column("nodes", sa.Integer, nullable=False),
        sa.Column("pings", sa.Integer, nullable=False),
        sa.Column("findings", JsonType, nullable=False),
        sa.Column("unheard", JsonType, nullable=False),
    )
    op.create_table(
        "network_accepted_wires",
        sa.Column("node_id", sa.Integer, sa.ForeignKey("nodes.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("places", JsonType, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("network_accepted_wires")
    op.drop_table("network_checks")
