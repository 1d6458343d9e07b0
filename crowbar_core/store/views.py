"""The rows that views of nodes, noderoles, deployments and runs are made of."""

from __future__ import annotations

from collections.abc import Collection
from functools import cache
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from crowbar_core.domain.states import PROPOSED
from crowbar_core.store.db import Store, ids_named
from crowbar_core.store.models import Deployment, DeploymentRole, Node, NodeRole, RoleRow, Run, table

nodes, node_roles, roles, runs = table(Node), table(NodeRole), table(RoleRow), table(Run)
deployments, deployment_roles = table(Deployment), table(DeploymentRole)


def node_rows(session: Session, store: Store, ids: Collection[int] | None) -> list[Any]:
    """Nodes by name, each with its ``deployment``'s name; all of them when ``ids`` is None."""
    if ids is None:
        return list(session.execute(_NODES).all())
    return list(session.execute(_nodes_among(store.postgresql), {"ids": store.id_values(ids)}).all())


_NODES = (
    select(
        nodes.c.id, nodes.c.name, nodes.c.admin, nodes.c.system, nodes.c.alive, nodes.c.available,
        nodes.c.bootenv, nodes.c.served_bootenv, nodes.c.discovery, nodes.c.hint, nodes.c.host_keys,
        deployments.c.name.label("deployment"),
    )
    .join(deployments, deployments.c.id == nodes.c.deployment_id)
    .order_by(nodes.c.name)
)  # fmt: skip


@cache
def _nodes_among(postgresql: bool) -> Select[Any]:
    """Built once: each run that begins asks it."""
    return _NODES.where(ids_named(nodes.c.id, "ids", postgresql=postgresql))


def node_role_rows(session: Session, store: Store, ids: Collection[int]) -> list[Any]:
    """Noderoles by cohort, each with its ``role``, whether that is of a ``cluster``, and its ``deployment``."""
    return list(
        session.execute(
            select(
                node_roles.c.id, node_roles.c.node_id, node_roles.c.state, node_roles.c.cohort, node_roles.c.run_count,
                node_roles.c.status, node_roles.c.wall, node_roles.c.deployment_id, node_roles.c.role_id,
                roles.c.name.label("role"), roles.c.cluster, deployments.c.name.label("deployment"),
            )
            .join(roles, roles.c.id == node_roles.c.role_id)
            .join(deployments, deployments.c.id == node_roles.c.deployment_id)
            .where(store.ids(node_roles.c.id, ids))
            .order_by(node_roles.c.cohort, node_roles.c.id)
        ).all()
    )  # fmt: skip


def node_role_ids(session: Session, *, role: str | None, node: str | None) -> list[int]:
    """The noderoles of a role, on a node, or both; of neither: all."""
    statement = (
        select(node_roles.c.id)
        .join(roles, roles.c.id == node_roles.c.role_id)
        .join(nodes, nodes.c.id == node_roles.c.node_id)
    )
    if role is not None:
        statement = statement.where(roles.c.name == role)
    if node is not None:
        statement = statement.where(nodes.c.name == node.lower())
    return list(session.scalars(statement))


def members(session: Session, role_id: int, deployment_id: int) -> list[Any]:
    """The committed noderoles of a role in a deployment: (id, node_id)."""
    return list(
        session.execute(
            select(node_roles.c.id, node_roles.c.node_id).where(
                node_roles.c.role_id == role_id,
                node_roles.c.deployment_id == deployment_id,
                node_roles.c.state != int(PROPOSED),
            )
        ).all()
    )


def clusters(session: Session, store: Store, ids: Collection[int]) -> set[tuple[int, int]]:
    """(role, deployment) of those of these noderoles whose roles make up clusters."""
    rows = session.execute(
        select(node_roles.c.role_id, node_roles.c.deployment_id)
        .join(roles, roles.c.id == node_roles.c.role_id)
        .where(store.ids(node_roles.c.id, ids), roles.c.cluster)
        .distinct()
    )
    return {(row.role_id, row.deployment_id) for row in rows}


def deployment_row(session: Session, deployment_id: int) -> Any:
    """Its whole row, with the name of its ``parent``."""
    parent = deployments.alias()
    return session.execute(
        select(deployments, parent.c.name.label("parent"))
        .outerjoin(parent, parent.c.id == deployments.c.parent_id)
        .where(deployments.c.id == deployment_id)
    ).one()


def run_rows(session: Session, store: Store, ids: Collection[int]) -> list[Any]:
    """Runs as ``RunView`` has them."""
    return list(
        session.execute(
            select(
                runs.c.id, runs.c.node_role_id, runs.c.state, runs.c.attempt, runs.c.teardown,
                (runs.c.refresh & ~runs.c.teardown).label("refresh"), runs.c.exit_reason,
                nodes.c.name.label("node"), roles.c.name.label("role"),
            )
            .join(nodes, nodes.c.id == runs.c.node_id)
            .join(node_roles, node_roles.c.id == runs.c.node_role_id)
            .join(roles, roles.c.id == node_roles.c.role_id)
            .where(store.ids(runs.c.id, ids))
        ).all()
    )  # fmt: skip
