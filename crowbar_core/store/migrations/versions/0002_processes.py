"""Processes that beat; totals of runs; since when a node is alive; who holds a noderole and why."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0002"
down_revision = "0001"

JSON = sa.JSON().with_variant(postgresql.JSONB(), "postgresql")


def upgrade() -> None:
    op.create_table(
        "processes",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("host", sa.Text(), nullable=False),
        sa.Column("pid", sa.Integer(), nullable=False),
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("kinds", JSON, server_default=sa.text("'[]'"), nullable=False),
        sa.Column("concurrency", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("started_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("beat_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("alive_until", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_processes")),
        sa.UniqueConstraint("name", name=op.f("uq_processes_name")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "run_totals",
        sa.Column("role_id", sa.Integer(), nullable=False),
        sa.Column("outcome", sa.String(length=16), nullable=False),
        sa.Column("runs", sa.Integer(), server_default=sa.text("0"), nullable=False),
        sa.Column("seconds", sa.Double(), server_default=sa.text("0"), nullable=False),
        sa.Column("waited", sa.Double(), server_default=sa.text("0"), nullable=False),
        sa.ForeignKeyConstraint(["role_id"], ["roles.id"], name=op.f("fk_run_totals_role_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("role_id", "outcome", name=op.f("pk_run_totals")),
    )
    op.add_column("nodes", sa.Column("alive_at", sa.DateTime(timezone=True), nullable=True))
    op.execute(
        "UPDATE nodes SET alive_at = updated_at WHERE alive OR EXISTS (SELECT 1 FROM runs WHERE node_id = nodes.id)"
    )
    for name in ("held_by", "held_reason"):
        op.add_column("node_roles", sa.Column(name, sa.Text(), server_default=sa.text("''"), nullable=False))
    op.add_column("node_roles", sa.Column("held_at", sa.DateTime(timezone=True), nullable=True))
