"""Giving addresses of a network to a node. Of each family that the network has, one, found in this order: the one that
it has; the one that a hint names; for IPv6, the one that follows from its name; the one with the host part of its admin
address in the same group; the first free one.

All is done in a change of the caller's, under the lock of all changes; that an address is there once, the database
says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import netaddr
from sqlalchemy import and_, bindparam, func, insert, or_, select, update

from crowbar_core import Change, NodeView, NotFound, Refused
from crowbar_core.tables import nodes
from crowbar_network import holders, pool
from crowbar_network.addressing import (
    id_of_name,
    key_of,
    of_key,
    stable_id,
    v6_address,
)
from crowbar_network.errors import bad, refused
from crowbar_network.hints import (
    Hinted,
    differs,
    hint_of,
    hinted_by,
    holder,
    parsed,
    place_of,
    refuse_another,
    take_hinted,
)
from crowbar_network.hooks import Allocation
from crowbar_network.remembered import remembered
from crowbar_network.tables import allocations, installation, networks, ranges
from crowbar_network.telling import ranges_of, routers_of, span_of, tell_allocated

DHCP = "dhcp"
"""The range of strangers: nobody is given an address of it for good by itself."""
MOST_TRIES = 8


def allocate(change: Change, network: Any, node: NodeView) -> tuple[Allocation, ...]:
    """The node's addresses on the network (a row of ``networks``), of each family for which it has ranges that are for
    nodes, or of which a hint names an address. Done again, it changes nothing. Raises ``Refused``: there is none left,
    the hint cannot be, or it names another one than the node has.
    """
    return allocate_many(change, network, [node])


def allocate_many(change: Change, network: Any, nodes: Sequence[NodeView]) -> tuple[Allocation, ...]:
    """The same for many nodes, in few statements: all of them have theirs afterwards, or nothing happens. What hints
    name is taken before anybody is given the first that is free.
    """
    session = change.session
    by_family = {
        version: [one for one in ranges_of(session, network.id) if int(one.first[0]) == version] for version in (4, 6)
    }
    held = _held(session, network, nodes)
    had: list[Allocation] = []
    hinted: list[Hinted] = []
    waiting: list[_Wanted] = []
    for node in nodes:
        _refuse_system(node)
        for version, there in by_family.items():
            hint = hint_of(node, network.name, version)
            if (one := held.here.get((node.id, version))) is not None:
                if hint is not None:
                    refuse_another(network, node, version, hint, one)
                had.append(one)
            elif hint is not None:
                hinted.append(hinted_by(network, node, version, there, hint))
            elif mine := automatic_ranges(there, admin=node.admin):
                waiting.append(_Wanted(node=node, version=version, mine=tuple(mine)))
    taken = [_of_hint(one) for one in take_hinted(session, hinted)]
    taken += _meet(session, network, waiting, held)
    place = {node.id: number for number, node in enumerate(nodes)}
    found = (*had, *_keep(change, network, taken))
    return tuple(sorted(found, key=lambda one: (place[one.node_id or 0], ":" in one.address)))


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


def automatic_ranges_of(session: Any, network_id: int, *, admin: bool) -> list[Any]:
    """The same, of both families of a network."""
    there = ranges_of(session, network_id)
    by_family = ([one for one in there if one.first[0] == version] for version in "46")
    return [one for family in by_family for one in automatic_ranges(family, admin=admin)]


def _refuse_system(node: NodeView) -> None:
    if node.system:
        raise Refused(f"Node {node.name} stands for a deployment and is no machine: it has no addresses.")


@dataclass(frozen=True, kw_only=True)
class _Taken:
    """An address that is in no gap any more, of the range ``home``."""

    home: Any
    key: str
    how: str
    node: NodeView | None = None
    reserved_for: str = ""


def _of_hint(one: Hinted) -> _Taken:
    return _Taken(home=one.home, key=one.key, how="hint", node=one.node)


@dataclass(frozen=True, kw_only=True)
class _Wanted:
    """An address of a family for a node, of one of the ranges ``mine``; ``what`` it is, in words."""

    node: NodeView
    version: int
    mine: tuple[Any, ...]

    @property
    def what(self) -> str:
        return f"IPv{self.version} address left for node {self.node.name}"


def _meet(session: Any, network: Any, wanted: Sequence[_Wanted], held: _Held) -> list[_Taken]:
    """What nothing has been said of: what follows from the node, then the first that are free."""
    taken, without = _by_rule(session, network, wanted, held)
    left: dict[tuple[int, ...], list[_Wanted]] = {}
    for one in without:
        left.setdefault(tuple(home.id for home in one.mine), []).append(one)
    for several in left.values():
        free = _first_free(session, network, several[0].mine, len(several))
        if len(free) < len(several):
            raise _none_left(session, network, several[0].mine, several[len(free)].what)
        taken += [
            _Taken(home=home, key=key, how="first free", node=one.node)
            for (home, key), one in zip(free, several, strict=True)
        ]
    return taken


def _by_rule(session: Any, network: Any, wanted: Sequence[_Wanted], held: _Held) -> tuple[list[_Taken], list[_Wanted]]:
    """What follows from the nodes themselves, and those for whom nothing does that is free. In rounds: what the first
    rule says of all, then, of those for whom that was taken, what the next one says.
    """
    taken: list[_Taken] = []
    left = [(one, iter(_rules(session, network, one, held))) for one in wanted]
    without: list[_Wanted] = []
    while left:
        asked = [(one, rules, next(rules, None)) for one, rules in left]
        without += [one for one, _, said in asked if said is None]
        by_home: dict[int, list[tuple[_Wanted, Iterator[_Taken], _Taken]]] = {}
        for one, rules, said in asked:
            if said is not None:
                by_home.setdefault(said.home.id, []).append((one, rules, said))
        left = []
        for home, those in by_home.items():
            got = pool.take_these(session, home, [said.key for _, _, said in those])
            for one, rules, said in those:
                if said.key in got:
                    got.remove(said.key)  # of two of whom the same is said, one has it
                    taken.append(said)
                else:
                    left.append((one, rules))
    return taken, without


def _rules(session: Any, network: Any, wanted: _Wanted, held: _Held) -> Iterator[_Taken]:
    for how, candidate in _candidates(session, network, wanted, held):
        for home in wanted.mine:
            if candidate in span_of(home):
                yield _Taken(home=home, key=key_of(candidate), how=how, node=wanted.node)


def _first_free(session: Any, network: Any, mine: Sequence[Any], count: int) -> list[tuple[Any, str]]:
    """So many free addresses of these ranges, each with its range; fewer where there are no more."""
    found: list[tuple[Any, str]] = []
    for home in mine:
        found += [(home, key) for key in pool.take_first(session, home.id, count - len(found))]
    return found


def _none_left(session: Any, network: Any, mine: Sequence[Any], what: str) -> Refused:
    return Refused(
        f"Network {network.name} has no {what}: {_full(session, mine)}. Add a range, make one longer, or give back "
        "what is not needed."
    )


def _candidates(session: Any, network: Any, wanted: _Wanted, held: _Held) -> Iterator[tuple[str, netaddr.IPAddress]]:
    node, version = wanted.node, wanted.version
    if version == 6 and network.v6prefix:
        prefix = netaddr.IPNetwork(network.v6prefix)
        if network.v6id == "name":
            yield "automatic", v6_address(prefix, id_of_name(node.name))
        else:
            secret = _secret(session)
            for counter in range(MOST_TRIES):
                given = stable_id(prefix, interface=network.name, fqdn=node.name, counter=counter, secret=secret)
                yield "automatic", v6_address(prefix, given)
    like = held.admin.get((node.id, version))
    if network.category != "admin" and like is not None:
        host = int(like.ip) - int(like.network)
        for subnet in dict.fromkeys(span_of(one).subnet for one in wanted.mine):
            if host < subnet.size:
                yield "like admin", netaddr.IPAddress(subnet.first + host, version)


def _secret(session: Any) -> bytes:
    known = remembered(session)
    if "secret" not in known:
        known["secret"] = session.scalar(select(installation.c.secret)).encode()
    found: bytes = known["secret"]
    return found


# ---------------------------------------------------------------- addresses that are asked for


def take(
    change: Change, network: Any, text: str, *, node: NodeView | None = None, reserved_for: str = "",
    field: str = "address",
) -> Allocation:  # fmt: skip
    """Just this address, with or without a prefix, for a node or (None) as a reserved one. One that the node has
    already is its own. Raises ``BadInput`` when it is none, ``Refused`` when it is in no range or taken, with by whom.
    """
    session = change.session
    address, _ = parsed(text, field)
    if node is not None:
        _refuse_system(node)
        if (one := _held(session, network, [node]).here.get((node.id, address.version))) is not None:
            if not differs(text, one.address):
                return one
            raise Refused(
                f"Node {node.name} has {one.address} of network {network.name} already: give that back first."
            )
    elif not reserved_for:
        raise bad("reserved_for", f"Say what {address} is reserved for, or which node is to have it.")
    home, key = _just_this(session, network, text, there=ranges_of(session, network.id), field=field)
    return _keep(change, network, [_Taken(home=home, key=key, how="asked for", node=node, reserved_for=reserved_for)])[
        0
    ]


def _just_this(
    session: Any, network: Any, text: str, *, there: Sequence[Any], field: str, version: int | None = None
) -> tuple[Any, str]:
    """The address in the text, taken from the range that it is of."""
    home, key = place_of(network, text, there=there, field=field, version=version)
    if not pool.take(session, home.id, key):
        held = holder(session, home, key)
        raise refused(field, f"{of_key(key)} is taken by {held}: choose another, or give it back first.")
    return home, key


def reserve(
    change: Change, network: Any, *, reserved_for: str, range_name: str | None = None, count: int = 1
) -> tuple[Allocation, ...]:
    """The first free addresses for somebody who is no node: of the named range, else of all. Raises ``BadInput``,
    ``Refused``.
    """
    if not reserved_for:
        raise bad("reserved_for", "Say what the address is reserved for, or which node is to have one (node_id).")
    mine = _named(change.session, network, range_name)
    free = _first_free(change.session, network, mine, count)
    if len(free) < count:
        left = "address left" if count == 1 else f"{count:,} addresses left"
        raise _none_left(change.session, network, mine, left)
    taken = [_Taken(home=home, key=key, how="first free", reserved_for=reserved_for) for home, key in free]
    return _keep(change, network, taken)


def reserve_for(change: Change, allocation_id: int, what: str) -> None:
    """Say of a reserved address what it is for. Raises ``NotFound``, ``BadInput``, ``Refused`` when a node has it."""
    session = change.session
    wanted = (
        select(allocations.c.address, nodes.c.name.label("node"), networks.c.name)
        .join(networks, networks.c.id == allocations.c.network_id)
        .outerjoin(nodes, nodes.c.id == allocations.c.node_id)
        .where(allocations.c.id == allocation_id)
    )
    found = session.execute(wanted).first()
    if found is None:
        raise NotFound(f"There is no allocation {allocation_id}.")
    if found.node:
        raise Refused(
            f"{of_key(found.address)} is node {found.node}'s and not reserved: give it back first "
            f"(crowbar networks release {found.name} --node {found.node})."
        )
    if not what:
        raise bad("reserved_for", f"Say what {of_key(found.address)} is reserved for, or give it back.")
    session.execute(update(allocations).where(allocations.c.id == allocation_id).values(reserved_for=what))
    change.audit("network.reserve", f"network {found.name}", addresses={str(of_key(found.address)): what})


def allocate_in(change: Change, network: Any, node: NodeView, range_name: str) -> Allocation:
    """An address of just this range for a node: the one that it has of its family, if that is in it, else the first
    free. Raises ``BadInput``, ``Refused``.
    """
    session = change.session
    _refuse_system(node)
    mine = _named(session, network, range_name)
    version = int(mine[0].first[0])
    held = _held(session, network, [node])
    if (one := held.here.get((node.id, version))) is not None:
        if one.range_id == mine[0].id:
            return one
        raise Refused(
            f"Node {node.name} has {one.address} of range {one.range} of network {network.name} already: give that "
            "back first."
        )
    if (hint := hint_of(node, network.name, version)) is not None:
        [found] = take_hinted(session, [hinted_by(network, node, version, mine, hint)])
        return _keep(change, network, [_of_hint(found)])[0]
    wanted = _Wanted(node=node, version=version, mine=tuple(mine))
    return _keep(change, network, _meet(session, network, [wanted], held))[0]


def _named(session: Any, network: Any, name: str | None) -> list[Any]:
    there = list(ranges_of(session, network.id))
    mine = [one for one in there if name is None or one.name == name]
    if not mine:
        has = ", ".join(one.name for one in there) or "none"
        called = "no range" if name is None else f"no range {name!r}; its ranges are {has}"
        raise bad("range", f"Network {network.name} has {called}.")
    return mine


# ---------------------------------------------------------------- keeping


def _keep(change: Change, network: Any, taken: Sequence[_Taken]) -> tuple[Allocation, ...]:
    """Write down who has them, and tell of it."""
    if not taken:
        return ()
    rows = [
        {
            "network_id": network.id, "range_id": one.home.id, "node_id": None if one.node is None else one.node.id,
            "reserved_for": one.reserved_for, "space": network.id if one.home.overlap else 0, "address": one.key,
            "prefix": one.home.prefix,
        }
        for one in taken
    ]  # fmt: skip
    ids = _written(change.session, rows)
    kept = tuple(
        Allocation(
            id=key, network_id=network.id, network=network.name, range_id=one.home.id, range=one.home.name,
            address=f"{of_key(one.key)}/{one.home.prefix}", node_id=None if one.node is None else one.node.id,
            node=None if one.node is None else one.node.name, reserved_for=one.reserved_for, how=one.how,
        )
        for key, one in zip(ids, taken, strict=True)
    )  # fmt: skip
    tell_allocated(change, kept)
    return kept


def _written(session: Any, rows: Sequence[Mapping[str, Any]]) -> Sequence[int]:
    """The ids of these rows, which are written. Of many they are read again: SQLite would be asked for each one."""
    if len(rows) < pool.MANY:
        return list(session.scalars(_INSERT, rows).all())
    last = session.scalar(select(func.max(allocations.c.id))) or 0
    session.execute(insert(allocations), rows)
    new = session.execute(
        select(allocations.c.id, allocations.c.range_id, allocations.c.address).where(allocations.c.id > last)
    ).all()
    ids = {(one.range_id, one.address): one.id for one in new}
    return [ids[row["range_id"], row["address"]] for row in rows]


_HELD = (
    select(allocations, ranges.c.name.label("range"), networks.c.category)
    .join(ranges, ranges.c.id == allocations.c.range_id)
    .join(networks, networks.c.id == allocations.c.network_id)
    .where(
        allocations.c.node_id.in_(bindparam("nodes", expanding=True)),
        or_(
            allocations.c.network_id == bindparam("network"),
            and_(networks.c.category == "admin", networks.c.group == bindparam("group")),
        ),
    )
    .order_by(networks.c.order.desc(), allocations.c.id.desc())
)
_INSERT = insert(allocations).returning(allocations.c.id, sort_by_parameter_order=True)


@dataclass(frozen=True, kw_only=True)
class _Held:
    """What nodes have already, by node and family: on the network, and on the admin network of its group."""

    here: Mapping[tuple[int, int], Allocation]
    admin: Mapping[tuple[int, int], netaddr.IPNetwork]


def _held(session: Any, network: Any, nodes: Sequence[NodeView]) -> _Held:
    """Of several addresses of a family that a node has on a network, the oldest counts."""
    names = {node.id: node.name for node in nodes}
    asked = {"nodes": list(names), "network": network.id, "group": network.group}
    rows = session.execute(_HELD, asked).all()
    return _Held(
        here={
            (row.node_id, int(row.address[0])): allocation_of(row, network=network.name, node=names[row.node_id])
            for row in rows
            if row.network_id == network.id
        },
        admin={
            (row.node_id, int(row.address[0])): netaddr.IPNetwork(f"{of_key(row.address)}/{row.prefix}")
            for row in rows
            if row.category == "admin" and row.network_id != network.id
        },
    )


def allocation_of(row: Any, *, network: str, node: str | None) -> Allocation:
    """A row of ``allocations``, with its range's name, as others see it."""
    return Allocation(
        id=row.id, network_id=row.network_id, network=network, range_id=row.range_id, range=row.range,
        address=f"{of_key(row.address)}/{row.prefix}", node_id=row.node_id, node=node, reserved_for=row.reserved_for,
    )  # fmt: skip


def _full(session: Any, full: Sequence[Any]) -> str:
    """Who holds what, of ranges in which nothing is free."""
    said = []
    for one in full:
        span = span_of(one)
        inside = [router for router in routers_of(session, one.network_id) if of_key(router.address) in span]
        taken = [holders.who(session, allocations.c.range_id == one.id), "a router" if inside else ""]
        by = " and ".join(filter(None, taken))
        said.append(f"all {span.size:,} of {one.name} ({span}) are taken, by {by}")
    return "; ".join(said)
