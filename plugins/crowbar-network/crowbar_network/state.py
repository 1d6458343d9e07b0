"""What the interfaces of a node are, as ``ip -json`` tells it. Pure functions of its text.

Only what Crowbar could set is kept: links with what they are made of, addresses that somebody gave (those that the
kernel makes by itself are left out), routes, and rules of policy routing.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from crowbar_core import PermanentError
from crowbar_network.conduits import Nic
from crowbar_network.takeover import Client, clients

MADE = frozenset({"bond", "vlan", "bridge"})
"""The kinds of interfaces that Crowbar makes and removes."""
NO_CARDS = MADE | {
    "dummy",
    "ifb",
    "tun",
    "vxlan",
    "macvlan",
    "macvtap",
    "ipvlan",
    "vrf",
    "gre",
    "sit",
    "wireguard",
    "team",
}
_PCI = re.compile(r"[0-9a-f]{4}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]")
_FOREVER = 0xFFFFFFFF


@dataclass(frozen=True, kw_only=True)
class Address:
    """``text`` with prefix. ``lifetime`` in seconds of one that ends by itself (of DHCP, mostly), else None.
    ``failed``: another machine has it (IPv6). ``bare``: it brings no route to its subnet along, as dhcpcd gives it.
    """

    text: str
    lifetime: int | None = None
    failed: bool = False
    tentative: bool = False
    bare: bool = False
    label: str = ""


@dataclass(frozen=True, kw_only=True)
class Known:
    """A link as it stands. ``params``: what a bond, VLAN or bridge was made with, as words for ``ip link add``."""

    name: str
    kind: str
    mac: str = ""
    master: str = ""
    over: str = ""
    mtu: int = 0
    up: bool = False
    carrier: bool = False
    params: tuple[str, ...] = ()
    partner: str = ""
    addresses: tuple[Address, ...] = ()
    altnames: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class KnownRoute:
    """``words``: as ``ip route replace`` takes it. ``version``: 4 or 6. ``others``: a program that learns of routes
    made it, and would make it again.
    """

    version: int
    to: str
    via: str
    dev: str
    table: int
    words: str
    others: bool = False


@dataclass(frozen=True, kw_only=True)
class KnownRule:
    version: int
    source: str
    table: int
    priority: int


@dataclass(frozen=True, kw_only=True)
class State:
    """``kept``: what Crowbar has left on the node about its own last configuration; empty when it never did."""

    links: Mapping[str, Known]
    routes: tuple[KnownRoute, ...] = ()
    rules: tuple[KnownRule, ...] = ()
    nics: tuple[Nic, ...] = ()
    product: str = ""
    kept: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, str] = field(default_factory=dict)
    tools: frozenset[str] = frozenset()
    clients: tuple[Client, ...] = ()
    """Of DHCP, that run there."""
    busy: bool = False
    """Whether a change is being tried there."""
    proven: bool = False
    """Whether a change has been tried, and this was told over a connection that was made afterwards."""

    @property
    def ours(self) -> list[str]:
        """The links of Crowbar's last configuration there."""
        return [name for name in self.kept.get("links", []) if isinstance(name, str)]

    @property
    def mtus(self) -> dict[str, int]:
        """The links of which Crowbar has set the MTU -> what it was before that."""
        return {name: was for name, was in self.kept.get("mtus", {}).items() if isinstance(was, int)}

    @property
    def current(self) -> list[dict[str, Any]]:
        """Cards, and what was made over them, as people are shown it and an attribute holds it."""
        shown = []
        for link in self.links.values():
            if link.kind in MADE or any(nic.name == link.name for nic in self.nics):
                shown.append({
                    "name": link.name, "kind": link.kind if link.kind in MADE else "nic", "mtu": link.mtu,
                    "up": link.up, "carrier": link.carrier, "master": link.master,
                    "addresses": [address.text for address in link.addresses],
                    "routes": [f"{route.to} via {route.via}" if route.via else route.to
                               for route in self.routes if route.dev == link.name],
                })  # fmt: skip
        return shown


def read(sections: Mapping[str, str]) -> State:
    """From what ``node/look.sh`` printed, by its headings. Raises ``PermanentError`` for what is no such text."""
    try:
        [addresses] = _several(sections["links"])
        # A kernel without IPv6 has no ways of it.
        routes4, rules4 = [*_several(sections.get("ways 4", "")), [], []][:2]
        routes6, rules6 = [*_several(sections.get("ways 6", "")), [], []][:2]
        links = _links(addresses)
        routes = (*_routes(routes4, 4), *_routes(routes6, 6))
        rules = (*_rules(rules4, 4), *_rules(rules6, 6))
        kept = json.loads(sections.get("kept", "").strip() or "{}")
        files = {
            name.removeprefix("file "): text for name, text in sections.items() if name.startswith("file ")
        }  # fmt: skip
        return State(
            links=links, routes=routes, rules=rules, kept=kept, files=files,
            clients=clients(sections.get("clients", ""), links),
            nics=_nics(addresses, sections.get("hardware", "")),
            product=sections.get("product", "").strip(), tools=frozenset(sections.get("tools", "").split()),
            busy=bool(sections.get("switches", "").strip()), proven=_proven(sections),
        )  # fmt: skip
    except (ValueError, KeyError, TypeError, AttributeError) as problem:
        raise PermanentError(f"The node's `ip -json` says what nobody understands: {problem!r}.") from None


def _proven(sections: Mapping[str, str]) -> bool:
    said = [line.split() for line in sections.get("switches", "").splitlines()]
    began = sections.get("session", "").strip()
    tried = next((words[1] for words in said if words[:1] == ["tried"]), "")
    return tried.isdecimal() and began.isdecimal() and int(began) > int(tried)


def _several(text: str) -> list[Sequence[Mapping[str, Any]]]:
    """The lists that ``ip -json -batch`` printed one after another, without the empty objects that older ones leave."""
    found: list[Sequence[Mapping[str, Any]]] = []
    rest, decoder = text.strip(), json.JSONDecoder()
    while rest:
        value, end = decoder.raw_decode(rest)
        found.append([one for one in value if one])
        rest = rest[end:].lstrip()
    return found


def _links(links: Sequence[Mapping[str, Any]]) -> dict[str, Known]:
    made = {}
    for one in links:
        info = one.get("linkinfo", {})
        kind, data = info.get("info_kind", ""), info.get("info_data", {})
        flags = one.get("flags", ())
        partner = data.get("ad_info", {}).get("partner_mac", "")
        made[one["ifname"]] = Known(
            name=one["ifname"], kind=kind, mac=one.get("permaddr", one.get("address", "")),
            master=one.get("master", ""), over=one.get("link", "") if kind == "vlan" else "", mtu=one.get("mtu", 0),
            up="UP" in flags, carrier="LOWER_UP" in flags and "NO-CARRIER" not in flags,
            params=_params(kind, data), partner="" if partner == "00:00:00:00:00:00" else partner,
            addresses=_addresses(one.get("addr_info", ())), altnames=tuple(one.get("altnames", ())),
        )  # fmt: skip
    return made


def _params(kind: str, data: Mapping[str, Any]) -> tuple[str, ...]:
    match kind:
        case "bond":
            words = ["mode", str(data["mode"]), "miimon", str(data.get("miimon", 100))]
            if data["mode"] == "802.3ad":
                words += ["lacp_rate", str(data.get("ad_lacp_rate", "slow")),
                          "xmit_hash_policy", str(data.get("xmit_hash_policy", "layer2"))]  # fmt: skip
            elif data["mode"] == "active-backup":
                words += ["num_grat_arp", str(data.get("num_peer_notif", 1))]
            return tuple(words)
        case "vlan":
            return ("id", str(data["id"]))
        case "bridge":
            return ("stp_state", str(data["stp_state"]), "forward_delay", str(data["forward_delay"]))
    return ()


def _addresses(infos: Sequence[Mapping[str, Any]]) -> tuple[Address, ...]:
    found = (_address(info) for info in infos if info.get("scope") == "global")
    return tuple(address for address in found if address is not None)


def _address(info: Mapping[str, Any]) -> Address | None:
    # One of IPv6 that only guards privacy, or that the kernel made from a router's word, comes again by itself.
    if info.get("temporary") or info.get("mngtmpaddr"):
        return None
    lifetime = int(info.get("valid_life_time", _FOREVER))
    return Address(
        text=f"{info['local']}/{info['prefixlen']}", lifetime=None if lifetime == _FOREVER else lifetime,
        failed=bool(info.get("dadfailed")), tentative=bool(info.get("tentative")),
        bare=bool(info.get("noprefixroute")), label=str(info.get("label", "")),
    )  # fmt: skip


_LEARNED = frozenset({
    "babel", "bgp", "bird", "dnrouted", "eigrp", "gated", "isis", "keepalived", "mrt", "ntk", "openr", "ospf",
    "redirect", "rip", "xorp", "zebra",
})  # fmt: skip
_TABLES = {"main": 254, "default": 253, "local": 255}


def _routes(routes: Sequence[Mapping[str, Any]], version: int) -> list[KnownRoute]:
    found = []
    for one in routes:
        table = one.get("table", "main")
        number = _TABLES.get(str(table)) or (int(table) if str(table).isdigit() else 0)
        if (
            one.get("type", "unicast") != "unicast"
            or one.get("protocol") in ("kernel", "ra")
            or "dev" not in one
            or not number
        ):
            continue
        to = "::/0" if version == 6 and one["dst"] == "default" and "gateway" not in one else one["dst"]
        words = [to, *(["via", one["gateway"]] if "gateway" in one else []), "dev", one["dev"]]
        words += ["table", str(number)] if number != _TABLES["main"] else []
        words += ["proto", str(one["protocol"])] if one.get("protocol", "boot") != "boot" else []
        words += ["scope", str(one["scope"])] if version == 4 and "gateway" not in one and "scope" in one else []
        words += ["src", one["prefsrc"]] if "prefsrc" in one else []
        words += ["metric", str(one["metric"])] if one.get("metric") else []
        found.append(KnownRoute(
            version=version, to=one["dst"], via=one.get("gateway", ""), dev=one["dev"],
            table=0 if number == _TABLES["main"] else number, words=" ".join(words),
            others=one.get("protocol") in _LEARNED,
        ))  # fmt: skip
    return found


def _rules(rules: Sequence[Mapping[str, Any]], version: int) -> list[KnownRule]:
    return [
        KnownRule(version=version, source=one["src"], table=int(one["table"]), priority=int(one["priority"]))
        for one in rules
        if one.get("src", "all") != "all" and str(one.get("table", "")).isdigit()
    ]


def _nics(links: Sequence[Mapping[str, Any]], hardware: str) -> tuple[Nic, ...]:
    """The cards: what stands on a bus; where nothing does (in a container, a lab), what is no tunnel nor made here."""
    facts: dict[str, tuple[str, str, int]] = {}
    for line in hardware.splitlines():
        name, path, driver, fast = [*line.split("|"), "", "", ""][:4]
        facts[name] = (path, driver, int(fast) if fast.isdigit() else 0)
    ethernet = [
        one for one in links
        if one.get("link_type") == "ether" and one.get("linkinfo", {}).get("info_kind", "") not in NO_CARDS
    ]  # fmt: skip
    real = [one for one in ethernet if facts.get(one["ifname"], ("",))[0]]
    found = []
    for one in real or ethernet:
        path, driver, speed = facts.get(one["ifname"], ("", "", 0))
        found.append(Nic(
            name=one["ifname"], mac=one.get("permaddr", one.get("address", "")), path="/".join(_PCI.findall(path)),
            speed=speed, driver=driver, altnames=tuple(one.get("altnames", ())),
        ))  # fmt: skip
    return tuple(found)
