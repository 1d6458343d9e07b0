"""The barclamp's tables, as the migrations make them."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Integer, String, Text

from crowbar_core.tables import Database, JsonType, UtcDateTime

db = Database()


def _record() -> list[Column[object]]:
    return [
        Column("name", String(255), nullable=False),
        Column("type", String(8), nullable=False),
        Column("value", String(2000), nullable=False),
        Column("ttl", Integer, nullable=False),
    ]


filters = db.Table(
    "dns_filters",
    Column("id", Integer, primary_key=True),
    Column("name", String(64), nullable=False),
    Column("matcher", Text, nullable=False),
    Column("template", String(255), nullable=False),
    Column("priority", Integer, nullable=False),
    Column("ttl", Integer, nullable=False),
)
entries = db.Table(
    "dns_entries",
    Column("id", Integer, primary_key=True),
    Column("node_id", Integer, nullable=False),
    Column("filter_id", Integer),
    *_record(),
    Column("problem", Text, nullable=False),
)
services = db.Table(
    "dns_services",
    Column("id", Integer, primary_key=True),
    Column("node_role_id", Integer, nullable=False),
    Column("name", String(255), nullable=False),
    Column("driver", String(64), nullable=False),
    Column("addresses", JsonType, nullable=False),
    Column("port", Integer, nullable=False),
    Column("zones", JsonType, nullable=False),
    Column("shared", JsonType, nullable=False),
    Column("options", JsonType, nullable=False),
    Column("secret", Text, nullable=False),
    Column("resolves", Boolean, nullable=False),
    Column("sending", Boolean, nullable=False),
    Column("compared_at", UtcDateTime),
    Column("problem", Text, nullable=False),
    Column("problem_since", UtcDateTime),
    Column("silent", Boolean, nullable=False),
    Column("zone_problems", JsonType, nullable=False),
    Column("faults", Integer, nullable=False),
    Column("again_at", UtcDateTime),
)
served = db.Table(
    "dns_served",
    Column("id", Integer, primary_key=True),
    Column("service_id", Integer, nullable=False),
    *_record(),
    Column("confirmed", Boolean, nullable=False),
    Column("gone_at", UtcDateTime),
    Column("problem", Text, nullable=False),
)
changed_nodes = db.Table("dns_changed_nodes", Column("node_id", Integer, primary_key=True))
installation = db.Table(
    "dns_installation", Column("id", Integer, primary_key=True), Column("owner", String(32), nullable=False)
)
