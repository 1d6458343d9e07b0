"""Which others of a network a node asks whether they answer: of each family, the next ones that run, after itself."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import netaddr
from sqlalchemy import bindparam, exists, select

from crowbar_core.tables import node_roles, roles
from crowbar_network.addressing import key_of, of_key
from crowbar_network.tables import allocations

MOST_PEERS = 3
"""For each of a node's own addresses."""


def peers_of(session: Any, role: str, own: Iterable[Any]) -> list[str]:
    """``own``: the rows of a node's allocations on the network whose role that is. Addresses in their subnets, of nodes
    on which the role has run (which are alive): those after its own, then from the first one on, so that not all ask
    the same few.
    """
    found: dict[str, None] = {}
    for one in own:
        subnet = netaddr.IPNetwork(f"{of_key(one.address)}/{one.prefix}")
        first, last = (key_of(netaddr.IPAddress(end, subnet.version)) for end in (subnet.first, subnet.last))
        said = {"network": one.network_id, "space": one.space, "node": one.node_id, "role": role, "most": MOST_PEERS}
        there = list(session.scalars(_BETWEEN, {**said, "low": one.address, "high": last}).all())
        if len(there) < MOST_PEERS:
            there += session.scalars(_BETWEEN, {**said, "low": first, "high": one.address}).all()
        found |= dict.fromkeys(str(of_key(key)) for key in there[:MOST_PEERS])
    return list(found)


# Built once: each run that begins asks it. By its index, from ``low`` on, until there are enough.
_BETWEEN = (
    select(allocations.c.address)
    .where(allocations.c.space == bindparam("space"), allocations.c.network_id == bindparam("network"))
    .where(allocations.c.address >= bindparam("low"), allocations.c.address <= bindparam("high"))
    .where(allocations.c.node_id != bindparam("node"))
    .where(
        exists().where(
            node_roles.c.node_id == allocations.c.node_id,
            node_roles.c.role_id == roles.c.id,
            node_roles.c.state == 0,
            roles.c.name == bindparam("role"),
        )
    )
    .order_by(allocations.c.address)
    .limit(bindparam("most"))
)
