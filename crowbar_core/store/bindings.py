"""What binding and unbinding ask of the graph, each question for many noderoles in one statement."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, func, select
from sqlalchemy.orm import Session

from crowbar_core.domain.graph import Bound, PeerChild
from crowbar_core.domain.states import OPEN_RUN_STATES, PROPOSED
from crowbar_core.store.bulk import insert_rows
from crowbar_core.store.db import Store
from crowbar_core.store.models import Deployment, DeploymentRole, Edge, Node, NodeRole, RoleRow, Run, table

nodes, node_roles, roles, edges, runs = table(Node), table(NodeRole), table(RoleRow), table(Edge), table(Run)
deployments, deployment_roles = table(Deployment), table(DeploymentRole)


def targets(session: Session, store: Store, node_ids: Collection[int]) -> dict[int, Any]:
    """Node id -> (id, name, system, deployment_id); ids that no node has are left out."""
    rows = session.execute(
        select(nodes.c.id, nodes.c.name, nodes.c.system, nodes.c.deployment_id).where(store.ids(nodes.c.id, node_ids))
    )
    return {row.id: row for row in rows}


def system_nodes(session: Session, store: Store, deployment_ids: Collection[int]) -> dict[int, int]:
    """Deployment id -> its system node's id."""
    rows = session.execute(
        select(nodes.c.deployment_id, nodes.c.id).where(
            nodes.c.system, store.ids(nodes.c.deployment_id, deployment_ids)
        )
    )
    return {row.deployment_id: row.id for row in rows}


def role_names(session: Session, role_ids: Collection[int]) -> dict[int, str]:
    """Role id -> its name; ids that no role has are left out."""
    return {row.id: row.name for row in session.execute(_ROLE_NAMES, {"ids": list(role_ids)})}


# Built once: each change that moves noderoles asks it.
_ROLE_NAMES = select(roles.c.id, roles.c.name).where(roles.c.id.in_(bindparam("ids", expanding=True)))


def role_ids(session: Session, names: Collection[str]) -> dict[str, int]:
    """Role name -> its id."""
    rows = session.execute(select(roles.c.name, roles.c.id).where(roles.c.name.in_(names)))
    return {row.name: row.id for row in rows}


def bound(
    session: Session, store: Store, *, node_ids: Collection[int], deployment_ids: Collection[int],
    singles: Collection[str], clusters: Collection[str], elsewhere: bool,
) -> list[Bound]:  # fmt: skip
    """By age: all on these nodes; in these deployments the first of each of ``singles`` (``elsewhere``: and the first
    on other nodes), and all of ``clusters``.
    """
    base = select(
        node_roles.c.id, roles.c.name, node_roles.c.node_id, node_roles.c.deployment_id, node_roles.c.cohort
    ).join(roles, roles.c.id == node_roles.c.role_id)
    first = (
        select(func.min(node_roles.c.id))
        .join(roles, roles.c.id == node_roles.c.role_id)
        .where(store.ids(node_roles.c.deployment_id, deployment_ids), roles.c.name.in_(singles))
        .group_by(node_roles.c.deployment_id, node_roles.c.role_id)
    )
    wheres = [store.ids(node_roles.c.node_id, node_ids), node_roles.c.id.in_(first)]
    if clusters:
        wheres.append(store.ids(node_roles.c.deployment_id, deployment_ids) & roles.c.name.in_(clusters))
    if elsewhere:
        wheres.append(node_roles.c.id.in_(first.where(~store.ids(node_roles.c.node_id, node_ids))))
    found = {row.id: Bound(*row) for where in wheres for row in session.execute(base.where(where))}
    return [found[ref] for ref in sorted(found)]


def sole(session: Session, names: Collection[str]) -> dict[str, str]:
    """Role -> the name of the deployment in which it is bound; those of these that are bound anywhere."""
    rows = session.execute(
        select(roles.c.name, deployments.c.name.label("deployment"))
        .join(node_roles, node_roles.c.role_id == roles.c.id)
        .join(deployments, deployments.c.id == node_roles.c.deployment_id)
        .where(roles.c.name.in_(names))
    )
    return {row.name: row.deployment for row in rows}


def peer_children(
    session: Session, store: Store, deployment_ids: Collection[int], clusters: Collection[str]
) -> dict[tuple[int, str], list[PeerChild]]:
    """(deployment, cluster role) -> the children of its noderoles there."""
    found: dict[tuple[int, str], list[PeerChild]] = defaultdict(list)
    if not clusters:
        return found
    child, child_role = node_roles.alias(), roles.alias()
    rows = session.execute(
        select(
            node_roles.c.deployment_id, roles.c.name, edges.c.child_id, edges.c.kind, child.c.node_id,
            child_role.c.name.label("child_role"),
        )
        .join(node_roles, node_roles.c.id == edges.c.parent_id)
        .join(roles, roles.c.id == node_roles.c.role_id)
        .join(child, child.c.id == edges.c.child_id)
        .join(child_role, child_role.c.id == child.c.role_id)
        .where(roles.c.name.in_(clusters), store.ids(node_roles.c.deployment_id, deployment_ids))
        .distinct()
        .order_by(edges.c.child_id)
    )  # fmt: skip
    for row in rows:
        found[row.deployment_id, row.name].append(PeerChild(row.child_id, row.kind, row.node_id, row.child_role))
    return found


def ensure_deployment_roles(
    session: Session, store: Store, now: datetime, wanted: Collection[tuple[int, int]]
) -> list[int]:
    """Make, empty, those of these (deployment, role) that are not there. Returns the ids of the new ones."""
    there = {
        (row.deployment_id, row.role_id)
        for row in session.execute(
            select(deployment_roles.c.deployment_id, deployment_roles.c.role_id).where(
                store.ids(deployment_roles.c.deployment_id, {deployment for deployment, _ in wanted}),
                store.ids(deployment_roles.c.role_id, {role for _, role in wanted}),
            )
        )
    }
    new = [
        {"deployment_id": deployment, "role_id": role, "created_at": now, "updated_at": now}
        for deployment, role in dict.fromkeys(wanted)
        if (deployment, role) not in there
    ]
    return insert_rows(session, store, deployment_roles, new)


def parents_of(session: Session, store: Store, ids: Collection[int]) -> list[tuple[int, int]]:
    """(parent, child) of every edge that leads to one of these."""
    rows = session.execute(select(edges.c.parent_id, edges.c.child_id).where(store.ids(edges.c.child_id, ids)))
    return [(row.parent_id, row.child_id) for row in rows]


def called(session: Session, store: Store, ids: Collection[int], *, most: int | None = None) -> dict[int, str]:
    """Noderole -> what it is called ("dns-server on node-3"), in order of nodes and roles."""
    rows = session.execute(
        select(node_roles.c.id, roles.c.name.label("role"), nodes.c.name.label("node"))
        .select_from(node_roles)
        .join(roles, roles.c.id == node_roles.c.role_id)
        .join(nodes, nodes.c.id == node_roles.c.node_id)
        .where(store.ids(node_roles.c.id, ids))
        .order_by(nodes.c.name_key, roles.c.name_key)
        .limit(most)
    )
    return {row.id: f"{row.role} on {row.node}" for row in rows}


def node_of(session: Session, node_role_id: int) -> int | None:
    return session.scalar(select(node_roles.c.node_id).where(node_roles.c.id == node_role_id))


def by_role(session: Session) -> list[Any]:
    """(name of a role, a node that it is bound to), of all."""
    return list(
        session.execute(
            select(roles.c.name, node_roles.c.node_id)
            .join(node_roles, node_roles.c.role_id == roles.c.id)
            .order_by(node_roles.c.node_id)
        ).all()
    )


# ---------------------------------------------------------------- unbinding


def homes(session: Session, store: Store, ids: Iterable[int]) -> dict[int, int]:
    """Noderole -> its node, of those that are there."""
    rows = session.execute(select(node_roles.c.id, node_roles.c.node_id).where(store.ids(node_roles.c.id, ids)))
    return {row.id: row.node_id for row in rows}


def dependants(session: Session, store: Store, ids: Collection[int]) -> list[Any]:
    """The children of these that get data from them: (parent_id, id, node_id, has_run, committed, depended_on)."""
    parent = node_roles.alias()
    ran = select(runs.c.id).where(runs.c.node_role_id == node_roles.c.id).correlate(node_roles).exists()
    return list(
        session.execute(
            select(
                edges.c.parent_id, node_roles.c.id, node_roles.c.node_id, node_roles.c.committed,
                ((node_roles.c.run_count > 0) | ran).label("has_run"), parent.c.committed.label("depended_on"),
            )
            .join(edges, edges.c.child_id == node_roles.c.id)
            .join(parent, parent.c.id == edges.c.parent_id)
            .where(store.ids(edges.c.parent_id, ids), edges.c.kind == "data")
        ).all()
    )  # fmt: skip


def by_cohort(session: Session, store: Store, ids: Collection[int]) -> list[int]:
    """The same noderoles, lowest cohort first."""
    return list(
        session.scalars(
            select(node_roles.c.id)
            .where(store.ids(node_roles.c.id, ids))
            .order_by(node_roles.c.cohort, node_roles.c.id)
        )
    )


def open_runs(session: Session, store: Store, ids: Collection[int]) -> list[Any]:
    """The open runs of these noderoles: (id, node_role_id, state, pending, destructive)."""
    return list(
        session.execute(
            select(runs.c.id, runs.c.node_role_id, runs.c.state, runs.c.pending, roles.c.destructive)
            .join(node_roles, node_roles.c.id == runs.c.node_role_id)
            .join(roles, roles.c.id == node_roles.c.role_id)
            .where(store.ids(runs.c.node_role_id, ids), runs.c.state.in_([str(state) for state in OPEN_RUN_STATES]))
            .order_by(runs.c.id)
        ).all()
    )


def wanting(session: Session, store: Store, ids: Collection[int]) -> set[int]:
    """Children that want data of one of these noderoles, so far as both were ever committed."""
    parent = node_roles.alias()
    return set(
        session.scalars(
            select(edges.c.child_id)
            .join(node_roles, node_roles.c.id == edges.c.child_id)
            .join(parent, parent.c.id == edges.c.parent_id)
            .where(store.ids(edges.c.parent_id, ids), edges.c.kind == "data", node_roles.c.state != int(PROPOSED))
            .where(parent.c.committed)
        )
    )


def by_node(session: Session, store: Store, node_ids: Collection[int]) -> Mapping[int, list[int]]:
    """Node -> its noderoles, lowest cohort first."""
    found: dict[int, list[int]] = defaultdict(list)
    for row in session.execute(
        select(node_roles.c.id, node_roles.c.node_id)
        .where(store.ids(node_roles.c.node_id, node_ids))
        .order_by(node_roles.c.cohort, node_roles.c.id)
    ):
        found[row.node_id].append(row.id)
    return found
