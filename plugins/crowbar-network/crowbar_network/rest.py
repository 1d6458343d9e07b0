"""/api/v2/networks, with their ranges, routers and allocations."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from flask import Blueprint
from pydantic import Field

from crowbar_core import NotFound, Refused, cluster
from crowbar_core.rest import (
    DEPLOYMENTS,
    NODES,
    Answer,
    Body,
    Description,
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
    to_change,
)
from crowbar_network import allocating, networks
from crowbar_network.listings import ALLOCATIONS, NETWORKS, RANGES, ROUTERS

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


class Layers(Body):
    conduit: Annotated[str, Field(max_length=200)] | None = None
    vlan: int | None = None
    use_vlan: bool | None = None
    use_bridge: bool | None = None
    use_team: bool | None = None
    team_mode: int | None = None


class NewRange(Layers):
    name: Word
    first: Address
    last: Address
    overlap: bool = False


class NewRouter(Body):
    address: Address
    pref: Bounded = 65536


class ChangedNetwork(Layers):
    name: NetworkName = ""
    description: Description = ""
    deployment_id: Reference = "system"
    category: Word = "unmanaged"
    group: Word = "default"
    mtu: int | None = None
    v6prefix: Address | None = None
    v6id: Literal["name", "stable"] = "name"
    configure: bool = True
    pbr: Word | None = None
    order: Bounded = 10_000


class NewNetwork(ChangedNetwork):
    name: NetworkName
    category: Word
    ranges: list[NewRange] = Field(default_factory=list)
    router: NewRouter | None = None


reading(rest, NETWORKS, parameter="network")
reading(rest, RANGES, parameter="network_range")
reading(rest, ROUTERS, parameter="network_router")
reading(rest, ALLOCATIONS, parameter="network_allocation")


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
    values = given(body)
    if "deployment_id" in values:
        values["deployment_id"] = resolve(DEPLOYMENTS, body.deployment_id, "deployment_id")
    with cluster().change() as change:
        networks.alter(change, key, values)


@deleting(
    rest, NETWORKS, parameter="network", summary="Remove a network",
    asks="Its ranges, its router and its role go with it; a network of which somebody has an address does not go.",
)  # fmt: skip
def remove_network(key: int) -> None:
    with cluster().change() as change:
        networks.remove(change, key)


# ---------------------------------------------------------------- ranges and routers


@rest.get("/networks/<network>/network_ranges")
@api(permission="viewer", summary="The ranges of a network", listing=RANGES, many=True)
def ranges_of(network: str) -> Answer:
    return listed(RANGES, filters={"network_id": str(found_id(NETWORKS, network))})


@rest.post("/networks/<network>/network_ranges")
@api(permission="operator", summary="Add a range to a network", body=NewRange, listing=RANGES, status=201)
def add_range(network: str, body: NewRange) -> Answer:
    with cluster().change() as change:
        key = networks.add_range(change, found_id(NETWORKS, network), body.model_dump())
    return created(RANGES, key)


class ChangedRange(Body):
    first: Address
    last: Address


@rest.put("/network_ranges/<network_range>")
@api(permission="operator", summary="Make a range longer or shorter", body=ChangedRange, takes_match=True)
def resize(network_range: str, body: ChangedRange) -> None:
    key = to_change(RANGES, network_range)
    with cluster().change() as change:
        networks.resize(change, key, body.first, body.last)


@deleting(rest, RANGES, parameter="network_range", summary="Remove a range")
def remove_range(key: int) -> None:
    with cluster().change() as change:
        networks.remove_range(change, key)


@rest.post("/networks/<network>/network_routers")
@api(permission="operator", summary="Add a router to a network", body=NewRouter, listing=ROUTERS, status=201)
def add_router(network: str, body: NewRouter) -> Answer:
    with cluster().change() as change:
        key = networks.add_router(change, found_id(NETWORKS, network), body.model_dump())
    return created(ROUTERS, key)


@deleting(rest, ROUTERS, parameter="network_router", summary="Remove a router")
def remove_router(key: int) -> None:
    with cluster().change() as change:
        networks.remove_router(change, key)


# ---------------------------------------------------------------- allocations


class Asked(Body):
    node: Reference | None = None
    address: Address | None = None
    reserved_for: Description = ""


@rest.get("/networks/<network>/network_allocations")
@api(permission="viewer", summary="The allocations of a network", listing=ALLOCATIONS, many=True)
def allocations_of(network: str) -> Answer:
    return listed(ALLOCATIONS, filters={"network_id": str(found_id(NETWORKS, network))})


@rest.post("/networks/<network>/allocate_ip")
@api(
    permission="operator", summary="Give a node addresses of a network, or reserve one", body=Asked, returns=list[Any],
    status=201,
)  # fmt: skip
def allocate(network: str, body: Asked) -> list[dict[str, Any]]:
    key = found_id(NETWORKS, network)
    node = None if body.node is None else cluster().node(_name_of(body.node))
    with cluster().change() as change:
        row = networks.row(change.session, key)
        if body.address is not None:
            found = [
                allocating.take(
                    change.session, row, body.address, node_id=None if node is None else node.id,
                    reserved_for=body.reserved_for,
                )
            ]  # fmt: skip
        elif node is not None:
            found = list(allocating.allocate(change.session, row, node))
        else:
            raise Refused("Say for which node, or which address is to be reserved.")
        for one in found:
            change.audit("network.allocate", f"network {row.name}", address=one.address)
    return [{"id": one.id, "address": one.address, "how": one.how} for one in found]


@deleting(rest, ALLOCATIONS, parameter="network_allocation", summary="Give an address back")
def release(key: int) -> None:
    with cluster().change() as change:
        gone = allocating.release(change.session, key)
        change.audit("network.release", f"network {networks.row(change.session, gone.network_id).name}",
                     address=gone.address)  # fmt: skip


def _name_of(reference: int | str) -> str:
    key = resolve(NODES, reference, "node")
    found = next((one.name for one in cluster().nodes() if one.id == key), None)
    if found is None:
        raise NotFound(f"There is no node {reference}.")
    return found
