"""Hearing of changes: each only notes whose it is, and has dhcp-database run, which looks at those nodes anew.

The hooks of networks belong to crowbar-network; where that is not installed, nobody calls them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from crowbar_core import (
    Change,
    Cluster,
    Intent,
    Json,
    NodeRoleView,
    NodeView,
    Refresh,
    cluster,
    hookimpl,
)
from crowbar_dhcp import facts, marks, services
from crowbar_dhcp.services import SERVER, SERVICE

_MATTER = frozenset(("name", "bootenv", "hint", "discovery"))
_SERVERS = (Refresh(role=SERVER),)


def _everybody() -> Iterable[Intent]:
    marks.follow(marks.EVERYBODY)
    return _SERVERS


@hookimpl
def on_install(cluster: Cluster) -> Iterable[Intent]:
    return _everybody()


@hookimpl
def on_node_create(node: NodeView) -> None:
    marks.follow(node.id)


@hookimpl
def on_node_change(node: NodeView, changed: frozenset[str]) -> None:
    if changed & _MATTER:
        marks.follow(node.id)


@hookimpl
def on_node_delete(node: NodeView) -> None:
    marks.follow(node.id)


@hookimpl(optional=True)
def on_network_allocation_create(allocation: Any) -> Iterable[Intent]:
    return _of_address(allocation)


@hookimpl(optional=True)
def on_network_allocation_delete(allocation: Any) -> Iterable[Intent]:
    return _of_address(allocation)


def _of_address(allocation: Any) -> Iterable[Intent]:
    """One that is kept for others may be in a pool. A server listens at its addresses, for relays."""
    marks.follow(marks.EVERYBODY if allocation.node_id is None else allocation.node_id)
    own = any(one.node.id == allocation.node_id for one in cluster().node_roles(role=SERVER))
    return _SERVERS if own else ()


@hookimpl(optional=True)
def on_network_create(network: Any) -> Iterable[Intent]:
    return _everybody()


@hookimpl(optional=True)
def on_network_change(network: Any) -> Iterable[Intent]:
    return _everybody()


@hookimpl(optional=True)
def on_network_delete(network: Any) -> Iterable[Intent]:
    return _everybody()


@hookimpl(roles=("network-*",), optional=True)
def on_active(node_role: NodeRoleView) -> Iterable[Intent]:
    """A server advertises IPv6 where it has an address itself, which its network has put there only now."""
    node = node_role.node
    advertised = {f"network-{one['network']}" for one in facts.prefixes(facts.mode())}
    serves = node_role.role in advertised and any(cluster().node_roles(role=SERVER, node=node.name))
    return (Refresh(role=SERVER, node=node.name),) if serves else ()


@hookimpl(roles=(SERVER, SERVICE))
def on_node_unbind(node_role: NodeRoleView, change: Change) -> None:
    services.forget(change, node_role.id)


# ---------------------------------------------------------------- what the core asks


@hookimpl(roles=(SERVER,))
def data_of(node_roles: Sequence[NodeRoleView], session: Any) -> Mapping[int, Mapping[str, Json]]:
    """The subnets of IPv6 that a server is to advertise."""
    mine = facts.prefixes(facts.mode())
    return {one.id: {"dhcp": {"prefixes": mine}} for one in node_roles}
