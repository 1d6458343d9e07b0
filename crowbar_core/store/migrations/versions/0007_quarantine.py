"""Barclamps in quarantine, and the threads that their hooks left behind."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    op.add_column("barclamps", sa.Column("quarantine", sa.Text(), server_default=sa.text("''"), nullable=False))
    op.add_column("barclamps", sa.Column("left_behind", sa.Integer(), server_default=sa.text("0"), nullable=False))
