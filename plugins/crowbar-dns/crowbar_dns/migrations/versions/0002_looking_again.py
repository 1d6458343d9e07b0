"""When a server with a fault is looked at again."""

import sqlalchemy as sa
from alembic import op

from crowbar_core.tables import UtcDateTime

revision, down_revision = "dns0002", "dns0001"


def upgrade() -> None:
    # How often in a row something of it could not be told; when all of it is compared again because of that.
    op.add_column("dns_services", sa.Column("faults", sa.Integer, nullable=False, server_default="0"))
    op.add_column("dns_services", sa.Column("again_at", UtcDateTime))


def downgrade() -> None:
    op.drop_column("dns_services", "again_at")
    op.drop_column("dns_services", "faults")
