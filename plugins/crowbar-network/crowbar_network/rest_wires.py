"""/api/v2/network_checks and network_wires: what cards are plugged into, and whether that is as it is meant."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from flask import Blueprint
from pydantic import Field
from sqlalchemy import select

from crowbar_core import cluster
from crowbar_core.rest import NODES, Body, Query, Reference, api, creating, found_id, reading, resolve
from crowbar_network import checking, listening
from crowbar_network.listings import CHECKS, NETWORKS
from crowbar_network.resolving import machines
from crowbar_network.tables import networks

rest = Blueprint("network_wires_rest", __name__, url_prefix="/api/v2")


class NewCheck(Body):
    networks: list[Reference] = Field(default_factory=list, max_length=1000)


class Whose(Query):
    node: Annotated[str, Field(max_length=255)] | None = None


class Right(Body):
    nodes: list[Reference] = Field(default_factory=list, max_length=10_000)


reading(rest, CHECKS, parameter="network_check")


@creating(rest, CHECKS, summary="Check the wires of networks; what is found is in it once it is done", body=NewCheck)
def create_check(body: NewCheck) -> int:
    return check(body.networks)


def check(references: Iterable[int | str]) -> int:
    """Ask for a check of these networks; of all, if none is named. Raises ``BadInput`` for one that there is not."""
    ids = [resolve(NETWORKS, one, f"networks/{number}") for number, one in enumerate(references)]
    with cluster().change() as change:
        names = change.session.scalars(select(networks.c.name).where(networks.c.id.in_(ids))).all()
        return checking.ask(change, names)


@rest.get("/network_wires")
@api(
    permission="viewer", summary="What each network card is plugged into, as switches announce it", query=Whose,
    returns=list[Any],
)  # fmt: skip
def network_wires(query: Whose) -> list[dict[str, Any]]:
    return wires(None if query.node is None else found_id(NODES, query.node))


def wires(node_id: int | None = None) -> list[dict[str, Any]]:
    """A row for each card of each node that tells of them, by node."""
    with cluster().read() as session:
        told = listening.told(session, node_id)
        there = machines(session, ids=list(told))
    return [{"node_id": one.id, "node": one.name, **_BLANK, **wire} for one in there for wire in told[one.id]]


_BLANK: Mapping[str, Any] = {
    "switch": None,
    "chassis": None,
    "port": None,
    "vlan": None,
    "tagged": [],
    "port_mtu": None,
}


@rest.post("/network_wires/accept")
@api(
    permission="operator", summary="Where cards are plugged in now is right: checks compare with it", body=Right,
    returns=dict[str, int],
)  # fmt: skip
def accept_wires(body: Right) -> dict[str, int]:
    return {"nodes": accept(body.nodes)}


def accept(references: Iterable[int | str]) -> int:
    """Of these nodes, or of all. Raises ``BadInput`` for one that there is not."""
    ids = [resolve(NODES, one, f"nodes/{number}") for number, one in enumerate(references)]
    with cluster().change() as change:
        return checking.accept(change, ids or None)
