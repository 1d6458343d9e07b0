"""How each node resolves each conduit of the networks, from what it has told of its cards, and why one cannot be."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select

from crowbar_core import Json
from crowbar_core.tables import node_roles, nodes, roles
from crowbar_network.conduits import InterfaceMap, Nic, clash, in_order, no_card, parse, resolve, speed_name
from crowbar_network.jig import INVENTORY
from crowbar_network.tables import interface_maps, networks, ranges
from crowbar_network.wanted import UNCONFIGURED

UNKNOWN = f"Its cards are not known yet: they are told by the role {INVENTORY}, once it has run there."


@dataclass(frozen=True, kw_only=True)
class Meant:
    """What a conduit means on a node: names of cards, or in ``problem`` why it means none."""

    node_id: int
    node: str
    network_id: int
    network: str
    conduit: str
    nics: tuple[str, ...] = ()
    problem: str = ""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A node with its cards in order (None where they are not known). ``key`` is what nodes are ordered by."""

    id: int
    name: str
    key: str
    product: str
    nics: tuple[Nic, ...] | None

    @property
    def shown(self) -> str:
        return ", ".join(f"{nic.name} {speed_name(nic.speed)}" for nic in self.nics or ()) or "none"


def map_rows(session: Any) -> Sequence[Any]:
    """The rows of the interface maps, in the order in which they are tried."""
    by = interface_maps.c.order, interface_maps.c.pattern
    found: Sequence[Any] = session.execute(select(interface_maps).order_by(*by)).all()
    return found


def as_maps(rows: Iterable[Any]) -> list[InterfaceMap]:
    return [InterfaceMap(pattern=one.pattern, order=tuple(one.buses.split("\n"))) for one in rows]


def machines(
    session: Any, *, after: str = "", limit: int | None = None, ids: Collection[int] | None = None
) -> list[Machine]:
    """Nodes as people count them; those behind the key ``after``, or just these."""
    wanted = select(nodes.c.id, nodes.c.name, nodes.c.name_key).where(~nodes.c.system, nodes.c.name_key > after)
    if ids is not None:
        wanted = wanted.where(nodes.c.id.in_(ids))
    rows = session.execute(wanted.order_by(nodes.c.name_key).limit(limit)).all()
    told = _told(session, [row.id for row in rows])
    maps = as_maps(map_rows(session))
    return [_machine(row, told.get(row.id), maps) for row in rows]


def _machine(row: Any, told: Mapping[str, Json] | None, maps: Any) -> Machine:
    if told is None:
        return Machine(id=row.id, name=row.name, key=row.name_key, product="", nics=None)
    product = str(told.get("product", ""))
    cards = [Nic(**{**nic, "altnames": tuple(nic.get("altnames", ()))}) for nic in told.get("nics", [])]
    return Machine(
        id=row.id, name=row.name, key=row.name_key, product=product, nics=in_order(cards, product=product, maps=maps)
    )


def _told(session: Any, ids: Collection[int]) -> dict[int, Mapping[str, Json]]:
    asked = (
        select(node_roles.c.node_id, node_roles.c.wall)
        .join(roles, roles.c.id == node_roles.c.role_id)
        .where(roles.c.name == INVENTORY, node_roles.c.node_id.in_(ids))
    )
    found = {row.node_id: (row.wall or {}).get("network") for row in session.execute(asked).all()}
    return {key: told for key, told in found.items() if told}


def conduits(session: Any) -> list[tuple[Any, str]]:
    """The networks of which interfaces are set up, each with its conduit ('' where it has none), and with those that
    its ranges have instead.
    """
    rows = session.execute(
        select(networks.c.id, networks.c.name, networks.c.category, networks.c.conduit, ranges.c.conduit.label("own"))
        .outerjoin(ranges, ranges.c.network_id == networks.c.id)
        .where(networks.c.configure)
        .order_by(networks.c.order, networks.c.name, ranges.c.first)
    ).all()
    found: dict[tuple[int, str], tuple[Any, str]] = {}
    for row in rows:
        for conduit in (row.conduit, row.own):
            if conduit:
                found.setdefault((row.id, conduit), (row, conduit))
    named = {key for key, _ in found}
    for row in rows:
        if row.id not in named and row.category not in UNCONFIGURED:
            found[row.id, ""] = row, ""
    return list(found.values())


def meant(on: Sequence[Machine], by: Sequence[tuple[Any, str]]) -> Iterator[Meant]:
    """What each of these conduits means on each of these machines."""
    for machine in on:
        taken: dict[str, tuple[Nic, ...]] = {}
        for network, conduit in by:
            nics, problem = _on(machine, conduit, network.name, taken)
            yield Meant(
                node_id=machine.id, node=machine.name, network_id=network.id, network=network.name, conduit=conduit,
                nics=tuple(nic.name for nic in nics), problem=problem,
            )  # fmt: skip


def _on(machine: Machine, conduit: str, network: str, taken: dict[str, tuple[Nic, ...]]) -> tuple[tuple[Nic, ...], str]:
    if not conduit:
        return (), no_card(network)
    if machine.nics is None:
        return (), UNKNOWN
    resolved = resolve(parse(conduit), machine.nics)
    if resolved.problem:
        return (), resolved.problem
    for other, theirs in taken.items():
        if other != network and (common := clash(resolved.nics, theirs)):
            return resolved.nics, (
                f"It shares {common} with network {other}, but not all cards: conduits must be equal or have none in "
                "common."
            )
    taken[network] = resolved.nics
    return resolved.nics, ""
