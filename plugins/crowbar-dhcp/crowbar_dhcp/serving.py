"""What DHCP servers should say, computed from what is known of networks and nodes: pure.

What cannot be served is left out of it and said, by the name of the network or the node that it is about; the rest is
served.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import re
import socket
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal
from urllib.parse import urlsplit

POOL = "dhcp"
"""The range of a network whose addresses strangers get."""
CATEGORY = "admin"
OWN, PROXY, NONE = "own", "proxy", "none"
"""Who gives addresses in a network: our servers; others, and ours tell machines what to boot; others alone."""
FIRMWARES = ("bios", "uefi", "uefi-http", "ipxe")
_STRANGERS = 0xDCDC0000
"""Where in a subnet that is one range the addresses for strangers begin: ::dcdc:0."""
LONGEST = 127
"""The most octets of a boot file's name that an answer of DHCPv4 has room for."""
_URL = re.compile(r"(?:tftp|https?)://[A-Za-z0-9\[\].:-]+/[A-Za-z0-9._~!$&'()*+,;=:@%/?{}-]*")
_LABEL = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")
_FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_Span = tuple[bytes, bytes]
"""The first and the last address of a subnet, packed. Thousands of addresses are compared with it."""
_MAC = re.compile(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}")


@dataclass(frozen=True, kw_only=True)
class Boot:
    """What a machine is told to boot: the URL of a file for each firmware, by family. ``{}``: from its own disk.

    ``by``: the barclamp that says so.
    """

    dhcp4: Mapping[str, str] = field(default_factory=dict)
    dhcp6: Mapping[str, str] = field(default_factory=dict)
    by: str = ""

    def of(self, family: int) -> Mapping[str, str]:
        return self.dhcp6 if family == 6 else self.dhcp4

    @property
    def key(self) -> str:
        """The same for all that boot the same; '' for local boot."""
        if not (self.dhcp4 or self.dhcp6):
            return ""
        text = json.dumps([sorted(self.dhcp4.items()), sorted(self.dhcp6.items())])
        return hashlib.sha256(text.encode()).hexdigest()[:10]


@dataclass(frozen=True, kw_only=True)
class Net:
    """A subnet of a network, as whoever keeps networks tells of it. ``ranges``: name -> first and last address."""

    id: int
    network: str
    subnet: str
    category: str = CATEGORY
    mtu: int | None = None
    dhcp: str = OWN
    ranges: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    routers: tuple[str, ...] = ()
    reserved: Mapping[str, str] = field(default_factory=dict)
    """Address -> for whom it is kept."""


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A node. ``addresses``: those that it has, of whichever network."""

    id: int
    name: str
    macs: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    bootenv: str = "local"
    boot: Boot = field(default_factory=Boot)

    @property
    def served(self) -> str:
        """The boot environment that it is told: its own, if a barclamp says what that boots; else it is its own
        disk."""
        return self.bootenv if self.boot.by else "local"


@dataclass(frozen=True, kw_only=True)
class Options:
    """What every machine is told."""

    dns_servers: tuple[str, ...] = ()
    ntp_servers: tuple[str, ...] = ()
    domain: str = ""
    lifetime: int = 3600


@dataclass(frozen=True, kw_only=True)
class Fault:
    """Why something is not served. ``name`` is that of the network or node."""

    on: Literal["network", "node"]
    name: str
    detail: str

    def __str__(self) -> str:
        return f"{self.on.capitalize()} {self.name}: {self.detail}"


@dataclass(frozen=True, kw_only=True)
class Subnet:
    """``pool``: first and last address for machines that have none of their own here."""

    id: int
    network: str
    subnet: str
    pool: tuple[str, str] | None = None
    routers: tuple[str, ...] = ()
    mtu: int | None = None
    proxied: bool = False
    """Others give its addresses: machines are told what to boot, and nothing else."""

    @property
    def family(self) -> int:
        return 6 if ":" in self.subnet else 4


@dataclass(frozen=True, kw_only=True)
class Reservation:
    """What is kept for one of a node's MACs in one subnet. Without addresses it is known, and gets one of the pool."""

    subnet: int
    mac: str
    node: str
    hostname: str = ""
    addresses: tuple[str, ...] = ()
    boot: str = ""
    """The ``key`` of what it boots; '': from its own disk."""


@dataclass(frozen=True, kw_only=True)
class Serving:
    """All that a server should say. ``strangers``: what machines boot that are no nodes."""

    subnets: tuple[Subnet, ...] = ()
    reservations: tuple[Reservation, ...] = ()
    boots: Mapping[str, Boot] = field(default_factory=dict)
    strangers: Boot = field(default_factory=Boot)
    options: Options = field(default_factory=Options)
    faults: tuple[Fault, ...] = ()
    nodes: frozenset[int] = frozenset()
    """The ids of the nodes that are told what to boot."""
    proxied: frozenset[int] = frozenset()
    """Those of them that are on networks where others give addresses: not every server can tell them."""
    elsewhere: Mapping[int, bool] = field(default_factory=dict)
    """Nodes of networks that others serve alone: whether what they boot is what strangers boot, so that others, who
    tell all machines the same, tell it."""

    def of(self, family: int) -> tuple[Subnet, ...]:
        """Those in which servers give addresses."""
        return tuple(one for one in self.subnets if one.family == family and not one.proxied)


NOTHING = Serving()


def serving_of(
    nets: Sequence[Net], machines: Sequence[Machine], options: Options, strangers: Boot | None = None
) -> Serving:
    """What should be served. The order of what is given does not matter."""
    faults: list[Fault] = []
    subnets = _subnets(nets, faults)
    cards = {one.id: cards_of(one) for one in machines}
    owners = _owners(machines, cards, faults)
    reservations: list[Reservation] = []
    boots: dict[str, Boot] = {}
    checked: dict[str, tuple[Boot, str, list[str]]] = {}
    told, proxied = set(), set()
    elsewhere: dict[int, bool] = {}
    spans = [(one, _span(one.subnet)) for one in subnets]
    ways = [(one.dhcp, _span(one.subnet)) for one in nets if one.category == CATEGORY]
    everywhere = {mode for mode, _ in ways}
    for machine in sorted(machines, key=lambda one: one.id):
        addresses = [_packed(one) for one in machine.addresses]
        way = next(iter(everywhere)) if len(everywhere) == 1 else _way(addresses, ways, everywhere)
        if way == NONE:
            elsewhere[machine.id] = _as_strangers(machine, strangers or Boot(), faults)
        macs = [mac for mac in cards[machine.id] if owners.get(mac) == machine.id]
        if not macs:
            continue
        if way in (OWN, PROXY):
            told.add(machine.id)
        if way == PROXY:
            proxied.add(machine.id)
        # Thousands boot the same: that is looked at once.
        same = repr(machine.boot)
        if same not in checked:
            boot, why = _checked(machine.boot)
            checked[same] = boot, boot.key, why
        boot, key, why = checked[same]
        faults += [Fault(on="node", name=machine.name, detail=one) for one in why]
        if key:
            boots[key] = boot
        hostname = _hostname(machine, faults)
        for subnet, span in spans:
            mine = tuple(_plain(one) for one in addresses if _within(one, span))
            reservations += [
                Reservation(
                    subnet=subnet.id, mac=mac, node=machine.name, hostname=hostname,
                    addresses=mine if subnet.family == 6 else mine[:1], boot=key,
                )
                for mac in macs
            ]  # fmt: skip
    of_strangers, why = _checked(strangers or Boot())
    faults += [Fault(on="node", name="strangers", detail=one) for one in why]
    return Serving(
        subnets=tuple(subnets),
        reservations=tuple(sorted(reservations, key=lambda one: (one.subnet, one.mac))),
        boots=dict(sorted(boots.items())),
        strangers=of_strangers,
        options=options,
        faults=tuple(faults),
        nodes=frozenset(told) if subnets else frozenset(),
        proxied=frozenset(proxied),
        elsewhere=elsewhere,
    )


def _packed(address: str) -> bytes:
    return socket.inet_pton(_FAMILIES[6 if ":" in address else 4], address)


def _plain(address: bytes) -> str:
    return socket.inet_ntop(_FAMILIES[4 if len(address) == 4 else 6], address)


def _span(subnet: str) -> _Span:
    span = ipaddress.ip_network(subnet)
    return span[0].packed, span[-1].packed


def _within(address: bytes, span: _Span) -> bool:
    return len(address) == len(span[0]) and span[0] <= address <= span[1]


def _way(addresses: Sequence[bytes], ways: Sequence[tuple[str, _Span]], everywhere: Collection[str]) -> str:
    """Who serves a machine with those addresses: of the networks that it is on, else of all, the one of which we tell
    it most. '' where there is no network."""
    mine = {mode for mode, span in ways if any(_within(one, span) for one in addresses)}
    found = mine or everywhere
    return next((one for one in (OWN, PROXY, NONE) if one in found), "")


def _as_strangers(machine: Machine, strangers: Boot, faults: list[Fault]) -> bool:
    same = machine.boot.key == strangers.key
    if not same:
        detail = (
            f"others serve its network (dhcp none) and tell all machines what strangers boot, which is not what "
            f"{machine.bootenv} boots. Set the network's dhcp to own or proxy, or its boot environment to another."
        )
        faults.append(Fault(on="node", name=machine.name, detail=detail))
    return same


def _subnets(nets: Iterable[Net], faults: list[Fault]) -> list[Subnet]:
    found: dict[str, Subnet] = {}
    for net in sorted(nets, key=lambda one: one.id):
        if net.category != CATEGORY or net.dhcp == NONE or (net.dhcp == PROXY and ":" in net.subnet):
            continue
        if net.subnet in found:
            other = found[net.subnet].network
            faults.append(Fault(on="network", name=net.network, detail=f"its subnet {net.subnet} is that of network "
                                f"{other}, too, which is served: give one of them another category."))  # fmt: skip
            continue
        proxied = net.dhcp == PROXY
        found[net.subnet] = Subnet(
            id=net.id, network=net.network, subnet=net.subnet, pool=None if proxied else _pool(net, faults),
            routers=net.routers, mtu=net.mtu, proxied=proxied,
        )  # fmt: skip
    served = {one.network for one in found.values()}
    for name in sorted({one.network for one in nets if one.category == CATEGORY and one.dhcp == PROXY} - served):
        faults.append(Fault(on="network", name=name, detail="it has no range of IPv4, and beside another server only "
                            "DHCPv4 can tell what to boot. Add one, or set its dhcp to own or none."))  # fmt: skip
    return list(found.values())


def _pool(net: Net, faults: list[Fault]) -> tuple[str, str] | None:
    if POOL not in net.ranges:
        return _slice(net)
    first, last = (ipaddress.ip_address(one) for one in net.ranges[POOL])
    taken = {**dict.fromkeys(net.routers, "a router"), **net.reserved}
    for address, whose in taken.items():
        if first <= ipaddress.ip_address(address) <= last:  # type: ignore[operator]
            why = "which is a router's" if whose == "a router" else f"which is reserved for {whose}"
            faults.append(Fault(on="network", name=net.network, detail=f"strangers get no addresses: the range {POOL} "
                                f"({first} to {last}) has {address} in it, {why}. Make the range smaller, or give the "
                                "address back."))  # fmt: skip
            return None
    for name, (begin, end) in net.ranges.items():
        if name != POOL and ipaddress.ip_address(begin) <= last and first <= ipaddress.ip_address(end):  # type: ignore[operator]
            faults.append(Fault(on="network", name=net.network, detail=f"strangers get no addresses: the range {POOL} "
                                f"({first} to {last}) meets the range {name} ({begin} to {end}), whose addresses are "
                                "given to nodes. Make one of them smaller."))  # fmt: skip
            return None
    return str(first), str(last)


def _slice(net: Net) -> tuple[str, str] | None:
    """Where a range of IPv6 is the whole subnet there is no room for another: some of it is for strangers. Addresses
    among them that nodes have are theirs all the same: they are reserved.
    """
    span = ipaddress.ip_network(net.subnet)
    whole = {str(span[1]), str(span[-1])}
    if span.version == 6 and any({first, last} == whole for first, last in net.ranges.values()):
        return str(span[_STRANGERS]), str(span[_STRANGERS + 0xFFFF])
    return None


def cards_of(machine: Machine) -> list[str]:
    """Its MACs, as they are served."""
    plain = dict.fromkeys(one.lower().replace("-", ":") for one in machine.macs)
    return [one for one in plain if _MAC.fullmatch(one) and not int(one[:2], 16) & 1]


def _owners(machines: Sequence[Machine], cards: Mapping[int, Sequence[str]], faults: list[Fault]) -> dict[str, int]:
    """MAC -> node; those that two nodes have are nobody's."""
    found: dict[str, list[Machine]] = {}
    for machine in sorted(machines, key=lambda one: one.id):
        for mac in cards[machine.id]:
            found.setdefault(mac, []).append(machine)
    for mac, several in found.items():
        for one in several if len(several) > 1 else ():
            others = ", ".join(other.name for other in several if other is not one)
            detail = (
                f"nothing is served to {mac}: {others} has it, too. Take it out of the hints (hint-admin-macs) of one "
                "of them, or delete that node."
            )
            faults.append(Fault(on="node", name=one.name, detail=detail))
    return {mac: several[0].id for mac, several in found.items() if len(several) == 1}


@lru_cache(maxsize=1024)
def _is_label(text: str) -> bool:
    return _LABEL.fullmatch(text) is not None


def host_name_fault(name: str) -> str:
    """Why it cannot be a host's name; '' when it can."""
    if len(name) > 253:
        return "it is longer than 253 characters"
    for label in name.lower().split("."):
        if not _is_label(label):
            return f"{label!r} is no label of a host's name (letters, digits and hyphens, at most 63)"
    return ""


def _hostname(machine: Machine, faults: list[Fault]) -> str:
    why = host_name_fault(machine.name)
    if why:
        faults.append(Fault(on="node", name=machine.name, detail=f"it is told no name: {why}. Rename it."))
    return "" if why else machine.name


def _is_four(text: str) -> bool:
    try:
        return ipaddress.ip_address(text).version == 4
    except ValueError:
        return False


def _checked(boot: Boot) -> tuple[Boot, list[str]]:
    """What of it can be said, and why the rest cannot."""
    faults = []
    said: dict[int, dict[str, str]] = {4: {}, 6: {}}
    for family in (4, 6):
        for firmware, url in sorted(boot.of(family).items()):
            why = ""
            if firmware not in FIRMWARES:
                why = f"no firmware is called {firmware!r} ({', '.join(FIRMWARES)})"
            elif not isinstance(url, str) or not _URL.fullmatch(url):
                why = f"{url!r} is no URL of a boot file (tftp, http or https, no blanks)"
            elif family == 4 and url.startswith("tftp:") and not _is_four(urlsplit(url).hostname or ""):
                why = f"{url} has no IPv4 address"
            elif family == 4 and len(url) > LONGEST:
                why = f"{url} is longer than the {LONGEST} octets that DHCPv4 has room for"
            if why:
                faults.append(f"{firmware} boots nothing over DHCPv{family}: {why}.")
            else:
                said[family][firmware] = url
    return Boot(dhcp4=said[4], dhcp6=said[6], by=boot.by), faults
