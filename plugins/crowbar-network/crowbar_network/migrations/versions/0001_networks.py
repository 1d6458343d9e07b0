"""Networks, their ranges and routers, what is free in a range, allocations, and interface maps."""

import sqlalchemy as sa
from alembic import op

revision, down_revision = "network0001", None


def _layers() -> list[sa.Column[object]]:
    """What a network says of its interfaces, and a range may say otherwise."""
    return [
        sa.Column("conduit", sa.String(200)),
        sa.Column("vlan", sa.Integer),
        sa.Column("use_vlan", sa.Boolean),
        sa.Column("use_bridge", sa.Boolean),
        sa.Column("use_team", sa.Boolean),
        sa.Column("team_mode", sa.Integer),
    ]


def upgrade() -> None:
    op.create_table(
        "network_installation",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("ula", sa.String(40), nullable=False),
        sa.Column("secret", sa.Text, nullable=False),
        sa.CheckConstraint("id = 1", name="network_one_installation"),
    )
    op.create_table(
        "network_networks",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(56), nullable=False, unique=True),
        sa.Column("description", sa.Text, nullable=False, server_default=""),
        sa.Column("deployment_id", sa.Integer, sa.ForeignKey("deployments.id", ondelete="CASCADE"), nullable=False),
        sa.Column("category", sa.String(64), nullable=False, index=True),
        sa.Column("group", sa.String(64), nullable=False, server_default="default", index=True),
        *_layers(),
        sa.Column("mtu", sa.Integer),
        sa.Column("v6prefix", sa.String(43), unique=True),
        sa.Column("v6auto", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("subnet", sa.Integer, unique=True),
        sa.Column("v6id", sa.String(16), nullable=False, server_default="name"),
        sa.Column("configure", sa.Boolean, nullable=False, server_default=sa.true()),
        sa.Column("pbr", sa.String(32)),
        sa.Column("order", sa.Integer, nullable=False, server_default="10000"),
    )
    op.create_table(
        "network_ranges",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("network_id", sa.Integer, sa.ForeignKey("network_networks.id", ondelete="CASCADE"), nullable=False),
        sa.Column("name", sa.String(64), nullable=False),
        sa.Column("first", sa.String(33), nullable=False, index=True),
        sa.Column("last", sa.String(33), nullable=False),
        sa.Column("prefix", sa.Integer, nullable=False),
        sa.Column("overlap", sa.Boolean, nullable=False, server_default=sa.false()),
        *_layers(),
        sa.UniqueConstraint("network_id", "name", name="network_ranges_name"),
        sa.CheckConstraint("first <= last", name="network_ranges_in_order"),
    )
    op.create_table(
        "network_gaps",
        sa.Column("range_id", sa.Integer, sa.ForeignKey("network_ranges.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("first", sa.String(33), primary_key=True),
        sa.Column("last", sa.String(33), nullable=False),
        sa.CheckConstraint("first <= last", name="network_gaps_in_order"),
        sa.UniqueConstraint("range_id", "last", name="network_gaps_last"),
    )
    op.create_table(
        "network_routers",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column(
            "network_id",
            sa.Integer,
            sa.ForeignKey("network_networks.id", ondelete="CASCADE"),
            nullable=False,
            index=True,
        ),
        sa.Column("address", sa.String(33), nullable=False),
        sa.Column("prefix", sa.Integer, nullable=False),
        sa.Column("pref", sa.Integer, nullable=False, server_default="65536"),
        sa.UniqueConstraint("network_id", "address", name="network_routers_address"),
    )
    op.create_table(
        "network_allocations",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column(
            "network_id",
            sa.Integer,
            sa.ForeignKey("network_networks.id", ondelete="CASCADE"),
            nullable=False,
            index=True,
        ),
        sa.Column(
            "range_id", sa.Integer, sa.ForeignKey("network_ranges.id", ondelete="CASCADE"), nullable=False, index=True
        ),
        sa.Column("node_id", sa.Integer, sa.ForeignKey("nodes.id", ondelete="CASCADE"), index=True),
        sa.Column("reserved_for", sa.Text, nullable=False, server_default=""),
        sa.Column("space", sa.Integer, nullable=False),
        sa.Column("address", sa.String(33), nullable=False),
        sa.Column("prefix", sa.Integer, nullable=False),
        # An address is there once; networks whose ranges may overlap have a space of their own.
        sa.UniqueConstraint("space", "address", name="network_allocations_address"),
    )
    op.create_table(
        "network_interface_maps",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("pattern", sa.String(200), nullable=False, unique=True),
        sa.Column("buses", sa.Text, nullable=False),
        sa.Column("order", sa.Integer, nullable=False, server_default="10000"),
    )
