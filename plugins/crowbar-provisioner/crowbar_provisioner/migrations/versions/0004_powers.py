"""What BMCs said of the power of their machines."""

import sqlalchemy as sa
from alembic import op

from crowbar_core.tables import UtcDateTime

revision, down_revision = "provisioner0004", "provisioner0003"


def upgrade() -> None:
    op.create_table(
        "provisioner_powers",
        sa.Column("node_id", sa.Integer, sa.ForeignKey("nodes.id", ondelete="CASCADE"), primary_key=True),
        # on or off; '' where it could not be read.
        sa.Column("state", sa.String(8), nullable=False),
        sa.Column("problem", sa.String(500), nullable=False),
        sa.Column("read_at", UtcDateTime, nullable=False),
    )
