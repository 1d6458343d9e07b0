"""Machines that joined with what they ran, and the tokens with which machines join by themselves."""

import sqlalchemy as sa
from alembic import op

from crowbar_core.tables import UtcDateTime

revision, down_revision = "provisioner0006", "provisioner0005"


def upgrade() -> None:
    for name in ("joined", "released"):
        op.add_column("provisioner_machines", sa.Column(name, sa.Boolean, nullable=False, server_default=sa.false()))
    op.create_table(
        "provisioner_joins",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("token_hash", sa.String(64), nullable=False, unique=True),
        # What the node is to be called; '' for what it calls itself.
        sa.Column("name", sa.String(255), nullable=False),
        # Where the boot service is.
        sa.Column("url", sa.String(300), nullable=False),
        sa.Column("made_by", sa.String(255), nullable=False),
        sa.Column("ends_at", UtcDateTime, nullable=False),
        # Whom it let in: it counts once.
        sa.Column("machine_id", sa.Integer, sa.ForeignKey("provisioner_machines.id", ondelete="SET NULL"), index=True),
    )
