"""Pages of wires: which port of which switch has which card, what the last check found; and the wires of one node."""

from __future__ import annotations

import re
from typing import Any

from flask import Blueprint, Response, request
from sqlalchemy import select
from werkzeug.wrappers import Response as Answer

from crowbar_core import NodeView, Panel, cluster, requires
from crowbar_core.pages import Action, act, fragment, page
from crowbar_network import checking, listening
from crowbar_network.conduits import speed_name
from crowbar_network.pages import WAYS
from crowbar_network.rest_wires import accept, check, wires
from crowbar_network.tables import checks

wire_pages = Blueprint("network_wire_pages", __name__)
_PARTS = re.compile(r"(\d+)")
AT_ONCE = 500
"""Cards on a page."""
ACTIONS = (
    Action(
        label="Check now", url="/network-wires/check", api="POST /api/v2/network_checks {}",
        cli="crowbar networks check",
    ),
    Action(
        label="Accept the wires as they are", url="/network-wires/accept", api="POST /api/v2/network_wires/accept {}",
        cli="crowbar networks accept-wires",
    ),
)  # fmt: skip


@wire_pages.get("/network-wires")
@requires("viewer")
def all_wires() -> Response:
    after = request.args.get("after", 0, type=int)
    with cluster().read() as session:
        last = session.execute(select(checks).order_by(checks.c.id.desc()).limit(1)).first()
        right = checking.accepted(session)
    rows = sorted((_shown(one, right) for one in wires()), key=_place)
    more = max(0, after) + AT_ONCE if len(rows) > max(0, after) + AT_ONCE else 0
    return page(
        "crowbar_network/wires.html", rows=rows[max(0, after) :][:AT_ONCE], more=more, after=after, ways=WAYS,
        actions=ACTIONS, last=last, names=_names(last), count=len(rows),
    )  # fmt: skip


def _place(wire: dict[str, Any]) -> tuple[Any, ...]:
    """By switch and port as people count them, then what is at none."""
    if wire["port"] is None:
        return (1, wire["carrier"])
    return 0, wire["switch"], [part.zfill(8) if part.isdigit() else part for part in _PARTS.split(wire["port"])]


def _names(last: Any) -> dict[str, int]:
    """The nodes that the check speaks of -> their ids."""
    if last is None:
        return {}
    named = {one["node"] for one in (*last.findings, *last.unheard)}
    return {one.name: one.id for one in cluster().nodes() if one.name in named}


def _shown(wire: dict[str, Any], right: dict[str, dict[str, tuple[str, str]]]) -> dict[str, Any]:
    place = right.get(wire["node"], {}).get(wire["mac"])
    elsewhere = place is not None and wire["port"] is not None and place != (wire["chassis"], wire["port"])
    return {**wire, "speed": speed_name(wire["speed"]) if wire["speed"] else "", "elsewhere": elsewhere}


@wire_pages.post("/network-wires/check")
@requires("operator")
def check_now() -> Answer:
    return act(lambda: check(()), "The check is asked for; its result will be here.", "/network-wires")


@wire_pages.post("/network-wires/accept")
@requires("operator")
def accept_now() -> Answer:
    return act(lambda: accept(()), lambda count: f"Wires accepted, of nodes: {count}.", "/network-wires")


# ---------------------------------------------------------------- on a node's page


def _on_node(node: NodeView) -> Any:
    with cluster().read() as session:
        told = listening.told(session, node.id).get(node.id)
    if told is None:
        return None
    rows = [{**one, "speed": speed_name(one["speed"]) if one["speed"] else ""} for one in told]
    return fragment("crowbar_network/_wires.html", rows=rows)


WIRES = Panel(on="node", title="Wires", render=_on_node, order=101)
