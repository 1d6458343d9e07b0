"""Networks: addresses for nodes, conduits, and real interfaces on real nodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from flask import Blueprint
from sqlalchemy import select

from crowbar_core import Attribute, Barclamp, Change, Json, NodeRoleView, NodeView, Role, Schema, hookimpl
from crowbar_network import allocating
from crowbar_network.addressing import of_key
from crowbar_network.networks import BASE_ROLE
from crowbar_network.rest import rest
from crowbar_network.tables import allocations, networks

OWN = Attribute(
    name="network-addresses",
    description="The node's addresses on the network, with prefix lengths.",
    map="network/addresses",
    schema={"type": "array", "items": {"type": "string"}},
    default=[],
    writable=False,
)
BASE = Role(name=BASE_ROLE, description="What the roles of networks are like.", abstract=True)


@hookimpl
def register_barclamp() -> Barclamp:
    return Barclamp(
        name="network",
        help="Networks: addresses for nodes, conduits, and real interfaces on real nodes.",
        roles=(BASE,),
        defines=("network-*",),
    )


@hookimpl
def register_schema() -> Schema:
    return Schema(migrations="crowbar_network.migrations")


@hookimpl
def register_blueprints() -> Iterable[Blueprint]:
    return [rest]


@hookimpl(roles=("network-*",))
def on_node_bind(node_role: NodeRoleView, session: Any, change: Change) -> None:
    """A node with a network's role has addresses of it, in the same transaction."""
    network = _network_of(session, node_role.role)
    if network is not None:
        for one in allocating.allocate(session, network, node_role.node):
            if one.how != "had":
                change.audit("network.allocate", f"network {network.name}", address=one.address,
                             node=node_role.node.name)  # fmt: skip


@hookimpl(roles=("network-*",))
def on_node_unbind(node_role: NodeRoleView, change: Change) -> None:
    network = _network_of(change.session, node_role.role)
    if network is not None:
        for one in allocating.release_of(change.session, network.id, node_role.node.id):
            change.audit("network.release", f"network {network.name}", address=one.address, node=node_role.node.name)


@hookimpl
def addresses_of(nodes: Sequence[NodeView], session: Any) -> Mapping[int, Iterable[str]]:
    """Those on networks of the category admin."""
    ids = [node.id for node in nodes]
    wanted = (
        select(allocations.c.node_id, allocations.c.address)
        .join(networks, networks.c.id == allocations.c.network_id)
        .where(networks.c.category == "admin", allocations.c.node_id.in_(ids))
        .order_by(networks.c.order, allocations.c.address)
    )
    found: dict[int, list[str]] = {}
    for one in session.execute(wanted).all():
        found.setdefault(one.node_id, []).append(str(of_key(one.address)))
    return found


def _network_of(session: Any, role: str) -> Any:
    name = role.removeprefix("network-")
    return session.execute(select(networks).where(networks.c.name == name)).first()


__all__ = ["Json"]
