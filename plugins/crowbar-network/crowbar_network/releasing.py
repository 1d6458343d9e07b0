"""Giving addresses back: by somebody who asks for it, and when a node is unbound from the network or goes."""

from __future__ import annotations

from typing import Any

import netaddr
from sqlalchemy import delete, select

from crowbar_core import Change, NodeView, NotFound, Refused
from crowbar_core.tables import node_roles, nodes, roles
from crowbar_network import pool
from crowbar_network.addressing import key_of, of_key, parse_address, parse_interface
from crowbar_network.allocating import allocation_of
from crowbar_network.hooks import Allocation
from crowbar_network.tables import allocations, networks, ranges
from crowbar_network.telling import role_of, tell_released


def release(change: Change, allocation_id: int) -> Allocation:
    """Give one back; returns what it was. Raises ``NotFound``, ``Refused`` while a role needs it."""
    found = _release(change, allocations.c.id == allocation_id, unless_bound=True)
    if not found:
        raise NotFound(f"There is no allocation {allocation_id}.")
    return found[0]


def release_on(
    change: Change, network_id: int, node: NodeView, *, unless_bound: bool = False
) -> tuple[Allocation, ...]:
    """Give back all that a node has on a network; returns what it was. ``unless_bound``: raises ``Refused`` while the
    node has the network's role.
    """
    mine = allocations.c.network_id == network_id, allocations.c.node_id == node.id
    return _release(change, *mine, unless_bound=unless_bound)


def release_of(change: Change, node: NodeView) -> tuple[Allocation, ...]:
    """Give back all that a node has; returns what it was."""
    return _release(change, allocations.c.node_id == node.id)


def release_address(change: Change, network: Any, text: str, *, node: NodeView | None) -> Allocation:
    """Give back this address, with or without prefix; with ``node``, only if that has it. Raises ``BadInput``,
    ``NotFound``, ``Refused`` while a role needs it.
    """
    address: netaddr.IPAddress = (
        parse_interface(text, field="cidr")[0] if "/" in text else parse_address(text, field="cidr")
    )
    mine = [allocations.c.network_id == network.id, allocations.c.address == key_of(address)]
    of_node = [] if node is None else [allocations.c.node_id == node.id]
    found = _release(change, *mine, *of_node, unless_bound=True)
    if not found:
        whose = "" if node is None else f" of node {node.name}"
        raise NotFound(f"There is no allocation {address}{whose} on network {network.name}.")
    return found[0]


def _release(change: Change, *where: Any, unless_bound: bool = False) -> tuple[Allocation, ...]:
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
        if unless_bound:
            _refuse_if_bound(session, row)
        session.execute(delete(allocations).where(allocations.c.id == row.id))
        pool.give_back(session, row.range_id, row.address)
        given_back.append(allocation_of(row, network=row.network, node=row.node))
    tell_released(change, given_back)
    return tuple(given_back)


def _refuse_if_bound(session: Any, row: Any) -> None:
    """Its interfaces have the address, whoever is given it next."""
    role = role_of(row.network)
    bound = (
        select(node_roles.c.id)
        .join(roles, roles.c.id == node_roles.c.role_id)
        .where(roles.c.name == role, node_roles.c.node_id == row.node_id)
    )
    if row.node_id is not None and session.scalar(bound) is not None:
        raise Refused(
            f"Node {row.node} has the role {role}, and with it {of_key(row.address)}: unbind it there, and its"
            " addresses are given back."
        )
