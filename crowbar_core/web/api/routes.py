"""The two blueprints that the API's modules add their routes to, and whose node a path is about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Blueprint

from crowbar_core.store import bindings, runs
from crowbar_core.store import listing as lists
from crowbar_core.web.api.nouns import NODE_ROLES, NODES, RUNS
from crowbar_core.web.auth import parts

v2 = Blueprint("api", __name__, url_prefix="/api/v2")
outside = Blueprint("outside", __name__)


def owner_of(path: Mapping[str, Any]) -> int | None:
    """The id of the node that a path with ``<node>``, ``<node_role>`` or ``<run>`` is about. Raises ``NotFound``."""
    with parts().store.read() as session:
        if "node" in path:
            return lists.find_id(session, NODES, path["node"])
        if "node_role" in path:
            return bindings.node_of(session, lists.find_id(session, NODE_ROLES, path["node_role"]))
        if "run" in path:
            return runs.node_of(session, lists.find_id(session, RUNS, path["run"]))
    return None
