"""Networks: addresses for nodes, conduits, and real interfaces on real nodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from flask import Blueprint
from sqlalchemy import select

from crowbar_core import (
    Attribute,
    Barclamp,
    Change,
    Json,
    NodeRoleView,
    NodeView,
    Periodic,
    Problem,
    Role,
    Schema,
    cluster,
    hookimpl,
)
from crowbar_network import allocating, drift, plans
from crowbar_network.addressing import of_key
from crowbar_network.jig import INVENTORY
from crowbar_network.networks import BASE_ROLE
from crowbar_network.rest import rest
from crowbar_network.settings import Settings
from crowbar_network.tables import allocations, networks
from crowbar_network.wanted import wanted_of

BASE = Role(
    name=BASE_ROLE,
    description="What the roles of networks are like.",
    jig="network",
    abstract=True,
    requires=(INVENTORY,),
)
NICS = Role(
    name=INVENTORY,
    description="Tells what network cards a node has.",
    jig="network",
    attributes=(
        Attribute(
            name="network-nics",
            description="The node's network cards: name, mac, path on the bus, speed in Mb/s (or 0), driver, altnames.",
            map="network/nics",
            schema={"type": "array", "items": {"type": "object"}},
            writable=False,
        ),
        Attribute(
            name="network-product",
            description="The machine's product name, which interface maps are matched with.",
            map="network/product",
            schema={"type": "string"},
            writable=False,
        ),
    ),
)


@hookimpl
def register_barclamp() -> Barclamp:
    return Barclamp(
        name="network",
        help="Networks: addresses for nodes, conduits, and real interfaces on real nodes.",
        requires=("jig-script",),
        roles=(BASE, NICS),
        defines=("network-*",),
        settings=Settings,
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


@hookimpl(roles=("network-*",))
def data_of(node_roles: Sequence[NodeRoleView], session: Any) -> Mapping[int, Mapping[str, Json]]:
    return wanted_of([one for one in node_roles if one.role != INVENTORY], session)


@hookimpl(roles=("network-*",))
def plan_lines(node_roles: Sequence[NodeRoleView], session: Any) -> Iterable[str]:
    return plans.lines(node_roles, session)


@hookimpl
def register_periodic() -> Iterable[Periodic]:
    return [Periodic(name="network-drift", seconds=drift.EVERY, run=drift.observe)]


@hookimpl
def status_checks() -> Iterable[Problem]:
    with cluster().read() as session:
        yield from drift.problems(session)


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
