"""What a plan asks of the rows: what its noderoles are called, how long their runs took lately."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection
from functools import cache
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from crowbar_core.store.db import Store, ids_named
from crowbar_core.store.models import Deployment, Node, NodeRole, RoleRow, Run, table

nodes, node_roles, roles, runs = table(Node), table(NodeRole), table(RoleRow), table(Run)
deployments = table(Deployment)

RECENT_RUNS = 2000
"""From how many of the last runs durations are taken."""


def names(session: Session, store: Store, ids: Collection[int]) -> dict[int, Any]:
    """Noderole -> (id, node, role, destructive, reboots, cohort, deployment)."""
    rows = session.execute(_names(store.postgresql), {"ids": store.id_values(ids)})
    return {row.id: row for row in rows}


@cache
def _names(postgresql: bool) -> Select[Any]:
    return (
        select(
            node_roles.c.id, nodes.c.name.label("node"), roles.c.name.label("role"), roles.c.destructive,
            roles.c.reboots, node_roles.c.cohort, deployments.c.name.label("deployment"),
        )
        .join(nodes, nodes.c.id == node_roles.c.node_id)
        .join(roles, roles.c.id == node_roles.c.role_id)
        .join(deployments, deployments.c.id == node_roles.c.deployment_id)
        .where(ids_named(node_roles.c.id, "ids", postgresql=postgresql))
    )  # fmt: skip


def _recent() -> Select[Any]:
    recent = (
        select(runs.c.node_role_id, runs.c.started_at, runs.c.finished_at)
        .where(runs.c.state == "succeeded", runs.c.started_at.is_not(None))
        .order_by(runs.c.id.desc())
        .limit(RECENT_RUNS)
        .subquery()
    )
    return (
        select(roles.c.name, recent.c.started_at, recent.c.finished_at)
        .join(node_roles, node_roles.c.role_id == roles.c.id)
        .join(recent, recent.c.node_role_id == node_roles.c.id)
    )


_RECENT = _recent()


def durations(session: Session) -> dict[str, float]:
    """Role -> seconds of its last successful runs, on average."""
    took: dict[str, list[float]] = defaultdict(list)
    for role, started, finished in session.execute(_RECENT):
        took[role].append((finished - started).total_seconds())
    return {role: sum(found) / len(found) for role, found in took.items()}
