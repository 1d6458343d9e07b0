"""The two blueprints that the API's modules add their routes to, and whose node a path is about."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Blueprint
from sqlalchemy import select

from crowbar_core.store import listing as lists
from crowbar_core.store.models import NodeRole, Run
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
            key = lists.find_id(session, NODE_ROLES, path["node_role"])
            return session.scalar(select(NodeRole.node_id).where(NodeRole.id == key))
        if "run" in path:
            key = lists.find_id(session, RUNS, path["run"])
            return session.scalar(select(Run.node_id).where(Run.id == key))
    return None
