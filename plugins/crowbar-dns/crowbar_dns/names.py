"""Names and values of DNS as texts: which can be, and the one form in which they are kept and compared.

Names are in small letters and without the dot at the end; addresses are in their shortest form; what a TXT record says
is kept without quotes, a SRV record as ``priority weight port target``.
"""

from __future__ import annotations

import ipaddress
import re
import socket
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

TYPES = ("A", "AAAA", "CNAME", "PTR", "SRV", "TXT")
_LABEL = re.compile(r"[a-z0-9](?:[a-z0-9-]*[a-z0-9])?")
_SERVICE_LABEL = re.compile(r"_?[a-z0-9](?:[a-z0-9_-]*[a-z0-9])?")
_LONGEST, _LONGEST_LABEL, _LONGEST_TEXT = 253, 63, 2000


class Record(NamedTuple):
    name: str
    type: str
    value: str
    ttl: int = 300


@lru_cache(maxsize=1024)
def host_name_fault(name: str) -> str:
    """Why this text, in small letters, is no host name below a domain; '' when it is one."""
    if not name:
        return "it is empty"
    if name.endswith("."):
        return "it ends with a dot"
    if len(name) > _LONGEST:
        return f"it has {len(name)} characters, and {_LONGEST} is the most"
    labels = name.split(".")
    for label in labels:
        if fault := _label_fault(label, _LABEL, "letters, digits and inner hyphens"):
            return fault
    if len(labels) < 2:
        return "it has no domain"
    if labels[-1].isdigit():
        return f"its last part, {labels[-1]}, is a number"
    return ""


def domain_fault(name: str) -> str:
    """Why no zone can be called so; '' when it can. Below ``arpa`` parts are numbers, elsewhere as in host names."""
    if len(name) > _LONGEST or name != name.lower() or name.endswith("."):
        return "a zone is written in small letters, without a dot at its end, with 253 characters at most"
    for label in name.split("."):
        if fault := _label_fault(label, _SERVICE_LABEL, "letters, digits, hyphens and underscores"):
            return fault
    return ""


def record_fault(record: Record) -> str:
    """Why there cannot be such a record; '' when there can."""
    if record.type not in TYPES:
        return f"its type {record.type} is none of {', '.join(TYPES)}"
    address_of = {"A": 4, "AAAA": 6}.get(record.type)
    name = host_name_fault(record.name) if address_of else _owner_fault(record.name)
    if name:
        return f"its name {record.name} is none: {name}"
    if address_of:
        return "" if _version(record.value) == address_of else f"{record.value} is no IPv{address_of} address"
    if record.type == "TXT":
        sound = record.value.isprintable() and record.value.isascii() and len(record.value) <= _LONGEST_TEXT
        return "" if sound else f"its text is not of at most {_LONGEST_TEXT} plain characters"
    target = record.value
    if record.type == "SRV":
        parts = record.value.split(" ")
        if len(parts) != 4 or not all(one.isascii() and one.isdigit() and int(one) < 1 << 16 for one in parts[:3]):
            return f"{record.value!r} is not a priority, a weight, a port and a target"
        target = parts[3]
    fault = host_name_fault(target) if record.type != "CNAME" else _owner_fault(target)
    return f"{target} is no name it can lead to: {fault}" if fault else ""


def _owner_fault(name: str) -> str:
    return domain_fault(name) or ("" if "." in name else "it has no domain")


def _label_fault(label: str, form: re.Pattern[str], words: str) -> str:
    if not label:
        return "it has two dots in a row, or begins with one"
    if len(label) > _LONGEST_LABEL:
        return f"its part {label[:12]}... has {len(label)} characters, and {_LONGEST_LABEL} is the most"
    return "" if form.fullmatch(label) else f"its part {label!r} has other characters than {words}"


def _version(address: str) -> int:
    try:
        return ipaddress.ip_address(address).version
    except ValueError:
        return 0


def reverse_name(address: str) -> str:
    """The name below ``in-addr.arpa`` or ``ip6.arpa``, in small letters."""
    if ":" in address:
        digits = socket.inet_pton(socket.AF_INET6, address).hex()
        return f"{'.'.join(reversed(digits))}.ip6.arpa"
    return f"{'.'.join(reversed(address.split('.')))}.in-addr.arpa"


def reverse_zones(networks: Iterable[str]) -> list[str]:
    """The zones for the addresses of these networks (``10.0.0.0/22``), sorted.

    Zones end at whole parts of a name, so that a network may need several (four for a /22), or shares one with others
    (a /26 lies in that of its /24). No more than 256 for one network: of a larger one the next larger part is taken.
    """
    found = set()
    for text in networks:
        network = ipaddress.ip_network(text, strict=False)
        step = 8 if network.version == 4 else 4
        most = 24 if network.version == 4 else 128 - step
        length = min(most, -(-network.prefixlen // step) * step)
        parts = (
            network.subnets(new_prefix=length) if network.prefixlen < length else [network.supernet(new_prefix=length)]
        )
        skipped = (32 if network.version == 4 else 128) - length
        for one in parts:
            labels = one.network_address.reverse_pointer.split(".")
            found.add(".".join(labels[skipped // step :]))
    return sorted(found)


def zone_of(name: str, zones: Iterable[str]) -> str | None:
    """The one of the zones that a name lies in, the longest if several do."""
    there = frozenset(zones)  # which is the same where it is one already
    for length in _lengths(there):
        end = name[-length:]
        if end in there and (len(name) == length or name[-length - 1 : -length] == "."):
            return end
    return None


@lru_cache(maxsize=64)
def _lengths(names: frozenset[str]) -> tuple[int, ...]:
    """The longest first."""
    return tuple(sorted({len(one) for one in names if one}, reverse=True))
