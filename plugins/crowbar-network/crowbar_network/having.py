"""Nodes have addresses as long as they are bound to a network's role: the hooks by which they get and lose them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import bindparam, select

from crowbar_core import Change, DeploymentView, NodeRoleView, NodeView, Problem, Veto, hookimpl
from crowbar_network import allocating, drafts, releasing
from crowbar_network.addressing import of_key
from crowbar_network.networks import is_usable, names_in
from crowbar_network.remembered import remembered
from crowbar_network.tables import allocations, networks
from crowbar_network.telling import role_of


@hookimpl(roles=("network-*",))
def on_nodes_bind(node_roles: Sequence[NodeRoleView], change: Change) -> None:
    """Nodes with a network's role have addresses of it, in the same transaction: those of an admin network first, which
    others go by.
    """
    by_network: dict[int, tuple[Any, list[NodeView]]] = {}
    for one in node_roles:
        network = _network_of(change.session, one.role)
        if network is None:
            continue
        if not is_usable(change.session, network, one.deployment):
            raise Veto(
                f"Network {network.name} belongs to another deployment and can be used in that and those below it; "
                f"{one.deployment} is none of them."
            )
        by_network.setdefault(network.id, (network, []))[1].append(one.node)
    for network, nodes in sorted(by_network.values(), key=lambda pair: pair[0].category != "admin"):
        allocating.allocate_many(change, network, nodes)


@hookimpl(roles=("network-*",))
def on_node_unbind(node_role: NodeRoleView, change: Change) -> None:
    network = _network_of(change.session, node_role.role)
    if network is not None:
        releasing.release_on(change, network.id, node_role.node)


@hookimpl
def on_deployment_commit(deployment: DeploymentView, change: Change) -> None:
    """With a deployment is committed what waits of its networks."""
    drafts.commit_in(change, deployment.id)


@hookimpl
def on_deployment_discard(deployment: DeploymentView, change: Change) -> None:
    """With the drafts of a deployment goes what waits of its networks."""
    drafts.discard_in(change, deployment.id)


@hookimpl
def on_node_leave(node: NodeView, change: Change) -> None:
    """What a node still has, of whichever network, is free again in the change in which it goes."""
    releasing.release_of(change, node)


@hookimpl
def check_delete(subject: NodeView | DeploymentView, session: Any) -> Iterable[Problem]:
    """A deployment with networks stays: those below it may have addresses of them."""
    if isinstance(subject, DeploymentView) and (names := names_in(session, subject.id)):
        yield Problem(
            detail=f"Deployment {subject.name} has the network{'s' if len(names) > 1 else ''} {', '.join(names)}: "
            "remove what it has, or give it to another deployment (deployment_id), first."
        )


@hookimpl
def addresses_of(nodes: Sequence[NodeView], session: Any) -> Mapping[int, Iterable[str]]:
    """Those on networks of the category admin."""
    found: dict[int, list[str]] = {}
    for one in session.execute(_ON_ADMIN, {"ids": [node.id for node in nodes]}).all():
        found.setdefault(one.node_id, []).append(str(of_key(one.address)))
    return found


# Built once: each run that begins asks it.
_ON_ADMIN = (
    select(allocations.c.node_id, allocations.c.address)
    .join(networks, networks.c.id == allocations.c.network_id)
    .where(networks.c.category == "admin", allocations.c.node_id.in_(bindparam("ids", expanding=True)))
    .order_by(networks.c.order, allocations.c.address)
)


def _network_of(session: Any, role: str) -> Any:
    known, name = remembered(session), role.removeprefix(role_of(""))
    if ("network", name) not in known:
        known["network", name] = session.execute(select(networks).where(networks.c.name == name)).first()
    return known["network", name]
