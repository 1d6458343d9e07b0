"""What the networks want of the interfaces of nodes: from the tables, as the attribute ``network-wanted-config`` holds
it, and from there what the jig makes of it on the machine that it finds.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from sqlalchemy import select

from crowbar_core import Json, NodeRoleView, PermanentError
from crowbar_core.tables import node_roles, roles
from crowbar_network.addressing import of_key
from crowbar_network.checks import LAYERS
from crowbar_network.conduits import BMC, InterfaceMap, Nic, clash, in_order, no_card, parse, resolve
from crowbar_network.drafts import NEW, Before
from crowbar_network.layers import Wanted
from crowbar_network.peers import peers_of
from crowbar_network.ranges import HOST_V6
from crowbar_network.tables import allocations, interface_maps, networks, ranges, routers

UNCONFIGURED = frozenset({"bmc", "unmanaged"})
"""Categories of networks that nodes have addresses of and no interface."""
ROLE = "network-"
_ACTIVE = 0
_NOTHING: Mapping[int, Before] = MappingProxyType({})


@dataclass(frozen=True, kw_only=True)
class Config:
    """One network on one node. ``active``: its role has run there. ``peers``: addresses of others, to be asked.
    ``problem``: why it cannot be on any machine, or ''.
    """

    name: str
    id: int
    category: str
    conduit: str
    addresses: tuple[str, ...]
    routers: tuple[tuple[str, int], ...]
    team_mode: int | None
    vlan: int | None
    bridge: bool
    mtu: int
    pbr: bool
    active: bool
    peers: tuple[str, ...]
    problem: str = ""

    @classmethod
    def of(cls, said: Mapping[str, Json]) -> Config:
        return cls(
            name=said["name"], id=said["id"], category=said["category"], conduit=said["conduit"],
            addresses=tuple(said["addresses"]),
            routers=tuple((address, pref) for address, pref in said["routers"]),
            team_mode=said["team_mode"], vlan=said["vlan"], bridge=said["bridge"], mtu=said["mtu"], pbr=said["pbr"],
            active=said["active"], peers=tuple(said["peers"]), problem=said.get("problem", ""),
        )  # fmt: skip


def wanted_of(
    asked: Sequence[NodeRoleView], session: Any, before: Mapping[int, Before] = _NOTHING, *, peers: bool = False
) -> dict[int, dict[str, Json]]:
    """For each noderole of a network's role: the addresses, and all networks that its node is to have, as JSON.
    ``before``: networks (by id) that are to be taken as they were then. ``peers``: also whom a run there asks.
    """
    rows = session.execute(select(networks).order_by(networks.c.order, networks.c.id)).all()
    all_networks = [before[one.id].network if one.id in before else one for one in rows]
    by_role = {ROLE + one.name: one for one in all_networks}
    node_ids = {one.node.id for one in asked}
    bound: dict[int, list[tuple[Any, int]]] = {}
    states = (
        select(node_roles.c.node_id, roles.c.name, node_roles.c.state)
        .join(roles, roles.c.id == node_roles.c.role_id)
        .where(node_roles.c.node_id.in_(node_ids), node_roles.c.committed, roles.c.name.startswith(ROLE))
    )
    for one in session.execute(states).all():
        if one.name in by_role:
            bound.setdefault(one.node_id, []).append((by_role[one.name], one.state))
    for view in asked:
        own = by_role.get(view.role)
        if own is not None and all(one.id != own.id for one, _ in bound.get(view.node.id, ())):
            bound.setdefault(view.node.id, []).append((own, 1))
    facts = _Facts(session, node_ids, {one.id for there in bound.values() for one, _ in there}, before, peers=peers)
    answer: dict[int, dict[str, Json]] = {}
    for view in asked:
        own = by_role.get(view.role)
        if own is not None:
            there = sorted(bound[view.node.id], key=lambda pair: (pair[0].order, pair[0].id))
            answer[view.id] = {"network": {
                "addresses": facts.addresses(view.node.id, own.id),
                "wanted-config": [facts.config(view.node.id, one, state == _ACTIVE) for one, state in there
                                  if one.configure and one.category not in UNCONFIGURED],
                "maps": facts.maps,
            }}  # fmt: skip
    return answer


class _Facts:
    """What the tables say of these nodes and networks, read in a handful of statements."""

    def __init__(
        self,
        session: Any,
        node_ids: Iterable[int],
        network_ids: Iterable[int],
        before: Mapping[int, Before],
        *,
        peers: bool,
    ) -> None:
        self._session, self._with_peers = session, peers
        self._ranges = {key: row for one in before.values() for key, row in one.ranges.items()}
        mine = (
            select(allocations, ranges.c.name, ranges.c.conduit, ranges.c.vlan, ranges.c.use_vlan, ranges.c.use_bridge,
                   ranges.c.use_team, ranges.c.team_mode)
            .join(ranges, ranges.c.id == allocations.c.range_id)
            .where(allocations.c.network_id.in_(network_ids), allocations.c.node_id.in_(node_ids))
            .order_by(allocations.c.address)
        )  # fmt: skip
        self._mine: dict[tuple[int, int], list[Any]] = {}
        for one in session.execute(mine).all():
            self._mine.setdefault((one.node_id, one.network_id), []).append(one)
        self._routers: dict[int, list[tuple[str, int]]] = {}
        asked = select(routers).where(routers.c.network_id.in_(network_ids), routers.c.standing != NEW)
        there = session.execute(asked.order_by(routers.c.pref, routers.c.id)).all()
        was = [row for one in before.values() for row in one.routers]
        for one in [*was, *(row for row in there if row.network_id not in before)]:
            self._routers.setdefault(one.network_id, []).append((str(of_key(one.address)), one.pref))
        asked_maps = select(interface_maps).order_by(interface_maps.c.order, interface_maps.c.pattern)
        self.maps = [
            {"pattern": one.pattern, "buses": one.buses.split("\n")} for one in session.execute(asked_maps).all()
        ]

    def addresses(self, node_id: int, network_id: int) -> list[str]:
        return [f"{of_key(one.address)}/{one.prefix}" for one in self._mine.get((node_id, network_id), ())]

    def config(self, node_id: int, network: Any, active: bool) -> dict[str, Json]:
        mine = self._mine.get((node_id, network.id), ())
        its = {one.range_id: self._ranges.get(one.range_id, one) for one in mine}
        # The range that came with the prefix goes where the others are, unless somebody said of it where.
        several = [one for one in its.values() if one.name != HOST_V6 or any(getattr(one, name) for name in LAYERS)]
        several = several or list(its.values()) or [None]
        layers = _layers(network, several[0])
        other = next((one for one in several[1:] if _layers(network, one) != layers), None)
        return {
            "name": network.name,
            "id": network.id,
            "category": network.category,
            "addresses": self.addresses(node_id, network.id),
            "routers": [list(one) for one in self._routers.get(network.id, ())],
            **layers,
            "mtu": network.mtu or 0,
            "pbr": bool(network.pbr),
            "active": active,
            "peers": peers_of(self._session, ROLE + network.name, mine) if self._with_peers else [],
            "problem": "" if other is None else _apart(network, several[0], other),
        }


def _layers(network: Any, said: Any) -> dict[str, Json]:
    """What a range (None: there is none) says of its addresses' interface, else what the network does."""

    def value(name: str) -> Any:
        own = getattr(said, name, None)
        return getattr(network, name) if own is None else own

    return {
        "conduit": value("conduit") or "",
        "team_mode": (value("team_mode") if value("team_mode") is not None else 1) if value("use_team") else None,
        "vlan": value("vlan") if value("use_vlan") else None,
        "bridge": bool(value("use_bridge")),
    }


def _apart(network: Any, one: Any, other: Any) -> str:
    wanted, instead = _layers(network, one), _layers(network, other)
    differ = [(name, wanted[name], instead[name]) for name in wanted if wanted[name] != instead[name]]
    said = "; ".join(f"{name} {_named(this)} and {_named(that)}" for name, this, that in differ)
    return (
        f"Its addresses of network {network.name} are of the ranges {one.name} and {other.name}, which want different"
        f" interfaces ({said}): let both say the same, or make a network of one of them."
    )


def _named(value: Json) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return "none" if value is None or value == "" else str(value)


def on_machine(configs: Iterable[Config], nics: Sequence[Nic], product: str, maps: Sequence[Json]) -> list[Wanted]:
    """The networks with the cards that their conduits mean on this machine. Raises ``PermanentError`` with why one
    means none.
    """
    known = [InterfaceMap(pattern=one["pattern"], order=tuple(one["buses"])) for one in maps]
    ordered = in_order(nics, product=product, maps=known)
    found: list[Wanted] = []
    cards: dict[str, tuple[Nic, ...]] = {}
    for one in configs:
        if one.problem:
            raise PermanentError(one.problem)
        if not one.conduit or one.conduit == BMC:
            raise PermanentError(no_card(one.name))
        resolved = resolve(parse(one.conduit), ordered)
        if resolved.problem:
            raise PermanentError(f"The conduit {one.conduit} of network {one.name} cannot be here: {resolved.problem}")
        for other, theirs in cards.items():
            if common := clash(resolved.nics, theirs):
                raise PermanentError(
                    f"Networks {other} and {one.name} share {common} but not all of their cards: conduits must be equal"
                    " or have no card in common."
                )
        cards[one.name] = resolved.nics
        found.append(Wanted(
            network=one.name, id=one.id, nics=tuple(nic.name for nic in resolved.nics), addresses=one.addresses,
            routers=one.routers, team_mode=one.team_mode, vlan=one.vlan, bridge=one.bridge, mtu=one.mtu, pbr=one.pbr,
        ))  # fmt: skip
    return found
