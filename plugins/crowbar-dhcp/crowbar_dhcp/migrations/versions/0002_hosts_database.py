"""Where a server looks for reservations besides its configuration, sealed; '' where it does not."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "dhcp0002", "dhcp0001"


def upgrade() -> None:
    op.add_column("dhcp_services", sa.Column("database", sa.Text, nullable=False, server_default=""))
