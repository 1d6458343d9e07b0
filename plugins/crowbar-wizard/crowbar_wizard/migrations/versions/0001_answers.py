"""The tables of answers, and of what was made of them."""

import sqlalchemy as sa
from alembic import op

from crowbar_core.tables import JsonType, UtcDateTime

revision, down_revision = "wizard0001", None


def upgrade() -> None:
    op.create_table(
        "wizard_answers",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("step", sa.String(64), nullable=False, unique=True),
        sa.Column("skipped", sa.Boolean, nullable=False),
        sa.Column("answers", JsonType, nullable=False),
        sa.Column("answered_at", UtcDateTime, nullable=False),
    )
    op.create_table(
        "wizard_end",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("lines", JsonType, nullable=False),
        sa.Column("machine", sa.String(255), nullable=False),
        sa.Column("ended_at", UtcDateTime, nullable=False),
    )
