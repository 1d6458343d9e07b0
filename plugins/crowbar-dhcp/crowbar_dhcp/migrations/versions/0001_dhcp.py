"""The numbers of subnets, the servers that are told, and what could not be served when they were."""

import sqlalchemy as sa
from alembic import op

from crowbar_core.tables import JsonType, UtcDateTime

revision, down_revision = "dhcp0001", None


def upgrade() -> None:
    # A server knows its leases by these numbers: they are never given twice.
    op.create_table(
        "dhcp_subnets",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("subnet", sa.String(43), nullable=False, unique=True),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "dhcp_services",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column(
            "node_role_id", sa.Integer, sa.ForeignKey("node_roles.id", ondelete="CASCADE"), nullable=False, unique=True
        ),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("driver", sa.String(64), nullable=False),
        sa.Column("url", sa.String(255), nullable=False),
        sa.Column("options", JsonType, nullable=False),
        sa.Column("secret", sa.Text, nullable=False),
        # The sum of what it has confirmed; '' when that is not known.
        sa.Column("told", sa.String(64), nullable=False, server_default=""),
        sa.Column("told_at", UtcDateTime),
        sa.Column("compared_at", UtcDateTime),
        sa.Column("problem", sa.Text, nullable=False, server_default=""),
        sa.Column("problem_since", UtcDateTime),
        sa.Column("down", sa.Boolean, nullable=False, server_default=sa.false()),
    )
    # What nodes should be told, as it was when servers were told last.
    op.create_table(
        "dhcp_hosts",
        sa.Column("id", sa.Integer, sa.ForeignKey("nodes.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("mac_addrs", JsonType, nullable=False),
        sa.Column("v4addr", sa.String(15), nullable=False),
        sa.Column("v6addr", sa.String(39), nullable=False),
        sa.Column("bootenv", sa.String(64), nullable=False),
        sa.Column("dhcp4", JsonType, nullable=False),
        sa.Column("dhcp6", JsonType, nullable=False),
        sa.Column("why", sa.Text, nullable=False),
    )
    op.create_table(
        "dhcp_faults",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("on", sa.String(8), nullable=False),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Index("ix_dhcp_faults_name", "name"),
    )


def downgrade() -> None:
    for table in ("dhcp_faults", "dhcp_hosts", "dhcp_services", "dhcp_subnets"):
        op.drop_table(table)
