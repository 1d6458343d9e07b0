"""/api/v2/networks, with their ranges and routers, and interface maps."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from flask import Blueprint
from pydantic import Field

from crowbar_core import cluster
from crowbar_core.rest import (
    DEPLOYMENTS,
    Answer,
    Body,
    Description,
    Query,
    Reference,
    api,
    changing,
    created,
    creating,
    deleting,
    formed,
    found_id,
    given,
    listed,
    reading,
    resolve,
    single,
)
from crowbar_network import drafts, interface_maps, networks, ranges
from crowbar_network.listings import INTERFACE_MAPS, NETWORKS, RANGES, ROUTERS

rest = Blueprint("network_rest", __name__, url_prefix="/api/v2")

NetworkName = Annotated[
    str,
    formed(
        r"[a-z](?:[a-z0-9-]{0,54}[a-z0-9])?",
        "A network's name is a small letter, then small letters, digits and hyphens, 56 at most.",
    ),
]
Word = Annotated[str, formed(r"[a-z][a-z0-9_-]{0,63}", "A word: a small letter, then small letters, digits, - and _.")]
Address = Annotated[str, Field(max_length=64)]
Bounded = Annotated[int, Field(ge=0, le=1_000_000)]
Pattern = Annotated[
    str,
    formed(r"[ -~]{1,200}", "A pattern is 1 to 200 plain characters, such as PowerEdge R7*; * and ? stand for others."),
]


WHO_SERVES = (
    "Who gives addresses over DHCP: own: Crowbar's servers; proxy: others, and Crowbar's tell machines alone what to "
    "boot; none: others, whom Crowbar does not know. '': as dhcp-mode of dhcp-database says."
)
AT_ONCE = "Commit just this at once; else, on nodes that have the network, it is a draft until it is committed."


class Now(Query):
    now: bool = Field(False, description=AT_ONCE)


WhoServes = Annotated[Literal["", "own", "proxy", "none"], Field(description=WHO_SERVES)]


class Layers(Body):
    conduit: Annotated[str, Field(max_length=200)] | None = None
    vlan: Annotated[int, Field(ge=-(2**31), lt=2**31)] | None = None
    use_vlan: bool | None = None
    use_bridge: bool | None = None
    use_team: bool | None = None
    team_mode: Annotated[int, Field(ge=-(2**31), lt=2**31)] | None = None


class NewRange(Layers):
    name: Word
    first: Address
    last: Address
    overlap: bool = False


class NewRangeOf(NewRange):
    network_id: Reference


class ChangedRange(Layers):
    name: Word = ""
    first: Address = ""
    last: Address = ""
    overlap: bool = False
    now: bool = Field(False, description=AT_ONCE)


class NewRouter(Body):
    address: Address
    pref: Bounded = 65536


class NewRouterOf(NewRouter):
    network_id: Reference
    now: bool = Field(False, description=AT_ONCE)


class ChangedRouter(Body):
    pref: Bounded
    now: bool = Field(False, description=AT_ONCE)


class _OfNetwork(Layers):
    name: NetworkName = ""
    description: Description = ""
    deployment_id: Reference = "system"
    category: Word = "unmanaged"
    group: Word = "default"
    mtu: Annotated[int, Field(ge=-(2**31), lt=2**31)] | None = None
    v6prefix: Address | None = None
    v6id: Literal["name", "stable"] = "name"
    dhcp: WhoServes = ""
    configure: bool = True
    pbr: Word | None = None
    order: Bounded = 10_000


class ChangedNetwork(_OfNetwork):
    now: bool = Field(False, description=AT_ONCE)


class NewNetwork(_OfNetwork):
    name: NetworkName
    category: Word
    ranges: list[NewRange] = Field(default_factory=list)
    router: NewRouter | None = None


class NewMap(Body):
    pattern: Pattern
    buses: list[str]
    order: Bounded = 10_000


class ChangedMap(NewMap):
    pattern: Pattern = ""
    buses: list[str] = Field(default_factory=list)


reading(rest, NETWORKS, parameter="network")
reading(rest, RANGES, parameter="network_range")
reading(rest, ROUTERS, parameter="network_router")
reading(rest, INTERFACE_MAPS, parameter="interface_map")


# ---------------------------------------------------------------- networks


@creating(rest, NETWORKS, summary="Make a network, with its ranges and its router", body=NewNetwork)
def create(body: NewNetwork) -> int:
    values = body.model_dump(exclude={"ranges", "router"})
    values["deployment_id"] = resolve(DEPLOYMENTS, body.deployment_id, "deployment_id")
    with cluster().change() as change:
        return networks.create(
            change, values, given_ranges=[one.model_dump() for one in body.ranges],
            given_router=None if body.router is None else body.router.model_dump(),
        )  # fmt: skip


@changing(rest, NETWORKS, parameter="network", summary="Change a network", body=ChangedNetwork)
def change_network(key: int, body: ChangedNetwork) -> None:
    values = _without_now(body)
    if "deployment_id" in values:
        values["deployment_id"] = resolve(DEPLOYMENTS, body.deployment_id, "deployment_id")
    with cluster().change() as change:
        networks.alter(change, key, values, at_once=body.now)


@rest.put("/networks/<network>/commit")
@api(
    permission="operator", summary="Commit what was changed of a network; the nodes that have it run its role again",
    listing=NETWORKS, plans="Commit the drafts of network {network}",
)  # fmt: skip
def commit_network(network: str) -> Answer:
    key = found_id(NETWORKS, network)
    with cluster().change() as change:
        drafts.commit(change, key)
    return single(NETWORKS, key)


@rest.put("/networks/<network>/discard")
@api(permission="operator", summary="Throw away what was changed of a network and waits", listing=NETWORKS)
def discard_network(network: str) -> Answer:
    key = found_id(NETWORKS, network)
    with cluster().change() as change:
        drafts.discard(change, key)
    return single(NETWORKS, key)


@deleting(
    rest, NETWORKS, parameter="network", summary="Remove a network",
    asks="Its ranges, its router and its role go with it; a network of which somebody has an address does not go.",
)  # fmt: skip
def remove_network(key: int) -> None:
    with cluster().change() as change:
        networks.remove(change, key)


# ---------------------------------------------------------------- ranges


@rest.get("/networks/<network>/network_ranges")
@api(permission="viewer", summary="The ranges of a network", listing=RANGES, many=True)
def ranges_of(network: str) -> Answer:
    return listed(RANGES, filters={"network_id": str(found_id(NETWORKS, network))})


@rest.post("/networks/<network>/network_ranges")
@api(permission="operator", summary="Add a range to a network", body=NewRange, listing=RANGES, status=201)
def add_range(network: str, body: NewRange) -> Answer:
    return created(RANGES, _new_range(found_id(NETWORKS, network), body))


@creating(rest, RANGES, summary="Add a range to the network that it names", body=NewRangeOf)
def create_range(body: NewRangeOf) -> int:
    return _new_range(resolve(NETWORKS, body.network_id, "network_id"), body)


def _new_range(network: int, body: NewRange) -> int:
    with cluster().change() as change:
        return ranges.add_range(change, network, body.model_dump(exclude={"network_id"}))


@changing(rest, RANGES, parameter="network_range", summary="Change a range", body=ChangedRange)
def change_range(key: int, body: ChangedRange) -> None:
    with cluster().change() as change:
        ranges.alter_range(change, key, _without_now(body), at_once=body.now)


@deleting(
    rest, RANGES, parameter="network_range", summary="Remove a range",
    asks="A range of which somebody has an address does not go.",
)  # fmt: skip
def remove_range(key: int) -> None:
    with cluster().change() as change:
        ranges.remove_range(change, key)


# ---------------------------------------------------------------- routers


@rest.get("/networks/<network>/network_routers")
@api(permission="viewer", summary="The routers of a network", listing=ROUTERS, many=True)
def routers_of(network: str) -> Answer:
    return listed(ROUTERS, filters={"network_id": str(found_id(NETWORKS, network))})


@rest.post("/networks/<network>/network_routers")
@api(permission="operator", summary="Add a router to a network", body=NewRouter, listing=ROUTERS, status=201)
def add_router(network: str, body: NewRouter) -> Answer:
    return created(ROUTERS, _new_router(found_id(NETWORKS, network), body))


@creating(rest, ROUTERS, summary="Add a router to the network that it names", body=NewRouterOf)
def create_router(body: NewRouterOf) -> int:
    return _new_router(resolve(NETWORKS, body.network_id, "network_id"), body, at_once=body.now)


def _new_router(network: int, body: NewRouter, *, at_once: bool = False) -> int:
    with cluster().change() as change:
        return ranges.add_router(change, network, {"address": body.address, "pref": body.pref}, at_once=at_once)


@changing(rest, ROUTERS, parameter="network_router", summary="Change a router's preference", body=ChangedRouter)
def change_router(key: int, body: ChangedRouter) -> None:
    with cluster().change() as change:
        ranges.alter_router(change, key, body.pref, at_once=body.now)


@deleting(
    rest, ROUTERS, parameter="network_router", summary="Remove a router", query=Now,
    asks="Nodes that have the network keep it until that is committed.",
)  # fmt: skip
def remove_router(key: int, query: Now) -> None:
    with cluster().change() as change:
        ranges.remove_router(change, key, at_once=query.now)


def _without_now(body: Body) -> dict[str, Any]:
    return {name: value for name, value in given(body).items() if name != "now"}


# ---------------------------------------------------------------- interface maps


@creating(
    rest, INTERFACE_MAPS, summary="Say in which order a kind of machine has its buses", body=NewMap,
    plans="Make an interface map for {pattern}",
)  # fmt: skip
def create_map(body: NewMap) -> int:
    with cluster().change() as change:
        return interface_maps.create(change, body.model_dump())


@changing(
    rest, INTERFACE_MAPS, parameter="interface_map", summary="Change an interface map", body=ChangedMap,
    plans="Change interface map {interface_map}",
)  # fmt: skip
def change_map(key: int, body: ChangedMap) -> None:
    with cluster().change() as change:
        interface_maps.alter(change, key, given(body))


@deleting(
    rest, INTERFACE_MAPS, parameter="interface_map", summary="Remove an interface map",
    plans="Remove interface map {interface_map}",
    asks="Nodes whose conduits then mean other cards set up their networks again.",
)  # fmt: skip
def remove_map(key: int) -> None:
    with cluster().change() as change:
        interface_maps.remove(change, key)
