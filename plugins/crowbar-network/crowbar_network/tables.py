"""The barclamp's tables, as the migrations make them. Addresses are keys that sort as the addresses do (``key_of``)."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Integer, String, Text

from crowbar_core.tables import Database, JsonType, UtcDateTime

db = Database()


def _layers() -> list[Column[object]]:
    return [
        Column("conduit", String(200)),
        Column("vlan", Integer),
        Column("use_vlan", Boolean),
        Column("use_bridge", Boolean),
        Column("use_team", Boolean),
        Column("team_mode", Integer),
    ]


installation = db.Table(
    "network_installation",
    Column("id", Integer, primary_key=True),
    Column("ula", String(40), nullable=False),
    Column("secret", Text, nullable=False),
)
networks = db.Table(
    "network_networks",
    Column("id", Integer, primary_key=True),
    Column("name", String(56), nullable=False),
    Column("description", Text, nullable=False),
    Column("deployment_id", Integer, nullable=False),
    Column("category", String(64), nullable=False),
    Column("group", String(64), nullable=False),
    *_layers(),
    Column("mtu", Integer),
    Column("v6prefix", String(43)),
    Column("v6auto", Boolean, nullable=False),
    Column("subnet", Integer),
    Column("v6id", String(16), nullable=False),
    Column("configure", Boolean, nullable=False),
    Column("dhcp", String(8), nullable=False, default=""),
    Column("pbr", String(32)),
    Column("order", Integer, nullable=False),
    Column("draft", JsonType, nullable=False, default=dict),
)
ranges = db.Table(
    "network_ranges",
    Column("id", Integer, primary_key=True),
    Column("network_id", Integer, nullable=False),
    Column("name", String(64), nullable=False),
    Column("first", String(33), nullable=False),
    Column("last", String(33), nullable=False),
    Column("prefix", Integer, nullable=False),
    Column("overlap", Boolean, nullable=False),
    *_layers(),
    Column("draft", JsonType, nullable=False, default=dict),
)
gaps = db.Table(
    "network_gaps",
    Column("range_id", Integer, primary_key=True),
    Column("first", String(33), primary_key=True),
    Column("last", String(33), nullable=False),
)
routers = db.Table(
    "network_routers",
    Column("id", Integer, primary_key=True),
    Column("network_id", Integer, nullable=False),
    Column("address", String(33), nullable=False),
    Column("prefix", Integer, nullable=False),
    Column("pref", Integer, nullable=False),
    Column("draft", JsonType, nullable=False, default=dict),
    Column("standing", String(8), nullable=False, default=""),
)
allocations = db.Table(
    "network_allocations",
    Column("id", Integer, primary_key=True),
    Column("network_id", Integer, nullable=False),
    Column("range_id", Integer, nullable=False),
    Column("node_id", Integer),
    Column("reserved_for", Text, nullable=False),
    Column("space", Integer, nullable=False),
    Column("address", String(33), nullable=False),
    Column("prefix", Integer, nullable=False),
)
drifts = db.Table(
    "network_drifts",
    Column("node_id", Integer, primary_key=True),
    Column("seen_at", UtcDateTime, nullable=False),
    Column("said", JsonType, nullable=False),
    Column("problem", Text, nullable=False),
    Column("proposed", JsonType, nullable=False, default=dict),
)
checks = db.Table(
    "network_checks",
    Column("id", Integer, primary_key=True),
    Column("state", String(16), nullable=False),
    Column("networks", JsonType, nullable=False),
    Column("asked_at", UtcDateTime, nullable=False),
    Column("ended_at", UtcDateTime),
    Column("nodes", Integer, nullable=False),
    Column("pings", Integer, nullable=False),
    Column("findings", JsonType, nullable=False),
    Column("unheard", JsonType, nullable=False),
)
accepted_wires = db.Table(
    "network_accepted_wires",
    Column("node_id", Integer, primary_key=True),
    Column("places", JsonType, nullable=False),
)
interface_maps = db.Table(
    "network_interface_maps",
    Column("id", Integer, primary_key=True),
    Column("pattern", String(200), nullable=False),
    Column("buses", Text, nullable=False),
    Column("order", Integer, nullable=False),
)
