"""The server's own side of the networks: the role ``network-server``, on the node where Crowbar is.

Such a node has the roles of all admin networks that can be used in its deployment, also of those that are made later,
and with them its own addresses (of the ranges called ``admin``, if it is an admin node). Other roles may want them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import select

from crowbar_core import Attribute, Bind, Change, Json, NodeRoleView, Role, cluster, hookimpl
from crowbar_network.addressing import of_key
from crowbar_network.hooks import Network
from crowbar_network.networks import is_usable
from crowbar_network.tables import allocations, networks
from crowbar_network.telling import role_of, row_of

ADMIN = "admin"
SERVER = Role(
    name="network-server",
    description="Has addresses of all admin networks: for the node where Crowbar is.",
    attributes=(
        Attribute(
            name="network-server-addresses",
            description="The server's own addresses on the admin networks, with prefix lengths.",
            map="network/server/addresses",
            schema={"type": "array", "items": {"type": "string"}},
            writable=False,
        ),
    ),
)


@hookimpl(roles=(SERVER.name,))
def on_node_bind(node_role: NodeRoleView, change: Change) -> None:
    """With it the node has the roles of the admin networks."""
    admin = select(networks).where(networks.c.category == ADMIN).order_by(networks.c.order, networks.c.name)
    for network in change.session.execute(admin).all():
        if is_usable(change.session, network, node_role.deployment):
            change.apply(_bound(node_role, network.name))


@hookimpl(optional=True)
def on_network_create(network: Network) -> Iterable[Bind]:
    """Servers have an admin network that was made after them, too."""
    if network.category != ADMIN:
        return []
    here = cluster()
    with here.read() as session:
        row = row_of(session, network.id)
        return [
            _bound(one, network.name)
            for one in here.node_roles(role=SERVER.name)
            if is_usable(session, row, one.deployment)
        ]


def _bound(server: NodeRoleView, network: str) -> Bind:
    return Bind(node=server.node.name, role=role_of(network), deployment=server.deployment)


def data_of(servers: Sequence[NodeRoleView], session: Any) -> dict[int, Mapping[str, Json]]:
    """The addresses of each."""
    mine = (
        select(allocations.c.node_id, allocations.c.address, allocations.c.prefix)
        .join(networks, networks.c.id == allocations.c.network_id)
        .where(networks.c.category == ADMIN, allocations.c.node_id.in_([one.node.id for one in servers]))
        .order_by(networks.c.order, networks.c.name, allocations.c.address)
    )
    held: dict[int, list[str]] = {}
    for one in session.execute(mine).all() if servers else ():
        held.setdefault(one.node_id, []).append(f"{of_key(one.address)}/{one.prefix}")
    return {one.id: {"network": {"server": {"addresses": held.get(one.node.id, [])}}} for one in servers}
