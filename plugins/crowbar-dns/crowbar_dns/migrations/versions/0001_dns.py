"""Name filters, what nodes are to be called, the servers that are told, and what each of them has of it."""

import sqlalchemy as sa
from alembic import op

from crowbar_core.tables import JsonType, UtcDateTime

revision, down_revision = "dns0001", None


def _record() -> list[sa.Column[object]]:
    return [
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("type", sa.String(8), nullable=False),
        sa.Column("value", sa.String(2000), nullable=False),
        sa.Column("ttl", sa.Integer, nullable=False),
    ]


def upgrade() -> None:
    op.create_table(
        "dns_filters",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("name", sa.String(64), nullable=False, unique=True),
        sa.Column("matcher", sa.Text, nullable=False, server_default=""),
        sa.Column("template", sa.String(255), nullable=False),
        sa.Column("priority", sa.Integer, nullable=False, server_default="50"),
        sa.Column("ttl", sa.Integer, nullable=False, server_default="300"),
    )
    # A node may go before its names are taken from the servers: its number stays until then.
    op.create_table(
        "dns_entries",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("node_id", sa.Integer, nullable=False, index=True),
        sa.Column("filter_id", sa.Integer, index=True),
        *_record(),
        sa.Column("problem", sa.Text, nullable=False, server_default=""),
        sa.Index("ix_dns_entries_name", "name", "type"),
        sa.Index("ix_dns_entries_value", "value", "type"),
    )
    op.create_table(
        "dns_services",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column(
            "node_role_id", sa.Integer, sa.ForeignKey("node_roles.id", ondelete="CASCADE"), nullable=False, unique=True
        ),
        sa.Column("name", sa.String(255), nullable=False),
        sa.Column("driver", sa.String(64), nullable=False),
        sa.Column("addresses", JsonType, nullable=False),
        sa.Column("port", sa.Integer, nullable=False),
        sa.Column("zones", JsonType, nullable=False),
        sa.Column("shared", JsonType, nullable=False),
        sa.Column("options", JsonType, nullable=False),
        sa.Column("secret", sa.Text, nullable=False),
        sa.Column("resolves", sa.Boolean, nullable=False),
        # Set before anything is sent, unset after: what is still set was cut off.
        sa.Column("sending", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("compared_at", UtcDateTime),
        sa.Column("problem", sa.Text, nullable=False, server_default=""),
        sa.Column("problem_since", UtcDateTime),
        # Whether the problem is that it gives no answer: then it is looked for.
        sa.Column("silent", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("zone_problems", JsonType, nullable=False),
    )
    op.create_table(
        "dns_served",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("service_id", sa.Integer, sa.ForeignKey("dns_services.id", ondelete="CASCADE"), nullable=False),
        *_record(),
        # Whether it was seen there, or the server has said that it has it; without, it was only about to be sent.
        sa.Column("confirmed", sa.Boolean, nullable=False),
        sa.Column("gone_at", UtcDateTime),
        sa.Column("problem", sa.Text, nullable=False, server_default=""),
        sa.Index("ix_dns_served_name", "service_id", "name", "type"),
    )
    op.create_table(
        "dns_changed_nodes",
        sa.Column("node_id", sa.Integer, primary_key=True, autoincrement=False),
    )
    op.create_table(
        "dns_changed_names",
        sa.Column("service_id", sa.Integer, sa.ForeignKey("dns_services.id", ondelete="CASCADE"), primary_key=True),
        sa.Column("name", sa.String(255), primary_key=True),
    )
    op.create_table(
        "dns_installation",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("owner", sa.String(32), nullable=False),
        sa.CheckConstraint("id = 1", name="dns_one_installation"),
    )
    filters = sa.table(
        "dns_filters", sa.column("name"), sa.column("matcher"), sa.column("template"), sa.column("priority")
    )
    op.bulk_insert(
        filters,
        [{"name": "admin", "matcher": 'network.category == "admin"', "template": "{{node.name}}", "priority": 50}],
    )
