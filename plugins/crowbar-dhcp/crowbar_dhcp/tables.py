"""The barclamp's tables, as the migrations make them."""

from __future__ import annotations

from sqlalchemy import Boolean, Column, Integer, String, Text

from crowbar_core.tables import Database, JsonType, UtcDateTime

db = Database()

subnets = db.Table(
    "dhcp_subnets", Column("id", Integer, primary_key=True), Column("subnet", String(43), nullable=False)
)
services = db.Table(
    "dhcp_services",
    Column("id", Integer, primary_key=True),
    Column("node_role_id", Integer, nullable=False),
    Column("name", String(255), nullable=False),
    Column("driver", String(64), nullable=False),
    Column("url", String(255), nullable=False),
    Column("options", JsonType, nullable=False),
    Column("secret", Text, nullable=False),
    Column("database", Text, nullable=False),
    Column("told", String(64), nullable=False),
    Column("told_at", UtcDateTime),
    Column("compared_at", UtcDateTime),
    Column("problem", Text, nullable=False),
    Column("problem_since", UtcDateTime),
    Column("down", Boolean, nullable=False),
    Column("faults", Integer, nullable=False),
    Column("again_at", UtcDateTime),
)
hosts = db.Table(
    "dhcp_hosts",
    Column("id", Integer, primary_key=True),
    Column("mac_addrs", JsonType, nullable=False),
    Column("v4addr", String(15), nullable=False),
    Column("v6addr", String(39), nullable=False),
    Column("bootenv", String(64), nullable=False),
    Column("dhcp4", JsonType, nullable=False),
    Column("dhcp6", JsonType, nullable=False),
    Column("why", Text, nullable=False),
    Column("domain", String(255), nullable=False),
)
marks = db.Table("dhcp_marks", Column("id", Integer, primary_key=True), Column("node_id", Integer, nullable=False))
told = db.Table(
    "dhcp_told",
    Column("node_id", Integer, primary_key=True),
    Column("mac", String(17), primary_key=True),
    Column("boot", String(10), nullable=False),
    Column("sum", String(64), nullable=False),
)
state = db.Table(
    "dhcp_state",
    Column("id", Integer, primary_key=True),
    Column("base", String(64), nullable=False),
    Column("boots", JsonType, nullable=False),
)
foreign = db.Table(
    "dhcp_foreign",
    Column("id", Integer, primary_key=True),
    Column("node_id", Integer, nullable=False),
    Column("card", String(64), nullable=False),
    Column("family", Integer, nullable=False),
    Column("address", String(39), nullable=False),
    Column("mac", String(17), nullable=False),
    Column("network", String(255), nullable=False),
    Column("since", UtcDateTime, nullable=False),
)
faults = db.Table(
    "dhcp_faults",
    Column("id", Integer, primary_key=True),
    Column("node_id", Integer),
    Column("on", String(8), nullable=False),
    Column("name", String(255), nullable=False),
    Column("detail", Text, nullable=False),
)
