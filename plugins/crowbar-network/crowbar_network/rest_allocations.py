"""/api/v2/network_allocations, the ways to get and to give back addresses, under the ancestor's names; and of what
nodes tell: how conduits are resolved, and what has become of their interfaces.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict
from typing import Annotated, Any

from flask import Blueprint
from pydantic import Field

from crowbar_core import NotFound, cluster
from crowbar_core.rest import (
    NODES,
    Answer,
    Body,
    Description,
    Query,
    Reference,
    api,
    changing,
    creating,
    deleting,
    found_id,
    listed,
    reading,
    resolve,
)
from crowbar_network import allocating, drift, releasing, resolving
from crowbar_network.errors import bad
from crowbar_network.hooks import Allocation
from crowbar_network.listings import ALLOCATIONS, DRIFTS, NETWORKS, RANGES
from crowbar_network.tables import ranges
from crowbar_network.telling import node_of, row_of

rest = Blueprint("network_allocations_rest", __name__, url_prefix="/api/v2")

reading(rest, ALLOCATIONS, parameter="network_allocation")


MOST_NODES = 1000


class Asked(Body):
    """``nodes``: as ``node_id``, of many in one change."""

    node_id: Reference | None = None
    nodes: Annotated[list[Reference], Field(max_length=MOST_NODES)] = Field(default_factory=list)
    range: Annotated[str, Field(max_length=64)] | None = None
    suggestion: Annotated[str, Field(max_length=64)] | None = None
    reserved_for: Description = ""


class ChangedAllocation(Body):
    reserved_for: Description


class Reserved(ChangedAllocation):
    network_id: Reference
    address: Annotated[str, Field(max_length=64)]


class GivenBack(Body):
    cidr: Annotated[str, Field(max_length=64)] | None = None
    node_id: Reference | None = None


@rest.get("/networks/<network>/network_allocations")
@api(permission="viewer", summary="The allocations of a network", listing=ALLOCATIONS, many=True)
def allocations_of(network: str) -> Answer:
    return listed(ALLOCATIONS, filters={"network_id": str(found_id(NETWORKS, network))})


@rest.get("/networks/<network>/allocations")
@api(
    permission="viewer", summary="The allocations of a network, by the ancestor's name", listing=ALLOCATIONS, many=True
)
def allocations(network: str) -> Answer:
    return listed(ALLOCATIONS, filters={"network_id": str(found_id(NETWORKS, network))})


@rest.get("/nodes/<node>/network_allocations")
@api(permission="viewer", summary="The addresses that a node was given", listing=ALLOCATIONS, many=True)
def allocations_of_node(node: str) -> Answer:
    return listed(ALLOCATIONS, filters={"node_id": str(found_id(NODES, node))})


@rest.get("/networks/<network>/auto_ranges/<node>")
@api(permission="viewer", summary="The ranges of which a node is given addresses by itself", listing=RANGES, many=True)
def auto_ranges(network: str, node: str) -> Answer:
    key, node_id = found_id(NETWORKS, network), found_id(NODES, node)
    with cluster().read() as session:
        admin = node_of(session, node_id).admin
        mine = [one.id for one in allocating.automatic_ranges_of(session, key, admin=admin)]
    return listed(RANGES, where=(ranges.c.id.in_(mine),))


@rest.post("/networks/<network>/allocate_ip")
@api(
    permission="operator", summary="Give a node addresses of a network, or reserve one", body=Asked, returns=list[Any],
    status=201,
)  # fmt: skip
def allocate_ip(network: str, body: Asked) -> list[dict[str, Any]]:
    return allocated(found_id(NETWORKS, network), body)


@rest.post("/networks/<network>/ip")
@api(permission="operator", summary="The same as allocate_ip", body=Asked, returns=list[Any], status=201)
def ip(network: str, body: Asked) -> list[dict[str, Any]]:
    return allocated(found_id(NETWORKS, network), body)


@rest.delete("/networks/<network>/deallocate_ip")
@api(permission="operator", summary="Give back an address, or all that a node has on a network", body=GivenBack)
def deallocate_ip(network: str, body: GivenBack) -> None:
    deallocated(found_id(NETWORKS, network), body)


@rest.delete("/networks/<network>/ip")
@api(permission="operator", summary="The same as deallocate_ip", body=GivenBack)
def give_back_ip(network: str, body: GivenBack) -> None:
    deallocated(found_id(NETWORKS, network), body)


@creating(rest, ALLOCATIONS, summary="Reserve just this address", body=Reserved)
def reserve(body: Reserved) -> int:
    key = resolve(NETWORKS, body.network_id, "network_id")
    with cluster().change() as change:
        row = row_of(change.session, key)
        return allocating.take(change, row, body.address, reserved_for=body.reserved_for).id


@changing(
    rest, ALLOCATIONS, parameter="network_allocation", summary="Say what an address is reserved for",
    body=ChangedAllocation,
)  # fmt: skip
def change_reservation(key: int, body: ChangedAllocation) -> None:
    with cluster().change() as change:
        allocating.reserve_for(change, key, body.reserved_for)


@deleting(rest, ALLOCATIONS, parameter="network_allocation", summary="Give an address back")
def release(key: int) -> None:
    with cluster().change() as change:
        releasing.release(change, key)


# ---------------------------------------------------------------- what they do


def allocated(key: int, body: Asked) -> list[dict[str, Any]]:
    """Allocate as the body asks: a node's addresses, one of a range, just one, or a reservation. Raises ``BadInput``,
    ``NotFound``, ``Refused``.
    """
    node_id = None if body.node_id is None else resolve(NODES, body.node_id, "node_id")
    if node_id is not None and body.reserved_for:
        raise bad("reserved_for", "An address is for a node (node_id) or reserved for somebody else: leave one out.")
    if body.nodes and (node_id is not None or body.reserved_for or body.suggestion or body.range):
        raise bad("nodes", "Many nodes are given what is theirs by itself: leave everything else out.")
    many = [resolve(NODES, one, f"nodes/{number}") for number, one in enumerate(body.nodes)]
    if body.suggestion is not None and body.range is not None:
        raise bad("range", "The suggestion says of which range it is: leave the range out.")
    with cluster().change() as change:
        row = row_of(change.session, key)
        node = None if node_id is None else node_of(change.session, node_id)
        found: Iterable[Allocation]
        if many:
            views = [node_of(change.session, one) for one in dict.fromkeys(many)]
            found = allocating.allocate_many(change, row, views)
        elif body.suggestion is not None:
            found = [
                allocating.take(
                    change, row, body.suggestion, node=node, reserved_for=body.reserved_for, field="suggestion"
                )
            ]
        elif node is None:
            found = allocating.reserve(change, row, reserved_for=body.reserved_for, range_name=body.range)
        elif body.range is not None:
            found = [allocating.allocate_in(change, row, node, body.range)]
        else:
            found = allocating.allocate(change, row, node)
    return [_told(one) for one in found]


def deallocated(key: int, body: GivenBack) -> None:
    """Give back as the body asks. Raises ``BadInput``, ``NotFound``."""
    node_id = None if body.node_id is None else resolve(NODES, body.node_id, "node_id")
    with cluster().change() as change:
        row = row_of(change.session, key)
        node = None if node_id is None else node_of(change.session, node_id)
        if body.cidr is not None:
            releasing.release_address(change, row, body.cidr, node=node)
        elif node is None:
            raise bad("cidr", "Say which address is given back (cidr), or whose all are (node_id).")
        elif not releasing.release_on(change, key, node, unless_bound=True):
            raise NotFound(f"There is no allocation of node {node.name} on network {row.name}.")


def _told(one: Allocation) -> dict[str, Any]:
    return {
        "id": one.id, "node_id": one.node_id, "node": one.node, "network_id": one.network_id, "network": one.network,
        "network_range_id": one.range_id, "range": one.range, "address": one.address,
        "ip": one.address.partition("/")[0], "reserved_for": one.reserved_for, "how": one.how,
    }  # fmt: skip


# ---------------------------------------------------------------- what has become of interfaces

reading(rest, DRIFTS, parameter="network_drift")


@rest.put("/network_drifts/<network_drift>/accept")
@api(
    permission="operator", summary="Repair the interfaces of a node as it is proposed",
    plans="Repair the interfaces of node {network_drift}",
)  # fmt: skip
def accept_repair(network_drift: str) -> None:
    key = found_id(NODES, network_drift)
    with cluster().change() as change:
        drift.accept(change, key)


# ---------------------------------------------------------------- conduits


class Whose(Query):
    node: Annotated[str, Field(max_length=255)] | None = None


@rest.get("/network_conduits")
@api(
    permission="viewer", summary="How each node resolves each conduit, and why one cannot", query=Whose,
    returns=list[Any],
)  # fmt: skip
def network_conduits(query: Whose) -> list[dict[str, Any]]:
    ids = None if query.node is None else [found_id(NODES, query.node)]
    with cluster().read() as session:
        found = list(resolving.meant(resolving.machines(session, ids=ids), resolving.conduits(session)))
    return [asdict(one) for one in found]


@rest.get("/interfaces")
@api(
    permission="viewer", summary="The network cards that nodes have told of, in the order in which conduits count them",
    query=Whose, returns=list[Any],
)  # fmt: skip
def interfaces(query: Whose) -> list[dict[str, Any]]:
    ids = None if query.node is None else [found_id(NODES, query.node)]
    with cluster().read() as session:
        found = resolving.machines(session, ids=ids)
        said = list(resolving.meant(found, resolving.conduits(session)))
    named: dict[tuple[int, str], list[str]] = {}
    for one in said:
        for nic in one.nics:
            named.setdefault((one.node_id, nic), []).append(one.network)
    return [
        {"node_id": machine.id, "node": machine.name, **asdict(nic), "networks": named.get((machine.id, nic.name), [])}
        for machine in found for nic in machine.nics or ()
    ]  # fmt: skip
