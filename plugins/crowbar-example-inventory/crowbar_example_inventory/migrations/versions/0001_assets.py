"""The table of assets."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "inventory0001", None


def upgrade() -> None:
    op.create_table(
        "inventory_assets",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(64), nullable=False, unique=True),
        sa.Column("node_id", sa.Integer, sa.ForeignKey("nodes.id", ondelete="SET NULL"), index=True),
        sa.Column("place", sa.Text, nullable=False, server_default=""),
        sa.Column("warranty_until", sa.Date),
        sa.Column("covered", sa.Boolean, nullable=False, server_default=sa.true()),
    )
