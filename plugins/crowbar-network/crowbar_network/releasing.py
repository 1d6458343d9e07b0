"""Giving addresses back: by somebody who asks for it, and when a node is unbound from the network or goes."""

from __future__ import annotations

from typing import Any

import netaddr
from sqlalchemy import delete, select

from crowbar_core import Change, NodeView, NotFound
from crowbar_core.tables import nodes
from crowbar_network import pool
from crowbar_network.addressing import key_of, parse_address, parse_interface
from crowbar_network.allocating import allocation_of
from crowbar_network.hooks import Allocation
from crowbar_network.tables import allocations, networks, ranges
from crowbar_network.telling import tell_released


def release(change: Change, allocation_id: int) -> Allocation:
    """Give one back; returns what it was. Raises ``NotFound``."""
    found = _release(change, allocations.c.id == allocation_id)
    if not found:
        raise NotFound(f"There is no allocation {allocation_id}.")
    return found[0]


def release_on(change: Change, network_id: int, node: NodeView) -> tuple[Allocation, ...]:
    """Give back all that a node has on a network; returns what it was."""
    return _release(change, allocations.c.network_id == network_id, allocations.c.node_id == node.id)


def release_of(change: Change, node: NodeView) -> tuple[Allocation, ...]:
    """Give back all that a node has; returns what it was."""
    return _release(change, allocations.c.node_id == node.id)


def release_address(change: Change, network: Any, text: str, *, node: NodeView | None) -> Allocation:
    """Give back this address, with or without prefix; with ``node``, only if that has it. Raises ``BadInput``,
    ``NotFound``.
    """
    address: netaddr.IPAddress = (
        parse_interface(text, field="cidr")[0] if "/" in text else parse_address(text, field="cidr")
    )
    mine = [allocations.c.network_id == network.id, allocations.c.address == key_of(address)]
    found = _release(change, *mine, *([] if node is None else [allocations.c.node_id == node.id]))
    if not found:
        whose = "" if node is None else f" of node {node.name}"
        raise NotFound(f"There is no allocation {address}{whose} on network {network.name}.")
    return found[0]


def _release(change: Change, *where: Any) -> tuple[Allocation, ...]:
    session = change.session
    rows = session.execute(
        select(allocations, ranges.c.name.label("range"), networks.c.name.label("network"), nodes.c.name.label("node"))
        .join(ranges, ranges.c.id == allocations.c.range_id)
        .join(networks, networks.c.id == allocations.c.network_id)
        .outerjoin(nodes, nodes.c.id == allocations.c.node_id)
        .where(*where)
        .order_by(allocations.c.id)
    ).all()
    given_back = []
    for row in rows:
        session.execute(delete(allocations).where(allocations.c.id == row.id))
        pool.give_back(session, row.range_id, row.address)
        given_back.append(allocation_of(row, network=row.network, node=row.node))
    tell_released(change, given_back)
    return tuple(given_back)
