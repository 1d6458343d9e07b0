"""Telling others what became of networks and addresses, and the audit trail who did it, in the change itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import bindparam, select

from crowbar_core import Change, NodeView, NotFound, Refresh
from crowbar_core.tables import nodes
from crowbar_network.addressing import Span, of_key
from crowbar_network.hooks import Allocation, Network, Range, Router
from crowbar_network.remembered import remembered
from crowbar_network.tables import networks, ranges, routers

_NODE = select(nodes.c.id, nodes.c.name, nodes.c.admin, nodes.c.system, nodes.c.hint).where(
    nodes.c.id == bindparam("key")
)


OWN_ROLES = frozenset({"network-nics", "network-server", "network-lldpd"})
"""Roles that are called like those of networks, and are of none."""


def role_of(network: str) -> str:
    """The role of a network of this name."""
    return f"network-{network}"


def row_of(session: Any, key: int) -> Any:
    """A network's row. Raises ``NotFound``."""
    found = session.execute(select(networks).where(networks.c.id == key)).first()
    if found is None:
        raise NotFound(f"There is no network {key}.")
    return found


def node_of(session: Any, key: int) -> NodeView:
    """What allocating needs to know of a node. Raises ``NotFound``."""
    found = session.execute(_NODE, {"key": key}).first()
    if found is None:
        raise NotFound(f"There is no node {key}.")
    return NodeView(**found._mapping)


def ranges_of(session: Any, key: int) -> Any:
    """The rows of a network's ranges, by their first addresses."""
    known = remembered(session)
    if ("ranges", key) not in known:
        wanted = select(ranges).where(ranges.c.network_id == key).order_by(ranges.c.first)
        known["ranges", key] = session.execute(wanted).all()
    return known["ranges", key]


def routers_of(session: Any, key: int) -> Any:
    """The rows of a network's routers, the preferred one first; with those that are only drafted."""
    wanted = select(routers).where(routers.c.network_id == key)
    return session.execute(wanted.order_by(routers.c.pref, routers.c.id)).all()


def span_of(row: Any) -> Span:
    """A range's row as what it spans."""
    return Span(first=of_key(row.first), last=of_key(row.last), prefix=row.prefix)


def view_of(session: Any, row: Any) -> Network:
    """A network as others see it."""
    return Network(
        id=row.id, name=row.name, category=row.category, group=row.group, deployment_id=row.deployment_id,
        v6prefix=row.v6prefix, vlan=row.vlan, mtu=row.mtu,
        ranges=tuple(
            Range(name=one.name, first=f"{of_key(one.first)}/{one.prefix}", last=f"{of_key(one.last)}/{one.prefix}")
            for one in ranges_of(session, row.id)
        ),
        routers=tuple(
            Router(address=f"{of_key(one.address)}/{one.prefix}", pref=one.pref)
            for one in routers_of(session, row.id)
            if one.standing != "new"
        ),
    )  # fmt: skip


def tell_network(change: Change, hook: str, network: Network) -> None:
    """``hook``: on_network_create, on_network_change or on_network_delete."""
    change.publish(hook, f"network {network.id}", network=network)


def tell_changed(change: Change, key: int, *, run: bool = False) -> None:
    """A network or what it has is another than before. ``run``: in what nodes have of it, so that its role runs again
    on those that have it, and nowhere else.
    """
    row = row_of(change.session, key)
    if run:
        change.apply(Refresh(role=role_of(row.name)))
    tell_network(change, "on_network_change", view_of(change.session, row))


def tell_allocated(change: Change, given: Sequence[Allocation]) -> None:
    _tell_of(change, given, "on_network_allocation_create", "network.allocate")


def tell_released(change: Change, given_back: Sequence[Allocation]) -> None:
    _tell_of(change, given_back, "on_network_allocation_delete", "network.release")


def _tell_of(change: Change, several: Sequence[Allocation], hook: str, action: str) -> None:
    """Of what is done at once there is one line in the audit trail for each network."""
    by_network: dict[str, list[Allocation]] = {}
    for one in several:
        by_network.setdefault(one.network, []).append(one)
        change.publish(hook, f"network {one.network_id}", allocation=one)
    for network, those in by_network.items():
        change.audit(
            action, f"network {network}", addresses={one.address: one.node or one.reserved_for for one in those}
        )
