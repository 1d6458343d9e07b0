"""What nodes should be told, and the servers, as they look over REST and on pages."""

from __future__ import annotations

from sqlalchemy import func, literal, select

from crowbar_core.rest import NODES, Listing, derived, field, fields
from crowbar_dhcp.tables import faults, foreign, hosts, services

_nodes = NODES.source
_PROBLEM = (
    select(func.min(faults.c.detail))
    .where(faults.c.name == _nodes.c.name, faults.c.on == "node")
    .correlate(_nodes)
    .scalar_subquery()
)

HOSTS = Listing(
    noun="node as DHCP knows it",
    plural="dhcp",
    source=hosts.join(_nodes, _nodes.c.id == hosts.c.id),
    key=hosts.c.id,
    name=_nodes.c.name,
    fields=(
        *fields(hosts, "id"),
        field(_nodes.c.name, "name", filter=True, sort=True, example="web1.rack2.example.com"),
        *fields(hosts, "mac_addrs", "v4addr", "v6addr", filter=("v4addr", "v6addr"), sort=("v4addr",)),
        *fields(hosts, "bootenv", filter=("bootenv",), sort=("bootenv",)),
        field(_nodes.c.served_bootenv, "served_bootenv", filter=True, example="local"),
        *fields(hosts, "dhcp4", "dhcp6", "why"),
        derived("problem", func.coalesce(_PROBLEM, literal("")), str, help="What of it is not served."),
    ),
)
SERVERS = Listing(
    noun="DHCP server",
    plural="dhcp_servers",
    source=services,
    key=services.c.id,
    name=services.c.name,
    fields=(
        *fields(services, "id", "name", filter=("name",), sort=("name",)),
        *fields(services, "node_role_id", "driver", "url", "told_at", "compared_at", "problem", "problem_since"),
    ),
)
FOREIGN = Listing(
    noun="foreign DHCP server",
    plural="dhcp_foreign_servers",
    source=foreign.join(_nodes, _nodes.c.id == foreign.c.node_id),
    key=foreign.c.id,
    fields=(
        *fields(foreign, "id", "address", "mac", "network", filter=("address", "mac", "network")),
        field(_nodes.c.name, "node", help="Which node hears it."),
        *fields(foreign, "card", "family", "since"),
    ),
)
