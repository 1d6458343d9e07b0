"""Who gives addresses over DHCP in a network."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "network0006", "network0005"


def upgrade() -> None:
    op.add_column("network_networks", sa.Column("dhcp", sa.String(8), nullable=False, server_default=""))


def downgrade() -> None:
    op.drop_column("network_networks", "dhcp")
