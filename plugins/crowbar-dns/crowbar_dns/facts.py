"""What is known of nodes that their names come from, as it stands in the database and as other barclamps answer.

Addresses are asked of whoever keeps networks; where nobody does, they are those that nodes have on the admin network.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from sqlalchemy import select

from crowbar_core import NotFound, cluster
from crowbar_core.tables import deployments, node_roles, nodes, roles
from crowbar_dns import tables
from crowbar_dns.filters import Address, Filter, Host
from crowbar_dns.naming import ATTRIBUTE

SUBNETS, ADDRESSES = "network_subnets", "network_addresses"
WITHOUT_NETWORKS = (
    "crowbar-network is not installed: only the admin addresses of nodes (their hints) have names, filters know no "
    "network and no range, and zones for reverse names are made of just these addresses."
)
_MANY = 500


def networks_are_kept() -> bool:
    """Whether somebody answers for networks."""
    try:
        cluster().ask(SUBNETS)
    except NotFound:
        return False
    return True


def hosts(session: Any, ids: Collection[int] | None = None) -> list[Host]:
    """The nodes of these ids (None: all) but the system's own."""
    with_roles: dict[int, set[str]] = {}
    bound = select(node_roles.c.node_id, roles.c.name).join(roles, roles.c.id == node_roles.c.role_id)
    wanted = select(
        nodes.c.id, nodes.c.name, nodes.c.hint, nodes.c.discovery, deployments.c.name.label("deployment")
    ).join(deployments, deployments.c.id == nodes.c.deployment_id)
    wanted = wanted.where(nodes.c.system.is_(False)).order_by(nodes.c.id)
    found = []
    for some in parts(ids):
        if some is not None:
            bound_here, wanted_here = bound.where(node_roles.c.node_id.in_(some)), wanted.where(nodes.c.id.in_(some))
        else:
            bound_here, wanted_here = bound, wanted
        for node_id, role in session.execute(bound_here).all():
            with_roles.setdefault(node_id, set()).add(role)
        found += [
            Host(
                id=one.id, name=one.name, deployment=one.deployment, roles=frozenset(with_roles.get(one.id, ())),
                attributes=_attributes(one.discovery or {}, one.hint or {}),
            )
            for one in session.execute(wanted_here).all()
        ]  # fmt: skip
    return found


def _attributes(discovery: Mapping[str, Any], hint: Mapping[str, Any]) -> dict[str, Any]:
    """No node says itself which further records it has: it could take the name of anybody."""
    return {**{name: value for name, value in discovery.items() if name != ATTRIBUTE}, **hint}


def addresses(known: Sequence[Host], *, every: bool) -> list[Address]:
    """The addresses of these nodes; ``every``: they are all there are."""
    here = cluster()
    found: list[Address] = []
    try:
        for some in [None] if every else parts([one.id for one in known]):
            for _, answer in here.ask(ADDRESSES, nodes=some):
                found += [
                    Address(
                        node_id=one["node_id"], ip=one["ip"], network=one["network"], category=one["category"],
                        range=one["range"],
                    )
                    for one in answer
                ]  # fmt: skip
    except NotFound:
        views = {one.id: one for one in here.nodes()} if every else {one.id: here.node(one.name) for one in known}
        return [
            Address(node_id=one.id, ip=str(ipaddress.ip_address(ip)))
            for one in known if one.id in views for ip in views[one.id].addresses
        ]  # fmt: skip
    return found


def subnets(every_address: Iterable[str]) -> list[str]:
    """The subnets for which there are reverse zones; of the addresses where nobody keeps networks."""
    try:
        return [one["subnet"] for _, answer in cluster().ask(SUBNETS) for one in answer]
    except NotFound:
        return [f"{one}/{64 if ':' in one else 24}" for one in every_address]


def filters(session: Any) -> list[Filter]:
    table = tables.filters
    return [Filter(**one._mapping) for one in session.execute(select(table).order_by(table.c.priority, table.c.id))]


def names_of(session: Any, ids: Collection[int]) -> Mapping[int, str]:
    found: dict[int, str] = {}
    for some in parts(ids):
        asked = select(nodes.c.id, nodes.c.name).where(nodes.c.id.in_(some))
        found |= {one.id: one.name for one in session.execute(asked).all()}
    return found


def parts(ids: Collection[int] | None) -> list[Any]:
    """The ids in parts that a statement takes; None stays what it is."""
    if ids is None:
        return [None]
    listed = list(ids)
    return [listed[first : first + _MANY] for first in range(0, len(listed), _MANY)]
