"""What switches tell of themselves by LLDP, as ``lldpcli -f json0 show neighbors details`` has it. Pure functions."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

_HEADER = 18
"""Of an Ethernet frame with its checksum: what a largest frame is longer than its packet."""


@dataclass(frozen=True, kw_only=True)
class Neighbour:
    """What is at the other end of a card's cable. ``vlan`` is that of untagged frames, ``tagged`` the others that it
    named; ``mtu`` its largest packet. Of what it does not tell: None, (), 0.
    """

    switch: str
    chassis: str
    port: str
    vlan: int | None = None
    tagged: tuple[int, ...] = ()
    mtu: int = 0
    bridge: bool = True
    """Whether it is a switch, by its own word; where it says nothing of that, it is taken for one."""

    @property
    def at(self) -> str:
        return f"switch {self.switch}, port {self.port}" if self.bridge else f"{self.switch}, {self.port}"

    @property
    def place(self) -> tuple[str, str]:
        """What tells the port from all others."""
        return self.chassis, self.port


def neighbours(text: str) -> dict[str, Neighbour]:
    """Card -> who is there. Of several, a switch goes before a machine. Raises ``ValueError`` for no such text."""
    found: dict[str, Neighbour] = {}
    try:
        for one in json.loads(text.strip() or "{}").get("lldp", ()):
            for interface in one.get("interface", ()):
                said = _neighbour(interface)
                known = found.get(interface["name"])
                if said is not None and (known is None or (said.bridge and not known.bridge)):
                    found[interface["name"]] = said
    except (KeyError, TypeError, AttributeError) as problem:
        raise ValueError(f"lldpcli says what nobody understands: {problem!r}") from None
    return found


def _neighbour(interface: Mapping[str, Any]) -> Neighbour | None:
    chassis, port = _first(interface.get("chassis")), _first(interface.get("port"))
    identity, number = _first(port.get("id")), _value(port, "id")
    if not number:
        return None
    # A MAC says nothing to whoever stands before the switch.
    label = _value(port, "descr") if identity.get("type") == "mac" else number
    vlans = list(_vlans(interface))
    told = _value(port, "mfs")
    able = {one["type"]: bool(one.get("enabled")) for one in chassis.get("capability", ()) if "type" in one}
    name = _value(chassis, "name") or _value(chassis, "id")
    return Neighbour(
        switch=name, chassis=f"{name} {_value(chassis, 'id')}", port=label or number,
        vlan=next((number for number, untagged in vlans if untagged), None),
        tagged=tuple(sorted(number for number, untagged in vlans if not untagged)),
        mtu=max(0, int(told) - _HEADER) if told.isdigit() else 0,
        bridge=not able or able.get("Bridge", False) or able.get("Router", False),
    )  # fmt: skip


def _vlans(interface: Mapping[str, Any]) -> Iterator[tuple[int, bool]]:
    for one in interface.get("vlan", ()):
        if str(one.get("vlan-id", "")).isdigit() and int(one["vlan-id"]):
            yield int(one["vlan-id"]), bool(one.get("pvid"))


def _first(several: Any) -> Mapping[str, Any]:
    return several[0] if several else {}


def _value(said: Mapping[str, Any], name: str) -> str:
    return str(_first(said.get(name)).get("value", ""))
