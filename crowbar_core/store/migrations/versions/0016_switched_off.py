"""Whether a node that is not alive was powered off by order."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    op.add_column("nodes", sa.Column("switched_off", sa.Boolean(), server_default=sa.false(), nullable=False))
