"""Machines that were burned in, with what came of it, which stays when the node goes."""

import sqlalchemy as sa
from alembic import op

from crowbar_core.tables import JsonType, UtcDateTime

revision, down_revision = "provisioner0008", "provisioner0007"


def upgrade() -> None:
    op.create_table(
        "provisioner_burn_ins",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("run_id", sa.Integer, nullable=False, unique=True),
        # By which the machine knows it.
        sa.Column("work", sa.String(43), nullable=False),
        sa.Column("node_id", sa.Integer, sa.ForeignKey("nodes.id", ondelete="SET NULL"), index=True),
        sa.Column("node", sa.String(255), nullable=False, index=True),
        sa.Column("seconds", sa.Integer, nullable=False),
        sa.Column("wish", JsonType, nullable=False),
        # The boot in which it began: another one ends it.
        sa.Column("boot_id", sa.Integer),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("percent", sa.Integer, nullable=False),
        sa.Column("detail", sa.String(500), nullable=False),
        sa.Column("parts", JsonType, nullable=False),
        sa.Column("corrected", sa.BigInteger, nullable=False),
        sa.Column("uncorrected", sa.BigInteger, nullable=False),
        sa.Column("kernel", JsonType, nullable=False),
        sa.Column("begun_at", UtcDateTime, nullable=False),
        sa.Column("ended_at", UtcDateTime),
    )
