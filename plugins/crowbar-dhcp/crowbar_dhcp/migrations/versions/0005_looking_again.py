"""When a server that answers, and could not be told, is told again."""

import sqlalchemy as sa
from alembic import op

from crowbar_core.tables import UtcDateTime

revision, down_revision = "dhcp0005", "dhcp0004"


def upgrade() -> None:
    # How often in a row it was told again because it answers, without success; when it is the next time.
    op.add_column("dhcp_services", sa.Column("faults", sa.Integer, nullable=False, server_default="0"))
    op.add_column("dhcp_services", sa.Column("again_at", UtcDateTime))


def downgrade() -> None:
    op.drop_column("dhcp_services", "again_at")
    op.drop_column("dhcp_services", "faults")
