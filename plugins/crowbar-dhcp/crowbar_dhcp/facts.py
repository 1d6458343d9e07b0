"""What is known of networks and nodes that DHCP servers should say, as it stands in the database and as other barclamps
answer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import insert, select

from crowbar_core import Json, NodeView, NotFound, cluster
from crowbar_dhcp import tables
from crowbar_dhcp.services import DATABASE
from crowbar_dhcp.serving import CATEGORY, OWN, Boot, Machine, Net

SUBNETS, ADDRESSES, RESOLVERS, STRANGERS = "network_subnets", "network_addresses", "dhcp_resolvers", "dhcp_strangers"
WITHOUT_NETWORKS = "No barclamp keeps networks (crowbar-network is not installed): there is nothing to serve."
WITHOUT_NAMES = (
    "Machines are told no DNS servers: none that they may ask is known (crowbar-dns keeps some). Name others in "
    "dhcp-dns-servers."
)
MACS = "hint-admin-macs"


def ask(question: str, **arguments: Any) -> tuple[tuple[str, Any], ...] | None:
    """The answers; None where nobody asks such questions."""
    try:
        return cluster().ask(question, **arguments)
    except NotFound:
        return None


def mode() -> str:
    """Who serves networks that do not say it themselves, as dhcp-database is told."""
    said = next(iter(cluster().node_roles(role=DATABASE)), None)
    return str(said.data.get("dhcp", {}).get("mode") or OWN) if said else OWN


def admin_subnets(otherwise: str) -> list[Mapping[str, Any]]:
    """Those of networks of the category admin, as whoever keeps them tells it; who serves them is ``otherwise`` where
    that is not said."""
    said = (one for _, answer in ask(SUBNETS) or () for one in answer)
    return [{**one, "dhcp": one.get("dhcp") or otherwise} for one in said if one["category"] == CATEGORY]


def prefixes(otherwise: str) -> list[dict[str, Any]]:
    """The subnets of IPv6 that servers are to advertise."""
    return [
        {name: one.get(name) for name in ("network", "subnet", "routers", "mtu")}
        for one in admin_subnets(otherwise) if ":" in one["subnet"] and one["dhcp"] == OWN
    ]  # fmt: skip


def nets(otherwise: str = OWN) -> list[Net]:
    """The subnets of all networks, each with the number by which servers know it. Outside any change: a new one is
    numbered in its own."""
    said = [one for _, answer in ask(SUBNETS) or () for one in answer]
    numbers = _numbers(sorted({one["subnet"] for one in said}))
    return [
        Net(
            id=numbers[one["subnet"]], network=one["network"], subnet=one["subnet"], category=one["category"],
            mtu=one.get("mtu"), dhcp=one.get("dhcp") or otherwise, routers=tuple(one.get("routers", ())),
            ranges={each["name"]: (each["first"], each["last"]) for each in one.get("ranges", ())},
            reserved={each["ip"]: each["for"] for each in one.get("reserved", ())},
        )
        for one in said
    ]  # fmt: skip


def _numbers(wanted: Sequence[str]) -> Mapping[str, int]:
    with cluster().read() as session:
        known = _known(session)
    if not all(one in known for one in wanted):
        with cluster().change() as change:
            there = _known(change.session)
            new = [{"subnet": one} for one in wanted if one not in there]
            if new:
                change.session.execute(insert(tables.subnets), new)
            known = _known(change.session)
    return known


def _known(session: Any) -> dict[str, int]:
    asked = select(tables.subnets.c.subnet, tables.subnets.c.id)
    return {one.subnet: one.id for one in session.execute(asked).all()}


def machines(ids: Sequence[int] | None = None) -> list[Machine]:
    """The nodes of these ids (None: all) but the system's own."""
    here = cluster()
    nodes = [one for one in here.nodes(ids) if not one.system]
    boots = here.boots(nodes)
    addresses: dict[int, list[str]] = {}
    for _, answer in ask(ADDRESSES, nodes=ids) or ():
        for one in answer:
            addresses.setdefault(one["node_id"], []).append(one["ip"])
    return [
        Machine(
            id=one.id, name=one.name, macs=macs_of(one), addresses=tuple(addresses.get(one.id, ())),
            bootenv=one.bootenv, boot=_first(boots[one.id]),
        )
        for one in nodes
    ]  # fmt: skip


def macs_of(node: NodeView) -> tuple[str, ...]:
    """Those that people named, and those that the node has reported."""
    said = [*_texts(node.hint.get(MACS)), *_texts(node.discovery.get("macs"))]
    return tuple(dict.fromkeys(one.lower() for one in said))


def _texts(value: Json) -> list[str]:
    return [one for one in value if isinstance(one, str)] if isinstance(value, list) else []


def strangers() -> Boot:
    return _first(ask(STRANGERS) or ())


def resolvers() -> tuple[str, ...]:
    return tuple(dict.fromkeys(one for _, answer in ask(RESOLVERS) or () for one in answer))


def _first(answers: Sequence[tuple[str, Any]]) -> Boot:
    """What the first barclamp says that knows what is booted; local boot where none does."""
    for barclamp, answer in answers:
        said = answer if isinstance(answer, Mapping) else {}
        families = [one if isinstance(one := said.get(name), Mapping) else {} for name in ("dhcp4", "dhcp6")]
        if any(name in said for name in ("dhcp4", "dhcp6")):
            return Boot(dhcp4=dict(families[0]), dhcp6=dict(families[1]), by=barclamp)
    return Boot()
