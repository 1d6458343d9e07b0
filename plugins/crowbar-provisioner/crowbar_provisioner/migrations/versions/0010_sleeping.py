"""Machines that have nothing to do, since when, and those that were switched off for that."""

import sqlalchemy as sa
from alembic import op

from crowbar_core.tables import UtcDateTime

revision, down_revision = "provisioner0010", "provisioner0009"


def upgrade() -> None:
    op.create_table(
        "provisioner_sleeps",
        sa.Column("node_id", sa.Integer, sa.ForeignKey("nodes.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("asleep", sa.Boolean, nullable=False),
        sa.Column("since", UtcDateTime, nullable=False),
        # How many runs its noderoles had then: one more, and it was not idle.
        sa.Column("runs", sa.Integer, nullable=False),
    )
