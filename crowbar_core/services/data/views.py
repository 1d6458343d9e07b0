"""Frozen views of rows: what hooks, jigs and barclamps' pages are given."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from crowbar_core.barclamp import DeploymentRoleView, DeploymentView, NodeRoleView, NodeView, RunView
from crowbar_core.domain.attributes import masked
from crowbar_core.domain.states import PROPOSED, State
from crowbar_core.errors import NotFound
from crowbar_core.plugins import Registry
from crowbar_core.services.data.addresses import claims_for_views, with_addresses
from crowbar_core.services.data.layers import own_trees
from crowbar_core.store.db import Store
from crowbar_core.store.models import Deployment, DeploymentRole, Node, NodeRole, RoleRow, Run, table

nodes, node_roles, roles, runs = table(Node), table(NodeRole), table(RoleRow), table(Run)
deployments, deployment_roles = table(Deployment), table(DeploymentRole)


def _node_select() -> Select[Any]:
    return select(
        nodes.c.id, nodes.c.name, nodes.c.admin, nodes.c.system, nodes.c.alive, nodes.c.available, nodes.c.bootenv,
        nodes.c.served_bootenv,
        nodes.c.discovery, nodes.c.hint, nodes.c.host_keys, deployments.c.name.label("deployment"),
    ).join(deployments, deployments.c.id == nodes.c.deployment_id)  # fmt: skip


def node_row(session: Session, node_id: int) -> Any:
    """The node's whole row. Raises ``NotFound``."""
    row = session.execute(select(nodes).where(nodes.c.id == node_id)).one_or_none()
    if row is None:
        raise NotFound(f"There is no node {node_id}.")
    return row


def views_of_rows(registry: Registry, session: Session, store: Store, rows: Sequence[Any]) -> dict[int, NodeView]:
    """The views of rows with ``_node_select``'s columns, by id, with the addresses that the barclamps know."""
    claims = claims_for_views(registry, session, store, [row.id for row in rows])
    return with_addresses(registry, session, [_bare(row) for row in rows], claims)


def _bare(row: Any) -> NodeView:
    return NodeView(
        id=row.id, name=row.name, admin=row.admin, system=row.system, alive=row.alive, available=row.available,
        bootenv=row.bootenv, served_bootenv=row.served_bootenv, deployment=row.deployment,
        host_keys=tuple(row.host_keys), discovery=masked(row.discovery), hint=masked(row.hint),
    )  # fmt: skip


def node_views(
    registry: Registry, session: Session, store: Store, ids: Collection[int] | None = None
) -> dict[int, NodeView]:
    """Views of nodes by id (all of them when ``ids`` is None), in order of their names."""
    statement = _node_select().order_by(nodes.c.name)
    if ids is not None:
        statement = statement.where(store.ids(nodes.c.id, ids))
    return views_of_rows(registry, session, store, session.execute(statement).all())


def node_role_views(
    registry: Registry, session: Session, store: Store, ids: Collection[int]
) -> dict[int, NodeRoleView]:
    """Views of noderoles by id, with their own data (secrets masked) and, for cluster roles, their peers."""
    rows = session.execute(
        select(
            node_roles.c.id, node_roles.c.node_id, node_roles.c.state, node_roles.c.cohort, node_roles.c.run_count,
            node_roles.c.status, node_roles.c.wall, node_roles.c.deployment_id, node_roles.c.role_id,
            roles.c.name.label("role"), roles.c.cluster, deployments.c.name.label("deployment"),
        )
        .join(roles, roles.c.id == node_roles.c.role_id)
        .join(deployments, deployments.c.id == node_roles.c.deployment_id)
        .where(store.ids(node_roles.c.id, ids))
        .order_by(node_roles.c.cohort, node_roles.c.id)
    ).all()  # fmt: skip
    trees = own_trees(registry, session, store, [row.id for row in rows])
    peers = _peers(session, {(row.role_id, row.deployment_id) for row in rows if row.cluster})
    node_ids = {row.node_id for row in rows} | {node for group in peers.values() for node in group}
    by_id = node_views(registry, session, store, node_ids)
    shown = {
        group: tuple(sorted((by_id[node] for node in those), key=lambda one: one.name))
        for group, those in peers.items()
    }
    return {
        row.id: NodeRoleView(
            id=row.id, node=by_id[row.node_id], role=row.role, deployment=row.deployment, state=State(row.state).name,
            cohort=row.cohort, run_count=row.run_count, status=row.status, data=masked(trees.get(row.id, {})),
            wall=masked(row.wall),
            peers=shown.get((row.role_id, row.deployment_id), ()),
        )
        for row in rows
    }  # fmt: skip


def _peers(session: Session, groups: Collection[tuple[int, int]]) -> dict[tuple[int, int], list[int]]:
    found: dict[tuple[int, int], list[int]] = defaultdict(list)
    for role_id, deployment_id in groups:
        found[role_id, deployment_id] = list(
            session.scalars(
                select(node_roles.c.node_id).where(
                    node_roles.c.role_id == role_id,
                    node_roles.c.deployment_id == deployment_id,
                    node_roles.c.state != int(PROPOSED),
                )
            )
        )
    return found


def deployment_view(registry: Registry, session: Session, store: Store, deployment_id: int) -> DeploymentView:
    parent = deployments.alias()
    row = session.execute(
        select(deployments, parent.c.name.label("parent"))
        .outerjoin(parent, parent.c.id == deployments.c.parent_id)
        .where(deployments.c.id == deployment_id)
    ).one()
    ids = session.scalars(select(node_roles.c.id).where(node_roles.c.deployment_id == deployment_id)).all()
    return DeploymentView(
        id=row.id, name=row.name, parent=row.parent, system=row.system, committed=row.committed,
        node_roles=tuple(node_role_views(registry, session, store, ids).values()),
    )  # fmt: skip


def deployment_role_view(session: Session, deployment_role_id: int) -> DeploymentRoleView | None:
    row = session.execute(
        select(
            deployment_roles.c.id, deployment_roles.c.committed_data,
            deployments.c.name.label("deployment"), roles.c.name.label("role"),
        )
        .join(deployments, deployments.c.id == deployment_roles.c.deployment_id)
        .join(roles, roles.c.id == deployment_roles.c.role_id)
        .where(deployment_roles.c.id == deployment_role_id)
    ).one_or_none()  # fmt: skip
    if row is None:
        return None
    return DeploymentRoleView(id=row.id, deployment=row.deployment, role=row.role, data=masked(row.committed_data))


def run_views(session: Session, store: Store, ids: Sequence[int]) -> dict[int, RunView]:
    rows = session.execute(
        select(
            runs.c.id, runs.c.node_role_id, runs.c.state, runs.c.attempt, runs.c.teardown,
            (runs.c.refresh & ~runs.c.teardown).label("refresh"), runs.c.exit_reason,
            nodes.c.name.label("node"), roles.c.name.label("role"),
        )
        .join(nodes, nodes.c.id == runs.c.node_id)
        .join(node_roles, node_roles.c.id == runs.c.node_role_id)
        .join(roles, roles.c.id == node_roles.c.role_id)
        .where(store.ids(runs.c.id, ids))
    )  # fmt: skip
    return {row.id: RunView(**row._asdict()) for row in rows}
