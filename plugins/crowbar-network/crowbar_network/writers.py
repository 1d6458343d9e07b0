"""The files in which a node's own network tool reads what its interfaces should be, from the one model of layers.

A writer is a function that is given all links, each after what it stands on, and returns path -> text. It is found by
an entry point of the group ``crowbar_network.writers``; those here are four of them. What a name may hold was checked
when it was made, so that nothing here needs quoting.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

from crowbar_core import Extensions
from crowbar_network.changes import by_family, fresh, route_line, rule_line
from crowbar_network.layers import RULE, Link, Route

WRITERS = Extensions("crowbar_network.writers", "writer")
Writer = Callable[[Sequence[Link]], Mapping[str, str]]
MARK = "# Written by Crowbar; what is changed here is written over."


# ---------------------------------------------------------------- systemd-networkd


def networkd(links: Sequence[Link]) -> dict[str, str]:
    files = {}
    for link in links:
        base = f"/etc/systemd/network/10-crowbar-{link.name}"
        if link.kind != "nic":
            files[f"{base}.netdev"] = _text(_netdev(link))
        files[f"{base}.network"] = _text(_network(link, links))
    return files


def _netdev(link: Link) -> list[str]:
    lines = [MARK, "[NetDev]", f"Name={link.name}", f"Kind={link.kind}"]
    if link.kind == "bond":
        lines += ["", "[Bond]", f"Mode={link.mode}", "MIIMonitorSec=0.1"]
        if link.mode == "802.3ad":
            lines += ["LACPTransmitRate=fast", "TransmitHashPolicy=layer3+4"]
        elif link.mode == "active-backup":
            lines += ["GratuitousARP=2"]
    elif link.kind == "vlan":
        lines += ["", "[VLAN]", f"Id={link.vlan}"]
    elif link.kind == "bridge":
        lines += ["", "[Bridge]", "STP=no", "ForwardDelaySec=0"]
    return lines


def _network(link: Link, links: Sequence[Link]) -> list[str]:
    lines = [MARK, "[Match]", f"Name={link.name}", ""]
    if link.mtu:
        lines += ["[Link]", f"MTUBytes={link.mtu}", ""]
    lines += ["[Network]"]
    if link.master:
        kind = next(one.kind for one in links if one.name == link.master)
        lines += [f"{kind.capitalize()}={link.master}"]
    lines += [f"VLAN={one.name}" for one in links if one.kind == "vlan" and one.over == (link.name,)]
    lines += [f"LinkLocalAddressing={'ipv6' if 6 in link.families else 'no'}", "IPv6AcceptRA=no"]
    lines += [f"Address={address}" for address in link.addresses]
    for route in link.routes:
        lines += ["", "[Route]", f"Destination={_any(route)}"]
        lines += [f"Gateway={route.via}"] if route.via else ["Scope=link"]
        lines += [f"Table={route.table}"] if route.table else []
    for source in link.sources:
        lines += ["", "[RoutingPolicyRule]", f"From={source}", f"Table={link.table}", f"Priority={RULE}"]
    return lines


def _any(route: Route) -> str:
    if route.to != "default":
        return route.to
    return "::/0" if ":" in route.via else "0.0.0.0/0"


# ---------------------------------------------------------------- ifupdown


def ifupdown(links: Sequence[Link]) -> dict[str, str]:
    lines = [MARK]
    for link in links:
        lines += ["", f"auto {link.name}", *_stanzas(link)]
    return {"/etc/network/interfaces.d/crowbar": _text(lines)}


def _stanzas(link: Link) -> list[str]:
    own = _own_lines(link)
    if link.mtu:
        own.append(f"    mtu {link.mtu}")
    lines, first = [], True
    for address in link.addresses:
        family = "inet6" if ":" in address else "inet"
        lines += [f"iface {link.name} {family} static", f"    address {address}", *(own if first else [])]
        lines += _lines_of_routes(link, family == "inet6") if _is_first_of(link, address) else []
        first = False
    return lines or [f"iface {link.name} inet manual", *own]


def _is_first_of(link: Link, address: str) -> bool:
    return next(one for one in link.addresses if (":" in one) == (":" in address)) == address


def _own_lines(link: Link) -> list[str]:
    match link.kind:
        case "bond":
            lines = [f"    bond-slaves {' '.join(link.over)}", f"    bond-mode {link.mode}", "    bond-miimon 100"]
            if link.mode == "802.3ad":
                lines += ["    bond-lacp-rate fast", "    bond-xmit-hash-policy layer3+4"]
            elif link.mode == "active-backup":
                lines += ["    bond-num-grat-arp 2"]
            return lines
        case "vlan":
            return [f"    vlan-raw-device {link.over[0]}", f"    vlan-id {link.vlan}"]
        case "bridge":
            return [f"    bridge-ports {link.over[0]}", "    bridge-stp off", "    bridge-fd 0"]
        case _:
            return [f"    bond-master {link.master}"] if link.master.startswith("bond") else []


def _lines_of_routes(link: Link, v6: bool) -> list[str]:
    routes = [route_line(link.name, route) for route in link.routes if (":" in (route.via or route.to)) == v6]
    rules = [rule_line(source, link.table) for source in link.sources if (":" in source) == v6]
    return [f"    up ip {'-6 ' if v6 else ''}{line.removeprefix('-6 ')}" for line in (*routes, *rules)]


# ---------------------------------------------------------------- netplan


def netplan(links: Sequence[Link]) -> dict[str, str]:
    lines = [MARK, "network:", "  version: 2", "  renderer: networkd"]
    for kind, word in (("nic", "ethernets"), ("bond", "bonds"), ("vlan", "vlans"), ("bridge", "bridges")):
        there = [link for link in links if link.kind == kind]
        if there:
            lines += [f"  {word}:"]
            for link in there:
                lines += [f"    {link.name}:", *(f"      {line}" for line in _netplan(link))]
    return {"/etc/netplan/90-crowbar.yaml": _text(lines)}


def _netplan(link: Link) -> list[str]:
    lines = ["dhcp4: false", "dhcp6: false", "accept-ra: false"]
    lines += [f"link-local: [{'ipv6' if 6 in link.families else ''}]"]
    match link.kind:
        case "bond":
            lines += [f"interfaces: [{', '.join(link.over)}]", "parameters:", f"  mode: {link.mode}",
                      "  mii-monitor-interval: 100"]  # fmt: skip
            if link.mode == "802.3ad":
                lines += ["  lacp-rate: fast", "  transmit-hash-policy: layer3+4"]
            elif link.mode == "active-backup":
                lines += ["  gratuitous-arp: 2"]
        case "vlan":
            lines += [f"id: {link.vlan}", f"link: {link.over[0]}"]
        case "bridge":
            lines += [f"interfaces: [{', '.join(link.over)}]", "parameters:", "  stp: false", "  forward-delay: 0"]
    if link.mtu:
        lines += [f"mtu: {link.mtu}"]
    if link.addresses:
        lines += ["addresses:", *(f'  - "{address}"' for address in link.addresses)]
    if link.routes:
        lines += ["routes:"]
        for route in link.routes:
            lines += [f'  - to: "{_any(route)}"']
            lines += [f'    via: "{route.via}"'] if route.via else ["    scope: link"]
            lines += [f"    table: {route.table}"] if route.table else []
    if link.sources:
        lines += ["routing-policy:"]
        for source in link.sources:
            lines += [f'  - from: "{source}"', f"    table: {link.table}", f"    priority: {RULE}"]
    return lines


# ---------------------------------------------------------------- plain iproute2


def iproute2(links: Sequence[Link]) -> dict[str, str]:
    """For machines that run from memory: what ``ip -batch`` is given, and then ``ip -6 -batch``."""
    lines, lines6 = by_family(fresh(links))
    files = {"/etc/crowbar-network/links.ip": _text([MARK, *lines])}
    return files | ({"/etc/crowbar-network/links6.ip": _text([MARK, *lines6])} if lines6 else {})


def _text(lines: Iterable[str]) -> str:
    return "\n".join(lines).rstrip("\n") + "\n"
