"""Attributes that must have a value, and those of which one is generated."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"


def upgrade() -> None:
    op.add_column("attribs", sa.Column("required", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("attribs", sa.Column("generate", sa.Text(), server_default="", nullable=False))
