"""Runs in steps: the step that a run is in, those that it went through, and nodes that are away during a run."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0011"
down_revision = "0010"

STEP = sa.JSON().with_variant(JSONB(), "postgresql")


def upgrade() -> None:
    op.add_column("runs", sa.Column("step", STEP, nullable=True))
    op.add_column("runs", sa.Column("woken", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("runs", sa.Column("overdue", sa.Boolean(), server_default=sa.false(), nullable=False))
    op.add_column("runs", sa.Column("again_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("runs", sa.Column("taken", sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.add_column("node_roles", sa.Column("away", sa.Boolean(), server_default=sa.false(), nullable=False))
    for name, table, column, where in (
        ("ix_runs_woken", "runs", "id", "woken AND finished_at IS NULL"),
        ("ix_runs_again_at", "runs", "again_at", "again_at IS NOT NULL AND finished_at IS NULL"),
        ("ix_node_roles_away", "node_roles", "id", "away"),
    ):
        op.create_index(name, table, [column], sqlite_where=sa.text(where), postgresql_where=sa.text(where))
    op.create_table(
        "run_steps",
        sa.Column("run_id", sa.Integer(), nullable=False),
        sa.Column("seq", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("reason", sa.Text(), server_default=sa.text("''"), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(["run_id"], ["runs.id"], name=op.f("fk_run_steps_run_id"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("run_id", "seq", name=op.f("pk_run_steps")),
    )
