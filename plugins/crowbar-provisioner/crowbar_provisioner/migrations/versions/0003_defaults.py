"""What installations are given where nothing else is said: one row."""

import sqlalchemy as sa
from alembic import op

from crowbar_core.tables import JsonType

revision, down_revision = "provisioner0003", "provisioner0002"


def upgrade() -> None:
    op.create_table(
        "provisioner_defaults",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("os", sa.String(64), nullable=False),
        sa.Column("keys", JsonType, nullable=False),
        sa.CheckConstraint("id = 1", name="ck_provisioner_defaults_one"),
    )
