"""Giving addresses of a network to a node. Of each family that the network has, one, found in this order: the one that
it has; the one that a hint names; for IPv6, the one that follows from its name; the one with the host part of its admin
address in the same group; the first free one.

All is done in a transaction of the caller's, under the lock of all changes; that an address is there once, the database
says.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import netaddr
from sqlalchemy import delete, func, insert, select

from crowbar_core import NodeView, NotFound, Refused
from crowbar_core.tables import nodes
from crowbar_network import pool
from crowbar_network.addressing import (
    Span,
    id_of_name,
    key_of,
    of_key,
    parse_address,
    parse_interface,
    stable_id,
    v6_address,
)
from crowbar_network.tables import allocations, installation, networks, ranges

DHCP = "dhcp"
"""The range of strangers: nobody is given an address of it for good by itself."""
MOST_TRIES = 8
NAMED = 5
"""How many of those that hold a full range are named."""


@dataclass(frozen=True, kw_only=True)
class Allocation:
    """``address`` with prefix. ``node_id`` is None for a reserved one. ``how``: had, hint, automatic, like admin, first
    free, or asked for.
    """

    id: int
    network_id: int
    range_id: int
    node_id: int | None
    address: str
    how: str = "had"


def span_of(row: Any) -> Span:
    """A range's row as what it spans."""
    return Span(first=of_key(row.first), last=of_key(row.last), prefix=row.prefix)


def allocate(session: Any, network: Any, node: NodeView) -> tuple[Allocation, ...]:
    """The node's addresses on the network (a row of ``networks``), of each family for which it has ranges that are for
    nodes. Done again, it changes nothing. Raises ``Refused``: the hint cannot be, or there is none left.
    """
    all_ranges = _ranges_of(session, network.id)
    found = []
    for version in (4, 6):
        there = [one for one in all_ranges if int(one.first[0]) == version]
        if (had := _had(session, network.id, node.id, version)) is not None:
            found.append(had)
        elif mine := automatic_ranges(there, admin=node.admin):
            found.append(_new(session, network, node, version, there, mine))
        elif (text := _hint_of(node, network.name, version)) is not None:
            found.append(_hinted(session, network, node, version, there, text))
    return tuple(found)


def automatic_ranges(there: Sequence[Any], *, admin: bool) -> list[Any]:
    """Of the ranges of one network and family, those of which a node is given an address by itself: the ones named
    ``admin`` (and ``admin-...``) for an admin node, else the ones named ``host``; where none is named so, all but
    ``dhcp``.
    """

    def named(word: str) -> list[Any]:
        return [one for one in there if one.name == word or one.name.startswith(f"{word}-")]

    meant = (named("admin") if admin else []) or named("host")
    if not meant and not named("admin"):
        meant = [one for one in there if one not in named(DHCP)]
    return meant


def _new(
    session: Any, network: Any, node: NodeView, version: int, there: Sequence[Any], mine: Sequence[Any]
) -> Allocation:
    if (text := _hint_of(node, network.name, version)) is not None:
        return _hinted(session, network, node, version, there, text)
    for how, candidate in _candidates(session, network, node, version):
        for one in mine:
            if candidate in span_of(one) and pool.take(session, one.id, key_of(candidate)):
                return _keep(session, one, key_of(candidate), node_id=node.id, how=how)
    for one in mine:
        if (key := pool.take_first(session, one.id)) is not None:
            return _keep(session, one, key, node_id=node.id, how="first free")
    raise Refused(
        f"Network {network.name} has no IPv{version} address left for node {node.name}: {_full(session, mine)}. Add a "
        "range, make one longer, or give back what is not needed."
    )


def _candidates(session: Any, network: Any, node: NodeView, version: int) -> Iterator[tuple[str, netaddr.IPAddress]]:
    if version == 6 and network.v6prefix:
        prefix = netaddr.IPNetwork(network.v6prefix)
        if network.v6id == "name":
            yield "automatic", v6_address(prefix, id_of_name(node.name))
        else:
            secret = session.scalar(select(installation.c.secret)).encode()
            for counter in range(MOST_TRIES):
                given = stable_id(prefix, interface=network.name, fqdn=node.name, counter=counter, secret=secret)
                yield "automatic", v6_address(prefix, given)
    if network.category != "admin":
        like = _admin_address(session, network.group, node.id, version)
        if like is not None:
            host = int(like.ip) - int(like.network)
            for one in _ranges_of(session, network.id):
                subnet = span_of(one).subnet
                if subnet.version == version and host < subnet.size:
                    yield "like admin", netaddr.IPAddress(subnet.first + host, version)


def _admin_address(session: Any, group: str, node_id: int, version: int) -> netaddr.IPNetwork | None:
    wanted = (
        select(allocations.c.address, allocations.c.prefix)
        .join(networks, networks.c.id == allocations.c.network_id)
        .where(networks.c.category == "admin", networks.c.group == group, allocations.c.node_id == node_id)
        .where(allocations.c.address.startswith(str(version)))
        .order_by(networks.c.order, allocations.c.id)
        .limit(1)
    )
    found = session.execute(wanted).first()
    return None if found is None else netaddr.IPNetwork(f"{of_key(found.address)}/{found.prefix}")


# ---------------------------------------------------------------- hints, and addresses that are asked for


def hint_name(network: str, version: int) -> str:
    return f"hint-{network}-v{version}addr"


def _hint_of(node: NodeView, network: str, version: int) -> str | None:
    said = node.hint.get(hint_name(network, version))
    return None if said is None else str(said)


def _hinted(session: Any, network: Any, node: NodeView, version: int, there: Sequence[Any], text: str) -> Allocation:
    name = hint_name(network.name, version)
    try:
        return take(session, network, text, node_id=node.id, there=there, version=version, how="hint", field=name)
    except Refused as error:
        raise Refused(f"The hint {name} of node {node.name} cannot be: {error.detail}") from None


def take(
    session: Any,
    network: Any,
    text: str,
    *,
    node_id: int | None,
    reserved_for: str = "",
    there: Sequence[Any] | None = None,
    version: int | None = None,
    how: str = "asked for",
    field: str = "address",
) -> Allocation:
    """Just this address, with or without a prefix, for a node or (``node_id`` None) as a reserved one. Raises
    ``BadInput`` when it is none, ``Refused`` when it is in no range or taken, with by whom.
    """
    address, prefix = parse_interface(text, field=field) if "/" in text else (parse_address(text, field=field), None)
    if version is not None and address.version != version:
        raise Refused(f"{text} is an IPv{address.version} address.")
    known = list(_ranges_of(session, network.id) if there is None else there)
    home = next((one for one in known if address in span_of(one)), None)
    if home is None:
        has = ", ".join(f"{one.name} ({span_of(one)})" for one in known) or "none of that family"
        raise Refused(f"{address} is in no range of network {network.name}, which has {has}.")
    if prefix is not None and prefix != home.prefix:
        raise Refused(f"{text} is in range {home.name}, whose prefix is /{home.prefix}.")
    if not pool.take(session, home.id, key_of(address)):
        raise Refused(f"{address} is taken by {_holder(session, home, key_of(address))}.")
    return _keep(session, home, key_of(address), node_id=node_id, reserved_for=reserved_for, how=how)


def _holder(session: Any, home: Any, key: str) -> str:
    wanted = (
        select(nodes.c.name, allocations.c.reserved_for)
        .outerjoin_from(allocations, nodes, nodes.c.id == allocations.c.node_id)
        .where(allocations.c.address == key, allocations.c.range_id == home.id)
    )
    found = session.execute(wanted).first()
    if found is None:
        return "a router"
    return f"node {found.name}" if found.name else f"the reservation for {found.reserved_for or 'nobody'}"


# ---------------------------------------------------------------- keeping and giving back


def _keep(session: Any, home: Any, key: str, *, node_id: int | None, reserved_for: str = "", how: str) -> Allocation:
    space = home.network_id if home.overlap else 0
    made = session.scalar(
        insert(allocations)
        .values(
            network_id=home.network_id, range_id=home.id, node_id=node_id, reserved_for=reserved_for, space=space,
            address=key, prefix=home.prefix,
        )
        .returning(allocations.c.id)
    )  # fmt: skip
    return Allocation(
        id=made, network_id=home.network_id, range_id=home.id, node_id=node_id,
        address=f"{of_key(key)}/{home.prefix}", how=how,
    )  # fmt: skip


def release(session: Any, allocation_id: int) -> Allocation:
    """Give one back; returns what it was. Raises ``NotFound``."""
    row = session.execute(select(allocations).where(allocations.c.id == allocation_id)).first()
    if row is None:
        raise NotFound(f"There is no allocation {allocation_id}.")
    session.execute(delete(allocations).where(allocations.c.id == allocation_id))
    pool.give_back(session, row.range_id, row.address)
    return _made(row)


def release_of(session: Any, network_id: int, node_id: int) -> tuple[Allocation, ...]:
    """Give back all that a node has on a network; returns what it was."""
    mine = select(allocations.c.id).where(allocations.c.network_id == network_id, allocations.c.node_id == node_id)
    return tuple(release(session, found) for found in session.scalars(mine.order_by(allocations.c.id)).all())


def _had(session: Any, network_id: int, node_id: int, version: int) -> Allocation | None:
    wanted = select(allocations).where(
        allocations.c.network_id == network_id,
        allocations.c.node_id == node_id,
        allocations.c.address.startswith(str(version)),
    )
    row = session.execute(wanted.order_by(allocations.c.id).limit(1)).first()
    return None if row is None else _made(row)


def _made(row: Any) -> Allocation:
    return Allocation(
        id=row.id, network_id=row.network_id, range_id=row.range_id, node_id=row.node_id,
        address=f"{of_key(row.address)}/{row.prefix}",
    )  # fmt: skip


def _ranges_of(session: Any, network_id: int) -> Sequence[Any]:
    found: Sequence[Any] = session.execute(
        select(ranges).where(ranges.c.network_id == network_id).order_by(ranges.c.first)
    ).all()
    return found


def _full(session: Any, full: Sequence[Any]) -> str:
    """Who holds what, of ranges in which nothing is free."""
    said = []
    for one in full:
        held = select(func.count()).select_from(allocations).where(allocations.c.range_id == one.id)
        count = session.scalar(held)
        names = (
            select(func.coalesce(nodes.c.name, allocations.c.reserved_for))
            .outerjoin_from(allocations, nodes, nodes.c.id == allocations.c.node_id)
            .where(allocations.c.range_id == one.id)
            .order_by(allocations.c.address)
            .limit(NAMED)
        )
        who = [str(name) for name in session.scalars(names).all()]
        more = f" and {count - len(who):,} more" if count > len(who) else ""
        said.append(f"all of {one.name} ({span_of(one)}) is taken, by {', '.join(who)}{more}")
    return "; ".join(said)
