"""What takes part in a change, in its transaction: objections, and the addresses that are taken and given back."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import AddressValueError, IPv4Address
from typing import Any

from sqlalchemy import delete, insert, select, update

from crowbar_core import Change, DeploymentView, NodeRoleView, NodeView, Problem, Role, Veto, hookimpl
from crowbar_example_addresses.pool import ADDRESS, first_free, held, holder, is_in, subnet


@hookimpl
def check_node(node: NodeView, session: Any) -> Iterator[Problem]:
    """What a node wishes can be had."""
    wish, network = node.hint.get("example-wish"), subnet()
    if wish is None or network is None:
        return
    try:
        address = str(IPv4Address(str(wish)))
    except AddressValueError:
        yield Problem(detail=f"{node.name} wishes {wish!r}, which is no IPv4 address.")
        return
    if not is_in(address, network):
        yield Problem(detail=f"{node.name} wishes {address}, which no node of {network} can have.")
    elif holder(session, address) not in (None, node.id):
        yield Problem(detail=f"{node.name} wishes {address}, which another node has.")


@hookimpl
def check_binding(node: NodeView, role: Role, session: Any) -> Iterator[Problem]:
    if role.name != ADDRESS:
        return
    if (network := subnet()) is None:
        yield Problem(detail="No subnet is set: give network in [plugins.example-addresses].")
    elif first_free(session, network) is None:
        yield Problem(detail=f"All addresses of {network} are taken: unbind {ADDRESS} from a node that needs none.")


@hookimpl(roles=(ADDRESS,))
def on_node_bind(node_role: NodeRoleView, session: Any) -> None:
    """The wish, or the first that is free. Where many are bound at once, only here is it seen what others took."""
    if (network := subnet()) is None or (free := first_free(session, network)) is None:
        raise Veto(f"{node_role.node.name} gets no address: all of {network} are taken.")
    wish = str(node_role.node.hint.get("example-wish", free))
    if holder(session, wish) is not None:
        raise Veto(f"{node_role.node.name} wishes {wish}, which another node has.")
    session.execute(insert(held).values(node_id=node_role.node.id, address=wish, use="reserved", problem=""))


@hookimpl(roles=(ADDRESS,))
def on_node_unbind(node_role: NodeRoleView, change: Change) -> None:
    change.session.execute(delete(held).where(held.c.node_id == node_role.node.id))


@hookimpl
def check_commit(deployment: DeploymentView, session: Any) -> Iterator[Problem]:
    """Addresses that were taken before the subnet was changed are not committed."""
    network = subnet()
    holders = {one.node.id: one.node.name for one in deployment.node_roles if one.role == ADDRESS}
    for row in session.execute(select(held).where(held.c.node_id.in_(holders)).order_by(held.c.node_id)):
        if not is_in(row.address, network):
            yield Problem(
                detail=f"{holders[row.node_id]} has {row.address}, which is not in {network} any more: "
                f"unbind {ADDRESS} from it and bind it again."
            )


@hookimpl(roles=(ADDRESS,))
def on_commit(obj: NodeRoleView, change: Change) -> None:
    """Since when it is held: from its first commit on."""
    mine = (held.c.node_id == obj.node.id, held.c.since.is_(None))
    change.session.execute(update(held).where(*mine).values(since=change.now))
