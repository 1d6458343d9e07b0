"""IP and MAC addresses in their one written form, and which of them can be a machine's own. Pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

from crowbar_core.barclamp import Hint, Json
from crowbar_core.errors import BadInput, FieldError

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_LONGEST: Final = len("ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255/128")
_ZEROS: Final = re.compile(r"[0-9.]*\b0[0-9]", re.ASCII)
_BY_NETWORK: Final = "crowbar-network does, and crowbar-jig-script on the network admin"
_READERS: Final = {
    "ipv4": ("IPv4 addresses", _BY_NETWORK), "ipv6": ("IPv6 addresses", _BY_NETWORK),
    "macs": ("MAC addresses", "crowbar-dhcp does"),
}  # fmt: skip
"""What hints say -> in words, and the packages of this project that read them."""
_MAC: Final = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}", re.ASCII)


def parse_address(text: object) -> Address:
    """The address in ``text``: without prefix length, and without a zone, which would let any text pass behind a ``%``.

    Raises ``ValueError`` with a sentence for people.
    """
    try:
        if isinstance(text, str) and len(text) <= _LONGEST and text.isascii() and "%" not in text:
            return _parsed(text)
    except ValueError:
        pass
    raise ValueError(_no_address(text, "192.168.124.81"))


def _no_address(text: object, example: str) -> str:
    if isinstance(text, str) and _ZEROS.match(text):
        return f"The numbers of an IPv4 address have no leading zeros, which some read as octal; write {example}."
    return f"This is no IPv4 or IPv6 address without a zone, for example {example}."


# Each run that begins has its node's addresses looked at: what is known of one is kept.
_parsed = lru_cache(maxsize=20_000)(ipaddress.ip_address)


def parse_interface(text: object) -> str:
    """An address with or without prefix length, in its one written form. Raises ``ValueError``."""
    address, slash, prefix = text.partition("/") if isinstance(text, str) else (text, "", "")
    try:
        known = parse_address(address)
        # What int() would take besides, a sign or digits of other scripts, is not taken.
        if slash and not (prefix.isascii() and prefix.isdigit() and len(prefix) <= 3):
            raise ValueError
        return str(ipaddress.ip_interface(f"{known}/{int(prefix)}")) if slash else str(known)
    except ValueError:
        raise ValueError(_no_address(text, "192.168.124.81 or 192.168.124.81/24")) from None


def parse_own_interface(text: object) -> str:
    """The same of a machine's own: with a prefix, neither its subnet's own address nor its broadcast."""
    written = parse_interface(text)
    known = ipaddress.ip_interface(written)
    if "/" not in written:
        return written
    if not known.network.prefixlen:
        raise ValueError(
            f"{written} is in no subnet: write its prefix, as {known.ip}/{24 if known.version == 4 else 64}."
        )
    if known.version == 4 and known.network.prefixlen < 31:
        if known.ip == known.network.network_address:
            raise ValueError(f"{known.ip} is the address of the subnet {known.network} itself, and no machine's.")
        if known.ip == known.network.broadcast_address:
            raise ValueError(f"{known.ip} is the broadcast address of {known.network}, and no machine's.")
    return written


def parse_mac(text: object) -> str:
    """The MAC address of one network card, in its one written form. Raises ``ValueError``."""
    mac = text.lower().replace("-", ":") if isinstance(text, str) else ""
    if not _MAC.fullmatch(mac) or int(mac[:2], 16) & 1:
        raise ValueError("This is no MAC address of one network card, for example 52:54:00:12:34:56.")
    return mac


@lru_cache(maxsize=20_000)
def no_node_has(address: Address) -> str:
    """What kind of address this is when it can be no node's, as ``multicast``; empty for all others."""
    if address.is_unspecified:
        return "unspecified"
    if address.is_multicast:
        return "multicast"
    if address.is_link_local:
        return "link-local"
    if isinstance(address, ipaddress.IPv6Address) and (address.ipv4_mapped is not None or _holds_ipv4(address)):
        return "IPv4-mapped"
    if address == ipaddress.IPv4Address("255.255.255.255"):
        return "broadcast"
    return ""


def _holds_ipv4(address: ipaddress.IPv6Address) -> bool:
    """``::a.b.c.d``, ``::ffff:0:a.b.c.d``, and what gateways make of IPv4: they lead to machines of other names."""
    number = int(address)
    if 1 < number < 1 << 32 or number >> 32 == 0xFFFF0000:
        return True
    return number >> 96 == 0x0064FF9B or address.sixtofour is not None or address.teredo is not None


def never_reported(address: Address) -> str:
    """The same for an address that a node itself reports: loopback would be the machine that believes it."""
    return "loopback" if address.is_loopback else no_node_has(address)


def reported(discovery: Mapping[str, Json]) -> list[str]:
    """The addresses that a node reported of itself, without prefix length; what is none is left out."""
    listed = discovery.get("addresses")
    return _readable(listed) if isinstance(listed, list) else []


def _readable(values: Iterable[Json]) -> list[str]:
    found: dict[str, None] = {}
    for value in values:
        try:
            found[parse_interface(value).partition("/")[0]] = None
        except ValueError:
            continue
    return list(found)


class Hints:
    """The hints by which barclamps are told addresses of nodes, as they declare them."""

    def __init__(self, declared: Iterable[Hint]) -> None:
        self._declared = tuple(declared)
        names = [".+".join(map(re.escape, one.name.split("*"))) for one in self._declared if one.of != "macs"]
        self._addresses = re.compile("|".join(names) or r"(?!)", re.ASCII)

    def addresses(self, hint: Mapping[str, Json]) -> list[str]:
        """Those that an operator gave a node, on any network, without prefix length; what is none is left out."""
        return _readable(value for key, value in hint.items() if self._addresses.fullmatch(key))

    def check(self, hint: Mapping[str, Json]) -> None:
        """Raise ``BadInput`` when an address that is hinted is none, or no machine can have it."""
        for key, value in hint.items():
            if not self._addresses.fullmatch(key):
                continue
            try:
                text = parse_interface(value)
            except ValueError as error:
                raise _bad_hint(key, str(error)) from None
            if kind := no_node_has(ipaddress.ip_interface(text).ip):
                raise _bad_hint(key, f"It is {kind}: no node can have it for itself.")

    def of_address(self, address: str, *, network: str = "admin") -> dict[str, Json]:
        """The hint that gives a node an address on a network. Raises ``BadInput`` when no barclamp would read it."""
        version = ipaddress.ip_interface(parse_interface(address)).version
        return self._named("ip", f"ipv{version}", address, network)

    def of_mac(self, mac: str) -> dict[str, Json]:
        """The same with the address of its card on the admin network."""
        return self._named("mac", "macs", [mac], "admin")

    def _named(self, field: str, of: str, value: Json, network: str) -> dict[str, Json]:
        said = [one for one in self._declared if one.of == of and one.network in (network, "*")]
        if not said:
            what, brought_by = _READERS[of]
            detail = (
                f"No barclamp that is installed reads hints of {what} of nodes on the network {network} ({brought_by})."
                f" Install one that does, or leave {field} out."
            )
            raise BadInput(detail, errors=(FieldError(pointer=f"/{field}", detail=detail),))
        return {one.name.replace("*", network): value for one in said}


def _bad_hint(key: str, detail: str) -> BadInput:
    return BadInput(
        f"The hint {key[:100]} cannot be. {detail}", errors=(FieldError(pointer=f"/hint/{key[:100]}", detail=detail),)
    )
