"""The cards of a machine and what they are plugged into, from what ``node/wires.sh`` prints. Pure functions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from crowbar_core import Json, PermanentError
from crowbar_network.lldp import Neighbour, neighbours
from crowbar_network.state import NO_CARDS

_DEFAULTED = 0x40
_EXPIRED = 0x80
"""Of the state of a port in LACP: its partner is made up, or was not heard of for too long."""


@dataclass(frozen=True, kw_only=True)
class Wire:
    """A card, and who is at the other end of its cable (None: nobody tells). ``speed`` now in Mb/s, 0 while unknown.

    Of a member of a bond: ``master``, and where that speaks LACP, ``aggregator`` and whether it has a ``partner``.
    """

    nic: str
    mac: str
    up: bool = True
    carrier: bool = True
    speed: int = 0
    duplex: str = ""
    mtu: int = 1500
    master: str = ""
    aggregator: int | None = None
    partner: bool | None = None
    neighbour: Neighbour | None = None

    def told(self) -> dict[str, Json]:
        """As the attribute ``network-wires`` has it."""
        said = {name: getattr(self, name) for name in ("nic", "mac", "carrier", "speed", "mtu", "master")}
        if (there := self.neighbour) is not None:
            said |= {name: getattr(there, name) for name in ("switch", "chassis", "port", "vlan")}
            said |= {"tagged": list(there.tagged), "port_mtu": there.mtu}
        return said


@dataclass(frozen=True, kw_only=True)
class Bond:
    """``aggregator``: the one that it uses, where it speaks LACP."""

    mode: str
    aggregator: int | None = None


@dataclass(frozen=True, kw_only=True)
class Machine:
    """``listens``: whether LLDP runs on it."""

    node: str
    wires: tuple[Wire, ...]
    bonds: Mapping[str, Bond] = field(default_factory=dict)
    listens: bool = True

    def wire(self, nic: str) -> Wire | None:
        return next((one for one in self.wires if one.nic == nic), None)


def read(node: str, sections: Mapping[str, str]) -> Machine:
    """Raises ``PermanentError`` for what is no such text."""
    try:
        links = [one for one in json.loads(sections["links"]) if one]
        heard = neighbours(sections.get("lldp", ""))
        speeds = dict(_speeds(sections.get("speeds", "")))
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise PermanentError(f"{node} tells of its cards what nobody understands: {problem!r}.") from None
    bonds = {one["ifname"]: _bond(one) for one in links if one.get("linkinfo", {}).get("info_kind") == "bond"}
    ethernet = [
        one for one in links
        if one.get("link_type") == "ether" and one.get("linkinfo", {}).get("info_kind", "") not in NO_CARDS
    ]  # fmt: skip
    real = [one for one in ethernet if speeds.get(one["ifname"], _UNKNOWN).real]
    return Machine(
        node=node, bonds=bonds, listens=bool(sections.get("lldp", "").strip()),
        wires=tuple(_wire(one, speeds.get(one["ifname"], _UNKNOWN), heard.get(one["ifname"]), bonds)
                    for one in real or ethernet),
    )  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class _Speed:
    """``real``: it stands on a bus, as a card of a machine does and one of a container does not."""

    now: int = 0
    duplex: str = ""
    real: bool = False


_UNKNOWN = _Speed()


def _speeds(text: str) -> Iterator[tuple[str, _Speed]]:
    for line in text.splitlines():
        name, speed, duplex, real = [*line.split("|"), "", "", ""][:4]
        if name:
            now = int(speed) if speed.isdigit() else 0
            yield name, _Speed(now=now, duplex=duplex if duplex in ("half", "full") else "", real=bool(real))


def _bond(link: Mapping[str, Any]) -> Bond:
    data = link["linkinfo"].get("info_data", {})
    return Bond(mode=str(data.get("mode", "")), aggregator=data.get("ad_info", {}).get("aggregator"))


def _wire(link: Mapping[str, Any], speed: _Speed, there: Neighbour | None, bonds: Mapping[str, Bond]) -> Wire:
    flags, master = link.get("flags", ()), link.get("master", "")
    slave = link.get("linkinfo", {}).get("info_slave_data", {}) if master in bonds else {}
    state = slave.get("ad_actor_oper_port_state")
    up = "UP" in flags
    return Wire(
        nic=link["ifname"], mac=slave.get("perm_hwaddr") or link.get("permaddr", link.get("address", "")), up=up,
        carrier=up and "LOWER_UP" in flags and "NO-CARRIER" not in flags, speed=speed.now, duplex=speed.duplex,
        mtu=link.get("mtu", 0), master=master if master in bonds else "",
        aggregator=slave.get("ad_aggregator_id"), neighbour=there,
        partner=None if state is None else not state & (_DEFAULTED | _EXPIRED),
    )  # fmt: skip
