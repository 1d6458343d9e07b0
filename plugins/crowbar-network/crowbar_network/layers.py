"""What the interfaces of a node should be: one model of layers, from which every writer makes its own files.

From below: cards, bonds of them, VLANs, bridges. Each network stands on the cards of its conduit; its addresses are on
the topmost of its layers. Networks on the same cards share what is below. Pure functions.
"""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from crowbar_core import BadInput

Kind = Literal["nic", "bond", "vlan", "bridge"]
LONGEST_NAME = 15
"""Characters that the kernel takes for the name of an interface."""
FIRST_TABLE = 1000
"""The routing table of a network with policy routing has this number and the network's id."""
RULE = 1000
"""The priority of the rules of policy routing."""
MODES = ("balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb")
"""The modes of a bond by their numbers."""
_ORDER: dict[Kind, int] = {"nic": 0, "bond": 1, "vlan": 2, "bridge": 3}


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """One network on one node. ``nics``: names of the cards of its conduit. ``addresses`` with prefix; ``routers``:
    (address, preference). ``mtu`` 0: as it is.
    """

    network: str
    id: int
    nics: tuple[str, ...]
    addresses: tuple[str, ...] = ()
    routers: tuple[tuple[str, int], ...] = ()
    team_mode: int | None = None
    vlan: int | None = None
    bridge: bool = False
    mtu: int = 0
    pbr: bool = False


@dataclass(frozen=True, kw_only=True)
class Route:
    """``to`` a subnet, or ``default``; ``via`` '' is on the link. ``table`` 0 is the main one."""

    to: str
    via: str = ""
    table: int = 0


@dataclass(frozen=True, kw_only=True)
class Link:
    """An interface. ``over``: what it stands on; ``master``: the bond or bridge that it is part of. ``sources``: what
    is sent from these goes by ``table``.
    """

    name: str
    kind: Kind
    over: tuple[str, ...] = ()
    master: str = ""
    mode: str = ""
    vlan: int = 0
    mtu: int = 0
    addresses: tuple[str, ...] = ()
    routes: tuple[Route, ...] = ()
    sources: tuple[str, ...] = ()
    table: int = 0
    networks: tuple[str, ...] = field(default=())

    @property
    def families(self) -> frozenset[int]:
        return frozenset(ipaddress.ip_interface(one).version for one in self.addresses)


def stack(wanted: Iterable[Wanted]) -> tuple[Link, ...]:
    """All links of a node, each after what it stands on. Raises ``BadInput`` for what cannot be on one machine: cards
    that two networks bundle differently, the same VLAN twice, two bridges over one interface.
    """
    several = sorted(wanted, key=lambda one: one.id)
    links: dict[str, Link] = {}
    bases = _bases(several)
    gateways = _gateways(several)
    for one in several:
        top = _base(links, one, bases)
        if one.vlan is not None:
            top = _vlan(links, one, top)
        if one.bridge:
            top = _bridge(links, one, top)
        link = links[top]
        links[top] = replace(
            link,
            addresses=link.addresses + one.addresses,
            routes=link.routes + _routes(one, gateways),
            sources=link.sources + ((tuple(map(_ip, one.addresses))) if one.pbr else ()),
            table=FIRST_TABLE + one.id if one.pbr else link.table,
            networks=(*link.networks, one.network),
            mtu=max(link.mtu, one.mtu),
        )
    _raise_mtus(links)
    return tuple(sorted(links.values(), key=lambda link: _ORDER[link.kind]))


def _bases(several: Sequence[Wanted]) -> dict[tuple[str, ...], str]:
    """The cards of a conduit -> the name of their bond, numbered in the order of the networks."""
    found: dict[tuple[str, ...], str] = {}
    modes: dict[tuple[str, ...], tuple[int, str]] = {}
    used: dict[str, tuple[tuple[str, ...], str]] = {}
    for one in several:
        for nic in one.nics:
            nics, network = used.setdefault(nic, (one.nics, one.network))
            if set(nics) != set(one.nics):
                raise BadInput(
                    f"{nic} is in the conduits of networks {network} ({', '.join(nics)}) and {one.network} "
                    f"({', '.join(one.nics)}): conduits must be equal or have no card in common."
                )
        if one.team_mode is None:
            if len(one.nics) != 1:
                raise BadInput(f"Network {one.network} has {len(one.nics)} cards, and is no team.")
            continue
        cards = used[one.nics[0]][0]
        mode, network = modes.setdefault(cards, (one.team_mode, one.network))
        if mode != one.team_mode:
            raise BadInput(
                f"Networks {network} and {one.network} want {', '.join(cards)} as a team of the modes {mode} and "
                f"{one.team_mode}: give both the same."
            )
        found.setdefault(cards, f"bond{len(found)}")
    return found


def _base(links: dict[str, Link], one: Wanted, bases: dict[tuple[str, ...], str]) -> str:
    cards = next((nics for nics in bases if set(nics) == set(one.nics)), one.nics)
    bond = bases.get(cards, "")
    for nic in cards:
        links.setdefault(nic, Link(name=nic, kind="nic", master=bond))
    if not bond:
        return cards[0]
    mode = MODES[one.team_mode or 0]
    links.setdefault(bond, Link(name=bond, kind="bond", over=cards, mode=mode))
    return bond


def _vlan(links: dict[str, Link], one: Wanted, base: str) -> str:
    assert one.vlan is not None
    name = f"{base}.{one.vlan}"
    if len(name) > LONGEST_NAME:
        name = f"vlan{one.vlan}-{_short(base, 6)}"[:LONGEST_NAME]
    if name in links:
        other = links[name].networks[0]
        raise BadInput(
            f"Networks {other} and {one.network} both want VLAN {one.vlan} on {base}: each needs one of its own."
        )
    links[name] = Link(name=name, kind="vlan", over=(base,), vlan=one.vlan, mtu=one.mtu)
    return name


def _bridge(links: dict[str, Link], one: Wanted, below: str) -> str:
    name = f"br-{one.network}"
    if len(name) > LONGEST_NAME:
        name = f"br-{_short(one.network, LONGEST_NAME - 3)}"
    port = links[below]
    if port.master and links[port.master].kind == "bridge":
        raise BadInput(f"Network {one.network} wants a bridge over {below}, which is in {port.master} already.")
    # What was said of the port is the bridge's now: a port has no addresses.
    links[name] = Link(
        name=name, kind="bridge", over=(below,), mtu=one.mtu, addresses=port.addresses, routes=port.routes,
        sources=port.sources, table=port.table, networks=port.networks,
    )  # fmt: skip
    links[below] = replace(port, master=name, addresses=(), routes=(), sources=(), table=0, networks=())
    return name


def _raise_mtus(links: dict[str, Link]) -> None:
    """What is below carries the longest of what is above."""
    for kind in ("bridge", "vlan", "bond"):
        for link in [one for one in links.values() if one.kind == kind]:
            for name in link.over:
                links[name] = replace(links[name], mtu=max(links[name].mtu, link.mtu))


def by_network(links: Iterable[Link]) -> dict[str, Link]:
    """The interface that has the addresses of each network."""
    return {one: link for link in links for one in link.networks}


def standing_on(links: Sequence[Link]) -> dict[str, frozenset[str]]:
    """For each link the networks that are on it or on what stands over it."""
    found: dict[str, frozenset[str]] = {}
    for link in reversed(links):
        above = [one.name for one in links if link.name in one.over or link.master == one.name]
        found[link.name] = frozenset(link.networks).union(*(found.get(name, frozenset()) for name in above))
    return found


# ---------------------------------------------------------------- routes


def _gateways(several: Sequence[Wanted]) -> set[str]:
    """The routers that give the default routes: of each family the one with the lowest preference."""
    best: dict[int, tuple[int, int, str]] = {}
    for one in several:
        for address, pref in one.routers:
            version = ipaddress.ip_address(_ip(address)).version
            if any(ipaddress.ip_interface(mine).version == version for mine in one.addresses):
                best[version] = min(best.get(version, (1 << 31, 0, "")), (pref, one.id, _ip(address)))
    return {address for _, _, address in best.values()}


def _routes(one: Wanted, gateways: set[str]) -> tuple[Route, ...]:
    routes = [Route(to="default", via=_ip(address)) for address, _ in one.routers if _ip(address) in gateways]
    if one.pbr:
        table = FIRST_TABLE + one.id
        routes += [Route(to=str(ipaddress.ip_interface(mine).network), table=table) for mine in one.addresses]
        families = {ipaddress.ip_interface(mine).version for mine in one.addresses}
        for version in sorted(families):
            there = [(pref, _ip(address)) for address, pref in one.routers
                     if ipaddress.ip_address(_ip(address)).version == version]  # fmt: skip
            if there:
                routes.append(Route(to="default", via=min(there)[1], table=table))
    return tuple(routes)


def _ip(address: str) -> str:
    return address.partition("/")[0]


def _short(name: str, length: int) -> str:
    """A name cut to ``length``, with four digits that tell it from others that begin alike."""
    digest = hashlib.sha256(name.encode()).hexdigest()[:4]
    return f"{name[: length - 4]}{digest}"


def made_with(link: Link) -> tuple[str, ...]:
    """What the interface is made with, as words for ``ip link add``: names and values in turn. Empty for a card."""
    match link.kind:
        case "bond":
            more = {
                "802.3ad": ("lacp_rate", "fast", "xmit_hash_policy", "layer3+4"),
                "active-backup": ("num_grat_arp", "2"),
            }
            return ("mode", link.mode, "miimon", "100", *more.get(link.mode, ()))
        case "vlan":
            return ("id", str(link.vlan))
        case "bridge":
            return ("stp_state", "0", "forward_delay", "0")
    return ()
