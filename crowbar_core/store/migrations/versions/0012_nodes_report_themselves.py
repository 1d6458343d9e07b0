"""What a node's boot services say now, beside what it should boot; and what a node's token is for."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.add_column("nodes", sa.Column("served_bootenv", sa.Text(), server_default=sa.text("''"), nullable=False))
    op.add_column("tokens", sa.Column("purpose", sa.Text(), server_default=sa.text("''"), nullable=False))
    where = sa.text("purpose <> ''")
    op.create_index(
        "uq_tokens_node_purpose", "tokens", ["node_id", "purpose"], unique=True, sqlite_where=where,
        postgresql_where=where,
    )  # fmt: skip
