"""Who is who in a lab: names, addresses and MACs of its nodes, decided without touching anything."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from crowbar_lab.errors import LabError

MAX_NODES = 1000
"""A Linux bridge holds 1,024 ports."""

KERNELS = ("host", "uml")
MAX_CARDS = 15
MAX_VLAN = 4094
MAX_GROUP = 99

FIRST_HOST = 16
"""The admin node's place in the subnets; what is below is left for the bridge and for services of the lab."""

_LABEL = r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?"
_FQDN = re.compile(rf"{_LABEL}(\.{_LABEL}){{2,}}")
_LAB_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")


@dataclass(frozen=True, kw_only=True)
class Subnets:
    """The lab's two subnets and the server's place in them: the bridge has the first address of each."""

    ipv4: ipaddress.IPv4Network
    ipv6: ipaddress.IPv6Network

    @property
    def server_ipv4(self) -> str:
        return str(self.ipv4[1])

    @property
    def server_ipv6(self) -> str:
        return str(self.ipv6[1])


@dataclass(frozen=True, kw_only=True)
class Place:
    """A node's name and addresses. ``number`` is 0 for the admin node and counts up from there."""

    number: int
    name: str
    admin: bool
    ipv4: str
    ipv6: str
    mac: str

    @property
    def hostname(self) -> str:
        return self.name.partition(".")[0]


def subnets(ipv4: str, ipv6: str) -> Subnets:
    """Read the two subnets; ``LabError`` says which one cannot be."""
    try:
        four = ipaddress.IPv4Network(ipv4)
    except ValueError as error:
        raise LabError(f"{ipv4!r} is not an IPv4 subnet ({error}): give one like 10.77.0.0/16.") from error
    try:
        six = ipaddress.IPv6Network(ipv6)
    except ValueError as error:
        raise LabError(f"{ipv6!r} is not an IPv6 subnet ({error}): give one like fd00:77::/64.") from error
    for network in (four, six):
        if network.num_addresses <= FIRST_HOST + 1:
            raise LabError(
                f"The subnet {network} is too small for a lab, which uses it from the {FIRST_HOST}th address on."
            )
    return Subnets(ipv4=four, ipv6=six)


def check_lab_name(name: str) -> str:
    if not _LAB_NAME.fullmatch(name):
        raise LabError(f"A lab cannot be called {name!r}: use up to 63 letters, digits, '-' and '_'.")
    return name


def check_node_name(name: str) -> str:
    if not _FQDN.fullmatch(name) or len(name) > 253:
        raise LabError(
            f"A node cannot be called {name!r}: "
            "give a lower-case host name of at least three labels, like node-1.lab.test."
        )
    return name


def place(number: int, nets: Subnets, *, domain: str, name: str | None = None) -> Place:
    """Where the node with this number is; ``LabError`` when the lab or its subnets are full."""
    if number >= MAX_NODES:
        raise LabError(f"A lab holds at most {MAX_NODES} nodes: make a second lab with another --name.")
    offset = FIRST_HOST + number
    # The last IPv4 address is the broadcast address.
    if offset >= nets.ipv4.num_addresses - 1 or offset >= nets.ipv6.num_addresses:
        raise LabError(
            f"The subnets {nets.ipv4} and {nets.ipv6} have no address left for node {number}: "
            "make the lab with larger ones."
        )
    return Place(
        number=number,
        name=check_node_name(name or (f"admin.{domain}" if number == 0 else f"node-{number}.{domain}")),
        admin=number == 0,
        ipv4=str(nets.ipv4[offset]),
        ipv6=str(nets.ipv6[offset]),
        # Locally administered, and as easy to read as the address.
        mac=":".join(f"{byte:02x}" for byte in (0x02, 0x77, 0, 0, offset >> 8, offset & 0xFF)),
    )


def places(count: int, nets: Subnets, *, domain: str, taken: Sequence[Place] = ()) -> list[Place]:
    """The next ``count`` nodes after those that are there."""
    first = 1 + max((one.number for one in taken), default=-1)
    return [place(first + index, nets, domain=domain) for index in range(count)]


def check_cards(cards: int, kernel: str) -> None:
    """``LabError`` when nodes of a lab with this kernel cannot have so many cards besides eth0."""
    if kernel not in KERNELS:
        raise LabError(f"A lab has a kernel of the kind {' or '.join(KERNELS)}, and {kernel!r} is neither.")
    if not 0 <= cards <= MAX_CARDS:
        raise LabError(f"A node of a lab has up to {MAX_CARDS} cards besides eth0, and {cards} were asked for.")
    if cards and kernel != "uml":
        raise LabError("More cards than eth0 take a lab with a kernel of its own: make it with --kernel uml.")


def card_macs(one: Place, cards: int) -> dict[str, str]:
    """The names of a node's cards besides eth0, and their MACs."""
    *_, high, low = one.mac.split(":")
    return {f"eth{number}": f"02:77:{number:02x}:00:{high}:{low}" for number in range(1, cards + 1)}


def check_port(
    *, vlan: int | None, tagged: Sequence[int] | None, lacp: int | bool | None, mtu: int | None
) -> dict[str, Any]:
    """What is asked of a port of the switch, without what stays as it is; ``LabError`` says what cannot be."""
    for one in (*([vlan] if vlan else []), *(tagged or [])):
        if not 1 <= one <= MAX_VLAN:
            raise LabError(f"{one} is no VLAN: give one from 1 to {MAX_VLAN}.")
    if lacp is not None and not 0 <= lacp <= MAX_GROUP:
        raise LabError(f"{lacp} is no LACP group: give one from 1 to {MAX_GROUP}, or 0 for none.")
    if mtu is not None and not 1280 <= mtu <= 9216:
        raise LabError(f"{mtu} is no MTU of a port: give one from 1280 to 9216.")
    asked = {
        "vlan": vlan,
        "tagged": None if tagged is None else sorted(set(tagged)),
        "lacp": None if lacp is None else int(lacp),
        "mtu": mtu,
    }
    asked = {key: value for key, value in asked.items() if value is not None}
    if not asked:
        raise LabError("Nothing was said of the port: give a VLAN, tagged VLANs, an LACP group or an MTU.")
    return asked


def vlans(text: str) -> list[int]:
    """VLANs with commas between them; ``LabError`` when it is anything else."""
    try:
        return [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise LabError(f"{text!r} names no VLANs: give numbers with commas between them, like 100,200.") from None
