"""Roles that barclamps define at run time: which declared role each is like, and what it has that differs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0010"
down_revision = "0009"

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.add_column("roles", sa.Column("like_name", sa.Text(), server_default=sa.text("''"), nullable=False))
    op.add_column("roles", sa.Column("given", JSON, server_default=sa.text("'{}'"), nullable=False))
