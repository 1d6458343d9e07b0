"""Disks that were erased, with their signed reports, which stay when the node goes; the key that signs them."""

import sqlalchemy as sa
from alembic import op

from crowbar_core.tables import JsonType, UtcDateTime

revision, down_revision = "provisioner0007", "provisioner0006"


def upgrade() -> None:
    op.create_table(
        "provisioner_erasures",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("run_id", sa.Integer, nullable=False),
        # By which the machine knows it.
        sa.Column("work", sa.String(43), nullable=False),
        sa.Column("node_id", sa.Integer, sa.ForeignKey("nodes.id", ondelete="SET NULL"), index=True),
        sa.Column("node", sa.String(255), nullable=False, index=True),
        sa.Column("disk", sa.String(64), nullable=False),
        sa.Column("serial", sa.String(500), nullable=False),
        sa.Column("wwn", sa.String(500), nullable=False),
        sa.Column("model", sa.String(500), nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("wanted_method", sa.String(16), nullable=False),
        # The MiB that are read back; NULL for all.
        sa.Column("pieces", JsonType),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("method", sa.String(32), nullable=False),
        sa.Column("percent", sa.Integer, nullable=False),
        sa.Column("detail", sa.String(500), nullable=False),
        sa.Column("begun_at", UtcDateTime, nullable=False),
        sa.Column("ended_at", UtcDateTime),
        sa.Column("report", JsonType, nullable=False),
        sa.Column("signature", sa.String(100), nullable=False),
        sa.Column("public_key", sa.String(100), nullable=False),
        sa.UniqueConstraint("run_id", "disk"),
    )
    op.create_table(
        "provisioner_signing_keys",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("sealed", sa.Text, nullable=False),
        sa.CheckConstraint("id = 1", name="ck_provisioner_signing_keys_one"),
    )
