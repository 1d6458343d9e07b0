"""What networks, ranges, routers and allocations look like, over REST and on pages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import String, cast, select
from sqlalchemy.orm import Session

from crowbar_core.rest import DEPLOYMENTS, NODES, Field, Later, Listing, field, fields
from crowbar_network.addressing import key_of, of_key, parse_address, parse_interface
from crowbar_network.checks import LAYERS
from crowbar_network.drafts import GOING, NEW, WAIT, drafts_of, proposed
from crowbar_network.tables import allocations, checks, drifts, interface_maps, networks, ranges, routers

_deployments, _nodes = DEPLOYMENTS.source, NODES.source


def _cidr(table: Any, name: str, *, example: str) -> Field:
    """An address with the length of its prefix."""
    column = table.c[name] + "/" + cast(table.c.prefix, String)
    return Field(
        name=name, column=column, type=str, filter=True, sort=True, order=table.c[name], example=example,
        show=_with_prefix, read=lambda text: _key_with_prefix(text, name),
    )  # fmt: skip


def _key_with_prefix(text: str, field: str) -> str:
    address, prefix = parse_interface(text, field=field)
    return f"{key_of(address)}/{prefix}"


def _with_prefix(text: str) -> str:
    key, _, prefix = text.partition("/")
    return f"{of_key(key)}/{prefix}"


def _ip(column: Any, example: str) -> Field:
    """The same without, to find it by."""
    return Field(
        name="ip", column=column, type=str, filter=True, example=example, show=lambda key: str(of_key(key)),
        read=lambda text: key_of(parse_address(text, field="ip")),
    )  # fmt: skip


def _of_networks(source: Any, order: Any) -> Any:
    def fetch(session: Session, ids: Sequence[int]) -> Mapping[int, Any]:
        found: dict[int, list[dict[str, Any]]] = {}
        for one in session.execute(select(source).where(source.c.network_id.in_(ids)).order_by(order)).all():
            found.setdefault(one.network_id, []).append(_told(one))
        return found

    return fetch


def _preferred(session: Session, ids: Sequence[int]) -> Mapping[int, Any]:
    found = _of_networks(routers, routers.c.pref)(session, ids)
    return {
        key: standing[0]
        for key, several in found.items()
        if (standing := [one for one in several if one["standing"] != NEW])
    }


def _likely(table: Any, name: str) -> Later:
    """What a field will be when drafts are committed: what `crowbar export` carries."""

    def fetch(session: Session, ids: Sequence[int]) -> Mapping[int, Any]:
        return {row.id: proposed(row)[name] for row in session.execute(select(table).where(table.c.id.in_(ids))).all()}

    return Later(name=f"proposed_{name}", type=table.c[name].type.python_type, fetch=fetch)


def _told(one: Any) -> dict[str, Any]:
    told = {str(name): value for name, value in one._mapping.items() if name not in ("network_id", "space")}
    prefix = told.pop("prefix")
    for name in ("first", "last", "address"):
        if name in told:
            told[name] = f"{of_key(told[name])}/{prefix}"
    return told


_PLAIN = (*LAYERS, "mtu", "v6prefix", "v6auto", "v6id", "dhcp", "configure", "pbr")

NETWORKS = Listing(
    noun="network",
    plural="networks",
    source=networks.join(_deployments, _deployments.c.id == networks.c.deployment_id),
    key=networks.c.id,
    name=networks.c.name,
    fields=(
        *fields(networks, "id", "name", "description", filter=("id", "name", "description"), sort=("name",)),
        *fields(networks, "deployment_id", filter=("deployment_id",)),
        field(_deployments.c.name, "deployment", filter=True, example="system"),
        *fields(networks, "category", "group", filter=("category", "group"), sort=("category", "group")),
        *fields(networks, *_PLAIN, filter=_PLAIN),
        *fields(networks, "order", filter=("order",), sort=("order",)),
    ),
    later=(
        *(_likely(networks, name) for name in WAIT),
        Later(
            name="drafts",
            type=list,
            fetch=drafts_of,
            missing=[],
            only_on_request=False,
            help="What was changed and waits to be committed.",
        ),
        Later(name="ranges", type=list, fetch=_of_networks(ranges, ranges.c.first), missing=[], only_on_request=False),
        Later(
            name="routers", type=list, fetch=_of_networks(routers, routers.c.pref), missing=[], only_on_request=False
        ),
        Later(
            name="router", type=dict, fetch=_preferred, only_on_request=False, help="The one that is preferred, if any."
        ),
    ),
)

RANGES = Listing(
    noun="network range",
    plural="network_ranges",
    source=ranges.join(networks, networks.c.id == ranges.c.network_id),
    key=ranges.c.id,
    fields=(
        *fields(ranges, "id", "name", "network_id", filter=("id", "name", "network_id"), sort=("name",)),
        field(networks.c.name, "network", filter=True, example="admin"),
        _cidr(ranges, "first", example="192.168.124.21/24"),
        _cidr(ranges, "last", example="192.168.124.80/24"),
        *fields(ranges, *LAYERS, "overlap", "draft", filter=(*LAYERS, "overlap")),
    ),
    later=tuple(_likely(ranges, name) for name in LAYERS),
)

ROUTERS = Listing(
    noun="network router",
    plural="network_routers",
    source=routers.join(networks, networks.c.id == routers.c.network_id),
    key=routers.c.id,
    fields=(
        *fields(routers, "id", "network_id", filter=("id", "network_id")),
        field(networks.c.name, "network", filter=True, example="admin"),
        _cidr(routers, "address", example="192.168.124.1/24"),
        _ip(routers.c.address, "192.168.124.1"),
        *fields(routers, "pref", filter=("pref",), sort=("pref",)),
        Field(
            name="standing",
            column=routers.c.standing,
            type=str,
            filter=True,
            help="'new' or 'going' while that waits to be committed.",
        ),
        *fields(routers, "draft"),
        Field(
            name="stays",
            column=routers.c.standing != GOING,
            type=bool,
            filter=True,
            help="Not when it is to go with the next commit.",
        ),
    ),
    later=(_likely(routers, "pref"),),
)

ALLOCATIONS = Listing(
    noun="network allocation",
    plural="network_allocations",
    source=allocations.join(networks, networks.c.id == allocations.c.network_id)
    .join(ranges, ranges.c.id == allocations.c.range_id)
    .outerjoin(_nodes, _nodes.c.id == allocations.c.node_id),
    key=allocations.c.id,
    fields=(
        *fields(allocations, "id", "node_id", filter=("id", "node_id")),
        field(_nodes.c.name, "node", filter=True, nullable=True, example="web1.rack2.example.com"),
        *fields(allocations, "network_id", filter=("network_id",)),
        field(networks.c.name, "network", filter=True, example="admin"),
        Field(
            name="network_range_id",
            column=allocations.c.range_id,
            type=int,
            filter=True,
            example=3,
            help="The range that it is of.",
        ),
        field(ranges.c.name, "range", filter=True, example="host"),
        _cidr(allocations, "address", example="192.168.124.81/24"),
        _ip(allocations.c.address, "192.168.124.81"),
        *fields(allocations, "reserved_for", filter=("reserved_for",)),
        Field(
            name="reserved",
            column=allocations.c.node_id.is_(None),
            type=bool,
            filter=True,
            help="Whether somebody reserved it, for no node.",
        ),
    ),
)

DRIFTS = Listing(
    noun="network drift",
    plural="network_drifts",
    source=drifts.join(_nodes, _nodes.c.id == drifts.c.node_id),
    key=drifts.c.node_id,
    name=_nodes.c.name,
    fields=(
        field(drifts.c.node_id, "id", help="The node's."),
        field(_nodes.c.name, "node", filter=True, sort=True, example="web1.rack2.example.com"),
        *fields(drifts, "seen_at", sort=("seen_at",)),
        Field(name="said", column=drifts.c.said, type=list, help="What is not as the node's networks want it."),
        Field(name="problem", column=drifts.c.problem, type=str, help="Why nobody could look."),
        Field(name="proposed", column=drifts.c.proposed, type=dict, help="The repair to be accepted: role, commands."),
    ),
)

INTERFACE_MAPS = Listing(
    noun="interface map",
    plural="interface_maps",
    source=interface_maps,
    key=interface_maps.c.id,
    name=interface_maps.c.pattern,
    fields=(
        *fields(interface_maps, "id", "pattern", filter=("pattern",), sort=("pattern",)),
        Field(
            name="buses",
            column=interface_maps.c.buses,
            type=list,
            show=lambda text: text.split("\n"),
            example=["0000:00:1c", "0000:00:01"],
            help="Beginnings of bus paths, the first card's first.",
        ),
        *fields(interface_maps, "order", sort=("order",)),
    ),
)

CHECKS = Listing(
    noun="network check",
    plural="network_checks",
    source=checks,
    key=checks.c.id,
    newest_first=True,
    fields=fields(
        checks, "id", "state", "networks", "asked_at", "ended_at", "nodes", "pings", "findings", "unheard",
        filter=("state",),
    ),
)  # fmt: skip
