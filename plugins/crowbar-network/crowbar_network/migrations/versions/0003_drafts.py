"""What was changed of a network and waits to be committed."""

import sqlalchemy as sa
from alembic import op

from crowbar_core.tables import JsonType

revision, down_revision = "network0003", "network0002"

_HAVE = ("network_networks", "network_ranges", "network_routers")


def upgrade() -> None:
    for name in _HAVE:
        op.add_column(name, sa.Column("draft", JsonType, nullable=False, server_default=sa.text("'{}'")))
    op.add_column("network_routers", sa.Column("standing", sa.String(8), nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("network_routers", "standing")
    for name in _HAVE:
        op.drop_column(name, "draft")
