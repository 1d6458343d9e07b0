"""A page and a route of the API that show the members."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, jsonify, render_template
from flask.typing import ResponseReturnValue

from crowbar_core import Json, NodeView, Panel, cluster, requires

pages = Blueprint("example", __name__, template_folder="templates")


@pages.get("/example")
@requires("viewer")
def members_page() -> ResponseReturnValue:
    return render_template("crowbar_example/members.html", members=members())


@pages.get("/api/v2/example/members")
@requires("viewer")
def members_list() -> ResponseReturnValue:
    return jsonify(members())


def members() -> list[dict[str, Any]]:
    """The members as they stand now."""
    return [
        {
            "name": one.node.name,
            "deployment": one.deployment,
            "state": one.state,
            "kernel": one.data["example"].get("kernel"),
            "knows": [member["name"] for member in one.data["example"]["members"]],
        }
        for one in sorted(cluster().node_roles(role="example-hello"), key=lambda one: one.node.name)
    ]


def membership(node: NodeView) -> Mapping[str, Json] | None:
    """What a member's own page tells of it; nothing on the pages of others."""
    for one in cluster().node_roles(role="example-hello", node=node.name):
        known = one.data["example"]
        return {"Knows": f"{len(known['members'])} members", "Kernel": known.get("kernel", "not reported yet")}
    return None


MEMBERSHIP = Panel(on="node", title="Membership", render=membership)
