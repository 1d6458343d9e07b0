"""Pages of nodes and networks: who has what of which network, and which cards each conduit means."""

from __future__ import annotations

from typing import Any

from flask import Blueprint, Response, request
from sqlalchemy import select

from crowbar_core import cluster, requires
from crowbar_core.pages import page
from crowbar_network import resolving
from crowbar_network.addressing import of_key
from crowbar_network.pages import WAYS
from crowbar_network.tables import allocations, networks

overviews = Blueprint("network_overviews", __name__)
AT_ONCE = 100
"""Nodes on a page."""


@overviews.get("/network-map")
@requires("viewer")
def network_map() -> Response:
    with cluster().read() as session:
        machines, more = _page_of(session)
        there = session.execute(
            select(networks.c.id, networks.c.name).order_by(networks.c.order, networks.c.name)
        ).all()
        mine = allocations.c.node_id.in_([one.id for one in machines])
        held: dict[tuple[int, int], list[str]] = {}
        for one in session.execute(select(allocations).where(mine).order_by(allocations.c.address)).all():
            held.setdefault((one.node_id, one.network_id), []).append(str(of_key(one.address)))
    return page(
        "crowbar_network/map.html", machines=machines, networks=there, held=held, more=more, ways=WAYS,
        after=request.args.get("after", ""),
    )  # fmt: skip


@overviews.get("/network-conduits")
@requires("viewer")
def conduits() -> Response:
    with cluster().read() as session:
        machines, more = _page_of(session)
        by = resolving.conduits(session)
        meant = {(one.node_id, one.network_id, one.conduit): one for one in resolving.meant(machines, by)}
    return page(
        "crowbar_network/conduits.html", machines=machines, conduits=by, meant=meant, more=more, ways=WAYS,
        after=request.args.get("after", ""),
    )  # fmt: skip


def _page_of(session: Any) -> tuple[list[resolving.Machine], str]:
    """Nodes, and the last of them if there are more."""
    found = resolving.machines(session, after=request.args.get("after", ""), limit=AT_ONCE + 1)
    return found[:AT_ONCE], found[AT_ONCE - 1].key if len(found) > AT_ONCE else ""
