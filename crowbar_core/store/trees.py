"""The tree of deployments: what lies above them, with what they say of roles there, and what lies below."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping
from functools import cache
from typing import Any

from sqlalchemy import CTE, Select, literal, select
from sqlalchemy.orm import Session

from crowbar_core.store.db import Store, ids_named
from crowbar_core.store.models import Deployment, DeploymentRole, table

deployments, deployment_roles = table(Deployment), table(DeploymentRole)


def _above(*, postgresql: bool) -> CTE:
    """(start, id, name, parent_id, depth) of the deployments ``starts`` and of all above each."""
    columns = (deployments.c.id, deployments.c.name, deployments.c.parent_id)
    above = (
        select(deployments.c.id.label("start"), *columns, literal(0).label("depth"))
        .where(ids_named(deployments.c.id, "starts", postgresql=postgresql))
        .cte("above", recursive=True)
    )
    return above.union_all(
        select(above.c.start, *columns, above.c.depth + 1).join(above, deployments.c.id == above.c.parent_id)
    )


@cache
def _chains(*, postgresql: bool) -> Select[Any]:
    above = _above(postgresql=postgresql)
    return select(above.c.start, above.c.id, above.c.name).order_by(above.c.start, above.c.depth)


@cache
def _said(*, postgresql: bool) -> Select[Any]:
    above = _above(postgresql=postgresql)
    return (
        select(
            above.c.start, above.c.name.label("deployment"), deployment_roles.c.id, deployment_roles.c.role_id,
            deployment_roles.c.wall, deployment_roles.c.committed_data,
        )
        .join(deployment_roles, deployment_roles.c.deployment_id == above.c.id)
        .where(ids_named(deployment_roles.c.role_id, "role_ids", postgresql=postgresql))
        .order_by(above.c.start, above.c.depth.desc())
    )  # fmt: skip


def chains(session: Session, store: Store, ids: Collection[int]) -> dict[int, list[tuple[int, str]]]:
    """Deployment id -> [(id, name)] from itself up to the root; ids that no deployment has are left out."""
    found: dict[int, list[tuple[int, str]]] = defaultdict(list)
    given = {"starts": store.id_values(set(ids))}
    for row in session.execute(_chains(postgresql=store.postgresql), given):
        found[row.start].append((row.id, row.name))
    return dict(found)


def said_of_roles(
    session: Session, store: Store, deployment_ids: Collection[int], role_ids: Collection[int]
) -> Mapping[tuple[int, int], list[Any]]:
    """(deployment, role) -> what is said of the role there and above, the root's first: (id, deployment, wall,
    committed_data).
    """
    found: dict[tuple[int, int], list[Any]] = defaultdict(list)
    given = {"starts": store.id_values(set(deployment_ids)), "role_ids": store.id_values(set(role_ids))}
    for row in session.execute(_said(postgresql=store.postgresql), given):
        found[row.start, row.role_id].append(row)
    return found


def subtree(session: Session, deployment_id: int) -> set[int]:
    """The deployment and all below it."""
    below = select(deployments.c.id).where(deployments.c.id == deployment_id).cte("below", recursive=True)
    below = below.union(select(deployments.c.id).join(below, deployments.c.parent_id == below.c.id))
    return set(session.scalars(select(below.c.id)))
