"""What others ask: which zones a server is to have, and whom machines may ask."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from crowbar_core import Json, NodeRoleView, hookimpl
from crowbar_dns import facts
from crowbar_dns.names import reverse_zones
from crowbar_dns.services import SERVER, resolvers


@hookimpl(roles=(SERVER,))
def data_of(node_roles: Sequence[NodeRoleView], session: Any) -> Mapping[int, Mapping[str, Json]]:
    """The zones that a server is to have: the domains that it was told, else those of all nodes; and reverse ones."""
    known = facts.hosts(session)
    every = [] if facts.networks_are_kept() else [one.ip for one in facts.addresses(known, every=True)]
    reverse = reverse_zones(facts.subnets(every))
    domains = {one.name.partition(".")[2].lower() for one in known} - {""}
    found = {}
    for one in node_roles:
        told = one.data.get("dns", {}).get("domains") or sorted(domains)
        found[one.id] = {"dns": {"zones": sorted({*(str(name).lower().removesuffix(".") for name in told), *reverse})}}
    return found


@hookimpl(optional=True)
def dhcp_resolvers(session: Any) -> Iterable[str]:
    """Whom DHCP servers should name, where one asks: the servers that nodes can ask, too."""
    return resolvers(session)
