"""Addresses that somebody names: by a hint on a node, or in a call. Where they are, and whether they are free."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import netaddr
from sqlalchemy import select

from crowbar_core import BadInput, Hint, NodeView, Refused
from crowbar_core.tables import nodes
from crowbar_network import holders, pool
from crowbar_network.addressing import key_of, of_key, parse_address, parse_interface
from crowbar_network.errors import refused
from crowbar_network.hooks import Allocation
from crowbar_network.tables import allocations
from crowbar_network.telling import span_of


def place_of(
    network: Any, text: str, *, there: Sequence[Any], field: str, version: int | None = None
) -> tuple[Any, str]:
    """The range that the address in the text is of, and its key."""
    address, prefix = parsed(text, field)
    if version is not None and address.version != version:
        raise Refused(f"{text} is an IPv{address.version} address.")
    home = next((one for one in there if address in span_of(one)), None)
    if home is None:
        has = ", ".join(f"{one.name} ({span_of(one)})" for one in there) or "none of that family"
        raise refused(field, f"{address} is in no range of network {network.name}, which has {has}.")
    if prefix is not None and prefix != home.prefix:
        raise refused(field, f"{text} is in range {home.name}, whose prefix is /{home.prefix}.")
    return home, key_of(address)


def parsed(text: str, field: str) -> tuple[netaddr.IPAddress, int | None]:
    return parse_interface(text, field=field) if "/" in text else (parse_address(text, field=field), None)


def holder(session: Any, home: Any, key: str) -> str:
    wanted = (
        select(nodes.c.name, allocations.c.reserved_for)
        .outerjoin_from(allocations, nodes, nodes.c.id == allocations.c.node_id)
        .where(allocations.c.address == key, allocations.c.range_id == home.id)
    )
    found = session.execute(wanted).first()
    if found is None:
        return "a router"
    return f"node {found.name}" if found.name else holders.called(found)


def hint_name(network: str, version: int) -> str:
    """The hint lies at the top of the node's hints under this name, as the core files ``--ip``; it is written on the
    node before it is bound: by `crowbar nodes update --hint`, or, where a barclamp declares it as an attribute of
    nodes, by `crowbar attribs set`.
    """
    return f"hint-{network}-v{version}addr"


DECLARED = (
    Hint(name=hint_name("*", 4), of="ipv4", network="*"),
    Hint(name=hint_name("*", 6), of="ipv6", network="*"),
)


def hint_of(node: NodeView, network: str, version: int) -> str | None:
    said = node.hint.get(hint_name(network, version))
    return None if said is None else str(said)


@dataclass(frozen=True, kw_only=True)
class Hinted:
    """What a hint names, which is not taken yet. ``name`` is the hint's."""

    name: str
    node: NodeView
    home: Any
    key: str

    def cannot_be(self, why: str) -> Refused:
        return _no_hint(self.name, self.node, why)


def _no_hint(name: str, node: NodeView, why: str) -> Refused:
    detail = f"The hint {name} of node {node.name} cannot be: {why} Change the hint, or take it away."
    return refused(f"hint/{name}", detail)


def hinted_by(network: Any, node: NodeView, version: int, there: Sequence[Any], text: str) -> Hinted:
    name = hint_name(network.name, version)
    try:
        home, key = place_of(network, text, there=there, version=version, field=name)
    except (BadInput, Refused) as error:
        raise _no_hint(name, node, error.detail) from None
    return Hinted(name=name, node=node, home=home, key=key)


def take_hinted(session: Any, hinted: Sequence[Hinted]) -> Sequence[Hinted]:
    """Take all of them. Raises ``Refused`` when one is not free."""
    by_home: dict[int, list[Hinted]] = {}
    whose: dict[str, Hinted] = {}
    for one in hinted:
        if (other := whose.setdefault(one.key, one)) is not one:
            raise one.cannot_be(f"node {other.node.name} has a hint of {of_key(one.key)}, too.")
        by_home.setdefault(one.home.id, []).append(one)
    for home, those in by_home.items():
        got = pool.take_these(session, home, [one.key for one in those])
        for one in those:
            if one.key not in got:
                raise one.cannot_be(f"{of_key(one.key)} is taken by {holder(session, one.home, one.key)}.")
    return hinted


def differs(hint: str, has: str) -> bool:
    """Whether a hint names another address than the node has."""
    try:
        return bool(netaddr.IPAddress(hint.partition("/")[0]) != netaddr.IPAddress(has.partition("/")[0]))
    except (ValueError, netaddr.AddrFormatError):
        return True


def refuse_another(network: Any, node: NodeView, version: int, hint: str, has: Allocation) -> None:
    if differs(hint, has.address):
        name = hint_name(network.name, version)
        raise refused(
            f"hint/{name}",
            f"The hint {name} of node {node.name} says {hint}, but the node has {has.address} of network {network.name}"
            " already: give that back first, or change the hint.",
        )
