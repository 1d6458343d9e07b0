"""Dynamic updates as they go over the wire (RFC 2136), signed with TSIG.

dnspython can write them, too; it makes an object of each name and each record, which took most of the time of telling a
server of ten thousand hosts. Whatever is unusual (a kind of record, a letter in a name) is still written by it.
"""

from __future__ import annotations

import re
import socket
import struct
import time
from collections.abc import Sequence
from typing import Any

import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.ANY.TSIG
import dns.tsig

from crowbar_dns.comparing import Edit

_UPDATE = 5 << 11
_CNAME, _SOA, _TSIG = 5, 6, 250
_IN, _NONE, _ANY = 1, 254, 255
_KINDS = {"A": 1, "CNAME": _CNAME, "PTR": 12, "TXT": 16, "AAAA": 28, "SRV": 33}
_PLAIN = re.compile(r"[a-z0-9_*-]{1,63}(?:\.[a-z0-9_*-]{1,63})*")
_LENGTHS = [bytes((one,)) for one in range(64)]
_FIXED = struct.Struct("!HHIH")
"""Of a record after its name: kind, class, seconds of its life, length of its data."""
_NOTHING = _FIXED.pack(_ANY, _NONE, 0, 0)
_NO_ALIAS = _FIXED.pack(_CNAME, _NONE, 0, 0)
"""Conditions: that there is nothing of that name, and that it is no alias."""
_ZONE_AT = b"\xc0\x0c"
"""A pointer to the name of the zone, which stands right after the twelve bytes of the header."""
_PIECE = 250
_FUDGE = 300


def update_message(zone: str, edits: Sequence[Edit], key: dns.tsig.Key | None, number: int) -> tuple[bytes, bytes]:
    """The message of this number (16 bits), and the code by which its answer is known ("" without a key)."""
    conditions: list[bytes] = []
    changes: list[bytes] = []
    alone: set[bytes] = set()
    for one in edits:
        name, kind = _within(one.name, zone), _kind(one.type)
        if not one.new:
            changes.append(name + _FIXED.pack(kind, _ANY, 0, 0))
        elif kind == _CNAME:
            conditions.append(name + _NOTHING)
        else:
            conditions.append(name + _FIXED.pack(kind, _NONE, 0, 0))
            if name not in alone:  # a server says that all is well, and adds nothing beside an alias
                alone.add(name)
                conditions.append(name + _NO_ALIAS)
        for value in sorted(one.values):
            data = _data(one.type, value)
            changes.append(name + _FIXED.pack(kind, _IN, one.ttl, len(data)) + data)
    rest = b"".join((_name(zone), struct.pack("!HH", _SOA, _IN), *conditions, *changes))
    counts = (1, len(conditions), len(changes))
    plain = struct.pack("!HHHHHH", number, _UPDATE, *counts, 0) + rest
    if key is None:
        return plain, b""
    unsigned = dns.rdtypes.ANY.TSIG.TSIG(  # type: ignore[no-untyped-call]
        dns.rdataclass.ANY, dns.rdatatype.TSIG, key.algorithm, 0, _FUDGE, b"", number, 0, b""
    )
    signed, _ = dns.tsig.sign(plain, key, unsigned, int(time.time()))  # type: ignore[no-untyped-call]
    data = signed.to_wire()
    assert data is not None
    owner = key.name.to_wire()
    assert owner is not None
    last = owner + _FIXED.pack(_TSIG, _ANY, 0, len(data)) + data
    return struct.pack("!HHHHHH", number, _UPDATE, *counts, 1) + rest + last, signed.mac


def _kind(kind: str) -> int:
    return _KINDS.get(kind) or int(dns.rdatatype.from_text(kind))


def _within(name: str, zone: str) -> bytes:
    if name.endswith(f".{zone}"):
        inner = _labels(name[: -len(zone) - 1])
        if inner is not None:
            return inner + _ZONE_AT
    return _ZONE_AT if name == zone else _name(name)


def _name(name: str) -> bytes:
    labels = _labels(name)
    if labels is not None:
        return labels + b"\0"
    whole = dns.name.from_text(name).to_wire()
    assert whole is not None
    return whole


def _labels(name: str) -> bytes | None:
    """Without the root; None: there is something in it that is not usual."""
    if not _PLAIN.fullmatch(name):
        return None
    return b"".join([_LENGTHS[len(one)] + one for one in name.encode().split(b".")])


def _data(kind: str, value: str) -> bytes:
    if kind == "A":
        return socket.inet_pton(socket.AF_INET, value)
    if kind == "AAAA":
        return socket.inet_pton(socket.AF_INET6, value)
    if kind in ("CNAME", "PTR"):
        return _name(value)
    if kind == "SRV":
        *numbers, target = value.split()
        return struct.pack("!HHH", *map(int, numbers)) + _name(target)
    if kind == "TXT":
        raw = value.encode()
        pieces = [raw[at : at + _PIECE] for at in range(0, len(raw), _PIECE)] or [b""]
        return b"".join(bytes((len(one),)) + one for one in pieces)
    other: Any = dns.rdata.from_text(dns.rdataclass.IN, kind, value)
    return bytes(other.to_wire())
