"""What addresses are, as one computes with them: ranges, prefixes, and the interface ids of IPv6. Pure functions."""

from __future__ import annotations

import hashlib
import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass

import netaddr

from crowbar_network.errors import bad

ULA = 0xFD
"""The first octet of a prefix that everybody may draw (RFC 4193, with the bit that says so)."""
_IID_BITS = 64
_IID = (1 << _IID_BITS) - 1
# What RFC 5453 and its registry keep for others: the subnet's routers, proxies of Mobile IPv6, anycast.
_RESERVED = ((0x0, 0x0), (0x02005EFFFE000000, 0x02005EFFFE005212), (0x02005EFFFE005214, 0x02005EFFFEFFFFFF),
             (0xFDFFFFFFFFFFFF80, 0xFDFFFFFFFFFFFFFF))  # fmt: skip


@dataclass(frozen=True, kw_only=True, order=True)
class Span:
    """Addresses from ``first`` to ``last``, both among them, of one subnet."""

    first: netaddr.IPAddress
    last: netaddr.IPAddress
    prefix: int

    @property
    def version(self) -> int:
        return int(self.first.version)

    @property
    def subnet(self) -> netaddr.IPNetwork:
        return netaddr.IPNetwork(f"{self.first}/{self.prefix}").cidr

    @property
    def size(self) -> int:
        return int(self.last) - int(self.first) + 1

    def __contains__(self, address: netaddr.IPAddress) -> bool:
        return bool(address.version == self.version and self.first <= address <= self.last)

    def meets(self, other: Span) -> bool:
        """Whether they have an address in common."""
        return self.version == other.version and self.first <= other.last and other.first <= self.last

    def cidr(self, address: netaddr.IPAddress) -> str:
        return f"{address}/{self.prefix}"

    def __str__(self) -> str:
        return f"{self.cidr(self.first)} to {self.cidr(self.last)}"


def parse_address(text: str, *, field: str, version: int | None = None) -> netaddr.IPAddress:
    """One address without a prefix. Raises ``BadInput``; what could be read in two ways (``010.0.0.1``) is none."""
    wanted = f"an IPv{version} address" if version else "an IP address"
    try:
        found = ipaddress.ip_address(text)
    except ValueError:
        raise bad(field, f"{text!r} is not {wanted}.{_hint(text)}") from None
    if version and found.version != version:
        raise bad(field, f"{text!r} is an IPv{found.version} address; here it must be {wanted}.")
    if isinstance(found, ipaddress.IPv6Address) and (found.scope_id or found.ipv4_mapped):
        raise bad(field, f"{text!r} is not {wanted} that a network can have: leave out what is behind % and ::ffff:.")
    if found.is_multicast or found.is_unspecified or found.is_loopback:
        kind = "multicast" if found.is_multicast else "loopback" if found.is_loopback else "unspecified"
        raise bad(
            field, f"{text!r} is no address that a machine can have on a network ({kind}): choose one of a subnet."
        )
    return netaddr.IPAddress(str(found))


def parse_interface(text: str, *, field: str) -> tuple[netaddr.IPAddress, int]:
    """An address with the length of its prefix, as ``192.168.124.10/24``. Raises ``BadInput``."""
    address, slash, length = text.partition("/")
    found = parse_address(address, field=field)
    bits = 32 if found.version == 4 else 128
    if not slash:
        raise bad(field, f"{text!r} lacks the length of its prefix: write it as {address}/{24 if bits == 32 else 64}.")
    if not (length.isascii() and length.isdecimal() and length == str(int(length[:4])) and int(length) <= bits):
        raise bad(field, f"{text!r}: the length of the prefix is a number up to {bits}.")
    if not 1 <= int(length) <= bits - 2:
        raise bad(
            field, f"{text!r}: a network with the prefix /{length} has no room for machines; use /1 to /{bits - 2}."
        )
    return found, int(length)


def span(first: str, last: str, *, fields: tuple[str, str] = ("first", "last")) -> Span:
    """Raises ``BadInput`` unless both are of one family, prefix and subnet, in order, and neither is the subnet's own
    address or its broadcast address.
    """
    begin, prefix = parse_interface(first, field=fields[0])
    end, prefix_of_end = parse_interface(last, field=fields[1])
    if begin.version != end.version:
        raise bad(fields[1], f"{last} is IPv{end.version} and {first} IPv{begin.version}: a range is of one family.")
    if prefix != prefix_of_end:
        raise bad(fields[1], f"{last} and {first} have different prefixes; a range is of one subnet.")
    made = Span(first=begin, last=end, prefix=prefix)
    if end not in made.subnet:
        raise bad(
            fields[1],
            f"{last} is outside of {made.subnet}, the subnet of {first}, and a range is of one subnet: end it there.",
        )
    if end < begin:
        raise bad(fields[1], f"{last} is before {first}: exchange them.")
    _may_be_a_machines(begin, made.subnet, fields[0])
    _may_be_a_machines(end, made.subnet, fields[1])
    return made


def _may_be_a_machines(address: netaddr.IPAddress, subnet: netaddr.IPNetwork, field: str) -> None:
    if address == subnet.network:
        raise bad(field, f"{address} is the address of the subnet {subnet} itself; the first that a machine can have is"
                         f" {netaddr.IPAddress(subnet.first + 1, subnet.version)}.")  # fmt: skip
    if subnet.version == 4 and address == subnet.broadcast:
        raise bad(field, f"{address} is the broadcast address of {subnet}; the last that a machine can have is"
                         f" {netaddr.IPAddress(subnet.last - 1)}.")  # fmt: skip


def router(address: str, spans: Sequence[Span], *, field: str = "address") -> tuple[netaddr.IPAddress, int]:
    """A router's address with its prefix. Raises ``BadInput`` unless it is in the subnet of one of the ranges."""
    found, prefix = parse_interface(address, field=field)
    subnets = sorted({one.subnet for one in spans if one.version == found.version})
    for subnet in subnets:
        if found in subnet:
            if prefix != subnet.prefixlen:
                raise bad(field, f"{address} is in {subnet}, so its prefix is /{subnet.prefixlen}.")
            _may_be_a_machines(found, subnet, field)
            return found, prefix
    known = ", ".join(map(str, subnets)) or f"no range of IPv{found.version}"
    raise bad(
        field,
        f"The router {address} is in no subnet of the network, which has {known}: give it an address there, or "
        "add a range first.",
    )


# ---------------------------------------------------------------- IPv6


def parse_v6prefix(text: str) -> netaddr.IPNetwork:
    """A /64 that a network can have. Raises ``BadInput``."""
    try:
        found = ipaddress.IPv6Network(text, strict=False)
    except ValueError:
        raise bad(
            "v6prefix", f"{text!r} is no IPv6 prefix: write a /64 such as fd12:3456:789a:1::/64, or auto."
        ) from None
    if found.prefixlen != _IID_BITS:
        raise bad("v6prefix", f"{text!r} is a /{found.prefixlen}: what machines make their addresses from is a /64.")
    if found.network_address != ipaddress.IPv6Interface(text).ip:
        raise bad("v6prefix", f"{text!r} has bits behind its first 64, which are no part of a prefix: write {found}.")
    if found.is_multicast or found.is_link_local or found.is_loopback or not int(found.network_address):
        raise bad("v6prefix", f"{text!r} is no prefix that a network can have.")
    return netaddr.IPNetwork(str(found))


def ula_prefix(drawn: int) -> netaddr.IPNetwork:
    """The /48 of an installation from 40 random bits (RFC 4193): fdxx:xxxx:xxxx::/48. Raises ``ValueError``."""
    if not 0 <= drawn < 1 << 40:
        raise ValueError("40 bits are drawn for it")
    return netaddr.IPNetwork((ULA << 120 | drawn << 80, 48), version=6)


def ula_subnet(prefix: netaddr.IPNetwork, subnet: int) -> netaddr.IPNetwork:
    """The /64 with the subnet id 0 to 65535 of an installation's /48. Raises ``ValueError``."""
    if not 0 <= subnet < 1 << 16:
        raise ValueError("a /48 has 65536 subnets")
    return netaddr.IPNetwork((int(prefix.network) | subnet << _IID_BITS, _IID_BITS), version=6)


def id_of_name(fqdn: str) -> int:
    """A node's interface id: the last 64 bits of the MD5 of its name. Anybody can compute it, also without Crowbar."""
    return int.from_bytes(hashlib.md5(fqdn.encode(), usedforsecurity=False).digest()[8:], "big")


def stable_id(prefix: netaddr.IPNetwork, *, interface: str, fqdn: str, counter: int, secret: bytes) -> int:
    """An opaque interface id that is the same as long as prefix and names are (RFC 7217, with SHA-256).

    ``counter`` counts the addresses that were taken already. Ids that are reserved for others are passed over.
    """
    while True:
        parts = (prefix.network.packed[:8], interface.encode(), fqdn.encode(), str(counter).encode(), secret)
        said = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        found = int.from_bytes(hashlib.sha256(said).digest()[-8:], "big")
        if not is_reserved(found):
            return found
        counter += 1


def is_reserved(interface_id: int) -> bool:
    """Whether no machine may have it (RFC 5453)."""
    return any(first <= interface_id <= last for first, last in _RESERVED)


def v6_address(prefix: netaddr.IPNetwork, interface_id: int) -> netaddr.IPAddress:
    return netaddr.IPAddress(int(prefix.network) & ~_IID | interface_id, version=6)


# ---------------------------------------------------------------- as the database has them


def key_of(address: netaddr.IPAddress) -> str:
    """As text that sorts as the addresses do: ``4`` or ``6`` and 32 hexadecimal digits."""
    return f"{address.version}{int(address):032x}"


def of_key(key: str) -> netaddr.IPAddress:
    return netaddr.IPAddress(int(key[1:], 16), version=int(key[0]))


def _hint(text: str) -> str:
    parts = text.split(".")
    if len(parts) == 4 and any(len(part) > 1 and part.startswith("0") for part in parts):
        return " A number with a zero in front may be read as octal: leave out the zero."
    return " Write one such as 192.168.124.10 or fd00::10."
