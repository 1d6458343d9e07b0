"""What would repair the interfaces of a node, where somebody is to accept that."""

import sqlalchemy as sa
from alembic import op

from crowbar_core.tables import JsonType

revision, down_revision = "network0005", "network0004"


def upgrade() -> None:
    op.add_column("network_drifts", sa.Column("proposed", JsonType, nullable=False, server_default=sa.text("'{}'")))


def downgrade() -> None:
    op.drop_column("network_drifts", "proposed")
