"""DHCP servers that are not Crowbar's, as nodes hear them."""

import sqlalchemy as sa
from alembic import op

from crowbar_core.tables import UtcDateTime

revision, down_revision = "dhcp0003", "dhcp0002"


def upgrade() -> None:
    op.create_table(
        "dhcp_foreign",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("node_id", sa.Integer, sa.ForeignKey("nodes.id", ondelete="CASCADE"), nullable=False, index=True),
        sa.Column("card", sa.String(64), nullable=False),
        sa.Column("family", sa.Integer, nullable=False),
        sa.Column("address", sa.String(39), nullable=False),
        sa.Column("mac", sa.String(17), nullable=False),
        sa.Column("network", sa.String(255), nullable=False),
        sa.Column("since", UtcDateTime, nullable=False),
    )
