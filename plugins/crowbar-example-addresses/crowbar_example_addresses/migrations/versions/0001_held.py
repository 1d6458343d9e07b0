"""The table of addresses that are held."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "example_addresses0001", None


def upgrade() -> None:
    op.create_table(
        "example_addresses_held",
        sa.Column("node_id", sa.Integer, sa.ForeignKey("nodes.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("address", sa.String(15), nullable=False, unique=True),
        sa.Column("use", sa.String(20), nullable=False),
        sa.Column("problem", sa.Text, nullable=False, server_default=""),
        sa.Column("since", sa.DateTime(timezone=True)),
    )
