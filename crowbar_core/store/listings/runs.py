"""Runs: what was executed."""

from __future__ import annotations

from typing import Final

from crowbar_core.store.listing import Listing
from crowbar_core.store.listings.fields import field, fields, of_node
from crowbar_core.store.models import (
    Node,
    NodeRole,
    RoleRow,
    Run,
    table,
)

_nodes, _node_roles, _roles, _runs = table(Node), table(NodeRole), table(RoleRow), table(Run)

RUNS: Final = Listing(
    noun="run",
    plural="runs",
    source=_runs.join(_node_roles, _node_roles.c.id == _runs.c.node_role_id)
    .join(_nodes, _nodes.c.id == _runs.c.node_id)
    .join(_roles, _roles.c.id == _node_roles.c.role_id),
    key=_runs.c.id,
    choices=of_node(_nodes.c.id, _nodes.c.name),
    newest_first=True,
    fields=(
        *fields(Run, "id", "node_role_id", "node_id", filter=("node_role_id", "node_id")),
        field(_nodes.c.name, "node", filter=True, example="web1.rack2.example.com"),
        field(_roles.c.name, "role", filter=True, example="web-server"),
        *fields(
            Run,
            "state",
            "refresh",
            "pending",
            "attempt",
            "exit_reason",
            "worker",
            "queued_at",
            "started_at",
            "finished_at",
            "deadline",
            "log_lines",
            filter=("state", "refresh", "pending"),
            sort=("queued_at",),
        ),
    ),
)
