"""The step of the wizard in which the admin network is made."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markupsafe import Markup
from sqlalchemy import select

from crowbar_core import BadInput, Bind, Change, FieldError, hookimpl
from crowbar_core.tables import deployments
from crowbar_network import networks
from crowbar_network.bars import WIDTH
from crowbar_network.errors import bad
from crowbar_network.serving import SERVER

NAME = "admin"
_FEWEST = 16
"""Addresses of a subnet for which ranges are proposed."""


@hookimpl(optional=True)
def wizard_steps(session: Any, place: Mapping[str, str]) -> Iterable[Mapping[str, Any]]:
    proposed = _proposed(place["address"])

    def one(name: str, label: str, help_: str, **more: Any) -> dict[str, Any]:
        return {"name": name, "label": label, "help": help_, "default": proposed.get(name, ""), **more}

    return [
        {
            "name": "network",
            "title": "The admin network",
            "order": 20,
            "text": "On this network Crowbar reaches machines, gives them addresses, and lets them boot. It may have "
            "IPv4, IPv6 or both.",
            "fields": (
                one("first", "IPv4: first address for nodes", "As 10.124.0.16/24; empty: no IPv4."),
                one("last", "Last address for nodes", "Of the same subnet."),
                one("dhcp_first", "IPv4: first address for machines that nobody knows yet",
                    "They have it until they are nodes; empty: they get none."),
                one("dhcp_last", "Last of these", "Of the same subnet."),
                one("router", "Router", "As 10.124.0.1/24; empty: the network leads nowhere."),
                one("v6prefix", "IPv6 prefix", "A /64 as fd00:1::/64, or auto: one is drawn for this installation. "
                    "Empty: no IPv6."),
                one("conduit", "Network card", "The first card of any speed is ?1g1; see conduits."),
                one("use_bridge", "Bridge over it", "For machines that are to have virtual ones.",
                    choices=(("no", "no"), ("yes", "yes"))),
                one("configure", "Who sets up the cards of nodes", "",
                    choices=(("yes", "Crowbar"), ("no", "others: Crowbar only says which addresses they have"))),
            ),
            "picture": picture,
            "carry_out": carry_out,
        }
    ]  # fmt: skip


def _proposed(address: str) -> dict[str, str]:
    """Ranges in the machine's own subnet, which leave out its own address."""
    values = {"v6prefix": "auto", "conduit": "?1g1", "use_bridge": "no", "configure": "yes"}
    try:
        own = ipaddress.ip_interface(address)
    except ValueError:
        return values
    if own.version == 6:
        return {**values, "v6prefix": str(own.network)} if own.network.prefixlen == 64 else values
    subnet = own.network
    if subnet.prefixlen > 30 or subnet.num_addresses < _FEWEST:
        return values
    quarter = subnet.num_addresses // 4
    begin, middle, end = (subnet[at] for at in (quarter, 3 * quarter, subnet.num_addresses - 2))
    length = subnet.prefixlen
    nodes, strangers = (begin, middle - 1), (middle, end)
    if begin <= own.ip < middle:
        nodes = (own.ip + 1, middle - 1) if own.ip + 1 - int(begin) < middle - int(own.ip) else (begin, own.ip - 1)
    if middle <= own.ip <= end:
        strangers = (own.ip + 1, end) if int(own.ip) - int(middle) < int(end) - int(own.ip) else (middle, own.ip - 1)
    return {
        **values, "first": f"{nodes[0]}/{length}", "last": f"{nodes[1]}/{length}",
        "dhcp_first": f"{strangers[0]}/{length}", "dhcp_last": f"{strangers[1]}/{length}",
    }  # fmt: skip


def carry_out(values: Mapping[str, str], change: Change, place: Mapping[str, str]) -> Iterable[str]:
    """The network with its ranges and its router, and the machine in it. Raises ``BadInput`` with the fields."""
    ranges, fields = [], []
    for name, first, last in (("host", "first", "last"), ("dhcp", "dhcp_first", "dhcp_last")):
        if values[first] or values[last]:
            ranges.append({"name": name, "first": values[first], "last": values[last]})
            fields.append((first, last))
    if not ranges and not values["v6prefix"]:
        raise bad("first", "A network without addresses is none: give it a range of IPv4, a prefix of IPv6, or both.")
    own = _own(place["address"], ranges[0] if ranges else None)
    if own is not None:
        ranges.append({"name": "admin", "first": own, "last": own})
        fields.append(("first", "last"))
    home = change.session.scalar(select(deployments.c.id).where(deployments.c.parent_id.is_(None)))
    made: dict[str, Any] = {
        "name": NAME, "category": NAME, "deployment_id": home, "description": "", "group": "default", "mtu": None,
        "conduit": values["conduit"] or None, "vlan": None, "use_vlan": None, "use_team": None, "team_mode": None,
        "use_bridge": values["use_bridge"] == "yes", "configure": values["configure"] == "yes", "pbr": None,
        "v6prefix": values["v6prefix"] or "", "v6id": "name", "order": 10_000,
    }  # fmt: skip
    router = {"address": values["router"], "pref": 65536} if values["router"] else None
    try:
        networks.create(change, made, given_ranges=ranges, given_router=router)
    except BadInput as error:
        raise _of_fields(error, fields) from error
    lines = [f"The network {NAME}: {_told(ranges, values['v6prefix'])}."]
    if place["machine"]:
        change.apply(Bind(node=place["machine"], role=SERVER.name))
        lines.append(f"{SERVER.name} on {place['machine']}, with its addresses of the admin network.")
    return lines


def _of_fields(error: BadInput, fields: Sequence[tuple[str, str]]) -> BadInput:
    """The error with the fields of this step instead of those of a network."""
    told = []
    for one in error.errors:
        parts = one.pointer.strip("/").split("/")
        name = parts[0]
        if name == "ranges" and len(parts) > 1:
            name = fields[int(parts[1])][parts[-1] == "last"]
        told.append(FieldError(pointer=f"/{name}", detail=one.detail))
    return BadInput(error.detail, errors=told)


def _own(address: str, nodes: Mapping[str, str] | None) -> str | None:
    """The machine's address of IPv4 as a range has it; None where it needs none of its own."""
    if not address or nodes is None:
        return None
    try:
        own, first = ipaddress.ip_interface(address), ipaddress.ip_interface(nodes["first"])
    except ValueError:
        return None  # what is no address is told by whoever makes the range
    if own.version == 6 or first.version == 6:
        return None
    if own.ip not in first.network:
        raise bad("first", f"{own.ip}, the address of this machine, is not in {first.network}: choose addresses of its "
                  "subnet, or another address in the first step.")  # fmt: skip
    return f"{own.ip}/{first.network.prefixlen}"


def _told(ranges: Iterable[Mapping[str, str]], v6prefix: str) -> str:
    said = [
        f"{one['first'].partition('/')[0]} to {one['last']} ({one['name']})" for one in ranges if one["name"] != NAME
    ]
    if v6prefix:
        said.append("a drawn prefix of IPv6" if v6prefix == networks.AUTO else v6prefix)
    return ", ".join(said)


def picture(values: Mapping[str, str]) -> Markup | None:
    """The subnet of IPv4 from end to end, with what is for nodes, for strangers, and the router."""
    try:
        subnet = ipaddress.ip_interface(values["first"] or values["dhcp_first"]).network
    except ValueError:
        return None
    pieces, legend = Markup(""), Markup("")
    for style, label, first, last in (
        ("active", "for nodes", values["first"], values["last"]),
        ("blocked", "for machines nobody knows", values["dhcp_first"], values["dhcp_last"]),
        ("proposed", "router", values["router"], values["router"]),
    ):
        if not first or not last:
            continue
        try:
            begin, end = (int(ipaddress.ip_interface(text).ip) - int(subnet.network_address) for text in (first, last))
        except ValueError:
            continue
        if not 0 <= begin <= end < subnet.num_addresses:
            continue
        x, width = begin * WIDTH / subnet.num_addresses, max((end - begin + 1) * WIDTH / subnet.num_addresses, 2)
        pieces += Markup('<rect class="{}" x="{:.2f}" y="0" width="{:.2f}" height="10"/>').format(style, x, width)
        legend += Markup('<span class="state {}"><b>{:,}</b> {}</span>').format(style, end - begin + 1, label)
    return Markup(
        '<p class="mono small">{}</p><svg class="share" viewBox="0 0 {} 10" preserveAspectRatio="none" role="img" '
        'aria-label="What of {} is for whom">{}</svg><p class="legend">{}</p>'
    ).format(subnet, WIDTH, subnet, pieces, legend)
