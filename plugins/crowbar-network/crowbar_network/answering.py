"""Answers to those who ask which addresses nodes have, and in which subnets: name servers, for example."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import select

from crowbar_core import Json, hookimpl
from crowbar_network.addressing import of_key
from crowbar_network.tables import allocations, networks, ranges, routers


@hookimpl
def network_addresses(nodes: Sequence[int] | None, session: Any) -> Iterable[Mapping[str, Json]]:
    asked = (
        select(allocations.c.node_id, allocations.c.address, networks.c.name, networks.c.category, ranges.c.name)
        .join(networks, networks.c.id == allocations.c.network_id)
        .join(ranges, ranges.c.id == allocations.c.range_id)
        .where(allocations.c.node_id.is_not(None) if nodes is None else allocations.c.node_id.in_(nodes))
        .order_by(allocations.c.node_id, networks.c.order, networks.c.name, allocations.c.address)
    )
    return [
        {"node_id": node, "ip": str(of_key(address)), "network": network, "category": category, "range": range_}
        for node, address, network, category, range_ in session.execute(asked).all()
    ]


@hookimpl
def network_subnets(session: Any) -> Iterable[Mapping[str, Json]]:
    named = {one.id: one for one in session.execute(select(networks).order_by(networks.c.id)).all()}
    found: dict[tuple[int, str], dict[str, Any]] = {}

    def subnet(network: int, text: str) -> dict[str, Any]:
        one = named[network]
        return found.setdefault((network, text), {
            "network": one.name, "category": one.category, "subnet": text, "mtu": one.mtu, "dhcp": one.dhcp,
            "ranges": [], "routers": [], "reserved": [],
        })  # fmt: skip

    for one in session.execute(select(ranges).order_by(ranges.c.network_id, ranges.c.first)).all():
        within = subnet(one.network_id, _subnet(one.first, one.prefix))
        within["ranges"].append({"name": one.name, "first": str(of_key(one.first)), "last": str(of_key(one.last))})
    for network in named.values():
        if network.v6prefix:
            subnet(network.id, network.v6prefix)
    counting = select(routers).where(routers.c.standing != "new").order_by(routers.c.pref, routers.c.id)
    for one in session.execute(counting).all():
        if there := found.get((one.network_id, _subnet(one.address, one.prefix))):
            there["routers"].append(str(of_key(one.address)))
    kept = select(allocations).where(allocations.c.node_id.is_(None)).order_by(allocations.c.address)
    for one in session.execute(kept).all():
        if there := found.get((one.network_id, _subnet(one.address, one.prefix))):
            there["reserved"].append({"ip": str(of_key(one.address)), "for": one.reserved_for})
    return list(found.values())


def _subnet(key: str, prefix: int) -> str:
    return str(ipaddress.ip_network(f"{of_key(key)}/{prefix}", strict=False))
