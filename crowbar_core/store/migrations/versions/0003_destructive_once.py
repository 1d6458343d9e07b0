"""What is known of destructive work: the token of a binding, whether it was left halfway, when to look for its mark."""

from __future__ import annotations

import secrets

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    op.add_column("node_roles", sa.Column("once", sa.Text(), server_default=sa.text("''"), nullable=False))
    op.add_column("node_roles", sa.Column("halfway", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("node_roles", sa.Column("look_at", sa.DateTime(timezone=True), nullable=True))
    op.create_index(
        "ix_node_roles_look_at", "node_roles", ["look_at"],
        sqlite_where=sa.text("look_at IS NOT NULL"), postgresql_where=sa.text("look_at IS NOT NULL"),
    )  # fmt: skip
    node_roles = sa.table("node_roles", sa.column("id", sa.Integer), sa.column("once", sa.Text))
    connection = op.get_bind()
    fresh = [{"ref": ref, "token": secrets.token_hex(16)} for ref in connection.scalars(sa.select(node_roles.c.id))]
    if fresh:
        connection.execute(
            sa.update(node_roles).where(node_roles.c.id == sa.bindparam("ref")).values(once=sa.bindparam("token")),
            fresh,
        )
