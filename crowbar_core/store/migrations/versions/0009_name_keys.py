"""What names are ordered by: node-2 comes before node-10."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from crowbar_core.domain.names import natural

revision = "0009"
down_revision = "0008"

TABLES = ("deployments", "groups", "nodes", "roles", "users")


def upgrade() -> None:
    in_bytes = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
    for name in TABLES:
        op.add_column(name, sa.Column("name_key", in_bytes, server_default=sa.text("''"), nullable=False))
        rows = sa.table(name, sa.column("id"), sa.column("name"), sa.column("name_key"))
        found = op.get_bind().execute(sa.select(rows.c.id, rows.c.name)).all()
        if found:
            op.get_bind().execute(
                sa.update(rows).where(rows.c.id == sa.bindparam("row")).values(name_key=sa.bindparam("key")),
                [{"row": row.id, "key": natural(row.name)} for row in found],
            )
    op.create_index("ix_nodes_name_key", "nodes", ["name_key", "id"])
