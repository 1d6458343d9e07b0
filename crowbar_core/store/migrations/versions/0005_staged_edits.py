"""Staged edits: what was never committed does not count, values have drafts, edits wait for the runs below them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0005"
down_revision = "0004"

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.add_column("edges", sa.Column("counts", sa.Boolean(), server_default=sa.true(), nullable=False))
    op.add_column("node_roles", sa.Column("committed", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("node_roles", sa.Column("goes_back", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("nodes", sa.Column("proposed_hint", JSON, server_default=sa.text("'{}'"), nullable=False))
    op.add_column("roles", sa.Column("reboots", sa.Boolean(), server_default=sa.false(), nullable=False))
    # Whether a PROPOSED noderole was committed once is not known of old ones: those that ran, were.
    op.execute("UPDATE node_roles SET committed = true WHERE state <> 4 OR run_count > 0")
    op.execute("UPDATE nodes SET proposed_hint = hint")
    op.execute(
        """
        UPDATE edges SET counts = false
        WHERE parent_id IN (SELECT id FROM node_roles WHERE NOT committed)
        """
    )
    # Their children wait for them no longer: blockers are counted anew; what was blocked by nothing else goes on.
    op.execute(
        """
        UPDATE node_roles SET blockers = (
            SELECT count(*) FROM edges JOIN node_roles AS parent ON parent.id = edges.parent_id
            WHERE edges.child_id = node_roles.id AND edges.counts AND parent.state <> 0
        ),
        state = CASE WHEN state = 3 AND NOT EXISTS (
            SELECT 1 FROM edges JOIN node_roles AS parent ON parent.id = edges.parent_id
            WHERE edges.child_id = node_roles.id AND edges.counts AND parent.state <> 0
        ) THEN 1 ELSE state END
        WHERE id IN (SELECT child_id FROM edges WHERE NOT counts)
        """
    )
    where = sa.text("goes_back")
    op.create_index(
        "ix_node_roles_goes_back", "node_roles", ["id"], sqlite_where=where, postgresql_where=where
    )  # fmt: skip
