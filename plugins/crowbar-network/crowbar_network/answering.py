"""Answers to those who ask which addresses nodes have, and in which subnets: name servers, for example."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import select

from crowbar_core import Json, hookimpl
from crowbar_network.addressing import of_key
from crowbar_network.tables import allocations, networks, ranges


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
    asked = select(
        networks.c.name, networks.c.category, networks.c.v6prefix, ranges.c.first, ranges.c.prefix
    ).outerjoin(ranges, ranges.c.network_id == networks.c.id)
    found: dict[tuple[str, str], str] = {}
    for name, category, v6prefix, first, prefix in session.execute(asked.order_by(networks.c.id)).all():
        if first is not None:
            found[name, str(ipaddress.ip_network(f"{of_key(first)}/{prefix}", strict=False))] = category
        if v6prefix:
            found[name, v6prefix] = category
    return [{"network": name, "category": category, "subnet": subnet} for (name, subnet), category in found.items()]
