"""Frozen views of rows: what hooks, jigs and barclamps' pages are given."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from sqlalchemy.orm import Session

from crowbar_core.barclamp import DeploymentRoleView, DeploymentView, NodeRoleView, NodeView, RunView
from crowbar_core.domain.attributes import masked
from crowbar_core.domain.states import State
from crowbar_core.errors import or_missing
from crowbar_core.plugins import Registry
from crowbar_core.services.data.addresses import claims_for_views, with_addresses
from crowbar_core.services.data.layers import own_trees
from crowbar_core.store import deployment_roles, deployments, node_fields
from crowbar_core.store import views as rows_of
from crowbar_core.store.db import Store


def node_row(session: Session, node_id: int) -> Any:
    """The node's whole row. Raises ``NotFound``."""
    return or_missing(node_fields.row_of(session, node_id), "node", node_id)


def views_of_rows(registry: Registry, session: Session, store: Store, rows: Sequence[Any]) -> dict[int, NodeView]:
    """The views of rows as ``rows_of.node_rows`` has them, by id, with the addresses that the barclamps know."""
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
    return views_of_rows(registry, session, store, rows_of.node_rows(session, store, ids))


def node_view(registry: Registry, session: Session, store: Store, node_id: int) -> NodeView:
    """The view of one node. Raises ``NotFound``."""
    return or_missing(node_views(registry, session, store, [node_id]).get(node_id), "node", node_id)


def node_role_views(
    registry: Registry, session: Session, store: Store, ids: Collection[int]
) -> dict[int, NodeRoleView]:
    """Views of noderoles by id, with their own data (secrets masked) and, for cluster roles, their peers."""
    rows = rows_of.node_role_rows(session, store, ids)
    trees = own_trees(registry, session, store, [row.id for row in rows])
    groups = {(row.role_id, row.deployment_id) for row in rows if row.cluster}
    peers = {group: [one.node_id for one in rows_of.members(session, *group)] for group in groups}
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


def deployment_view(registry: Registry, session: Session, store: Store, deployment_id: int) -> DeploymentView:
    row = rows_of.deployment_row(session, deployment_id)
    ids = deployments.node_roles_of(session, deployment_id)
    return DeploymentView(
        id=row.id, name=row.name, parent=row.parent, system=row.system, committed=row.committed,
        node_roles=tuple(node_role_views(registry, session, store, ids).values()),
    )  # fmt: skip


def deployment_role_view(session: Session, deployment_role_id: int) -> DeploymentRoleView | None:
    row = deployment_roles.row_of(session, deployment_role_id)
    if row is None:
        return None
    return DeploymentRoleView(id=row.id, deployment=row.deployment, role=row.role, data=masked(row.committed_data))


def run_views(session: Session, store: Store, ids: Sequence[int]) -> dict[int, RunView]:
    return {row.id: RunView(**row._asdict()) for row in rows_of.run_rows(session, store, ids)}
