"""What is bound to nodes and runs on them, each question for many nodes in one statement."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import delete, exists, or_, select
from sqlalchemy.orm import Session

from crowbar_core.domain.states import ACTIVE, ERROR, PROPOSED
from crowbar_core.store.db import Store
from crowbar_core.store.models import Edge, HammerRow, Node, NodeRole, RoleRow, Run, table

nodes, node_roles, roles, edges, runs = table(Node), table(NodeRole), table(RoleRow), table(Edge), table(Run)
hammers = table(HammerRow)


def open_runs(session: Session, store: Store, node_ids: Collection[int]) -> list[Any]:
    """The open runs on these nodes: (id, node_id, node_role_id, role, state, teardown)."""
    role = roles.c.name.label("role")
    return list(
        session.execute(
            select(runs.c.id, runs.c.node_id, runs.c.node_role_id, role, runs.c.state, runs.c.teardown)
            .join(node_roles, node_roles.c.id == runs.c.node_role_id)
            .join(roles, roles.c.id == node_roles.c.role_id)
            .where(store.ids(runs.c.node_id, node_ids), runs.c.finished_at.is_(None))
            .order_by(runs.c.id)
        ).all()
    )


def movable(session: Session, store: Store, node_ids: Collection[int], deployment_id: int) -> list[Any]:
    """Noderoles on these nodes in this deployment, PROPOSED, that never ran and on which nothing committed depends:
    (id, node_id, role), parents first.
    """
    child = node_roles.alias()
    held = (
        select(edges.c.parent_id)
        .join(child, child.c.id == edges.c.child_id)
        .where(child.c.state != int(PROPOSED))
        .scalar_subquery()
    )
    return list(
        session.execute(
            select(node_roles.c.id, node_roles.c.node_id, roles.c.name.label("role"))
            .join(roles, roles.c.id == node_roles.c.role_id)
            .where(
                store.ids(node_roles.c.node_id, node_ids), node_roles.c.deployment_id == deployment_id,
                node_roles.c.state == int(PROPOSED), node_roles.c.run_count == 0, node_roles.c.id.not_in(held),
            )
            .order_by(node_roles.c.id)
        ).all()
    )  # fmt: skip


def dependants_elsewhere(session: Session, store: Store, node_ids: Collection[int], *, most: int = 5) -> list[Any]:
    """Noderoles on other nodes that depend on what is committed on these, have run, and have no other peer of that
    elsewhere: (parent's node id, node, role). A cluster survives the loss of a member.
    """
    child, other_edge, other = node_roles.alias(), edges.alias(), node_roles.alias()
    has_other_peer = (
        select(other_edge.c.parent_id)
        .join(other, other.c.id == other_edge.c.parent_id)
        .where(
            other_edge.c.child_id == child.c.id,
            other.c.role_id == node_roles.c.role_id,
            ~store.ids(other.c.node_id, node_ids),
        )
        .correlate(child, node_roles)
        .exists()
    )
    return list(
        session.execute(
            select(node_roles.c.node_id.label("on"), nodes.c.name.label("node"), roles.c.name.label("role"))
            .select_from(edges)
            .join(node_roles, node_roles.c.id == edges.c.parent_id)
            .join(child, child.c.id == edges.c.child_id)
            .join(nodes, nodes.c.id == child.c.node_id)
            .join(roles, roles.c.id == child.c.role_id)
            .where(
                store.ids(node_roles.c.node_id, node_ids), ~store.ids(child.c.node_id, node_ids),
                child.c.run_count > 0, edges.c.kind == "data", node_roles.c.committed, ~has_other_peer,
            )
            .order_by(node_roles.c.node_id, nodes.c.name_key, roles.c.name_key)
            .limit(most)
        ).all()
    )  # fmt: skip


def idle_savers(session: Session) -> list[Any]:
    """Nodes that live and can be powered, no admin node among them, on which a ``powersave`` role is ACTIVE and nothing
    more waits: (id, name, hint).
    """
    waiting, saver = node_roles.alias(), node_roles.alias()
    return list(
        session.execute(
            select(nodes.c.id, nodes.c.name, nodes.c.hint)
            .where(
                nodes.c.alive, nodes.c.available, ~nodes.c.system, ~nodes.c.admin,
                exists().where(hammers.c.node_id == nodes.c.id),
                select(saver.c.id)
                .join(roles, roles.c.id == saver.c.role_id)
                .where(saver.c.node_id == nodes.c.id, saver.c.state == int(ACTIVE), roles.c.powersave)
                .exists(),
                ~exists().where(
                    waiting.c.node_id == nodes.c.id,
                    or_(waiting.c.state.not_in([int(ACTIVE), int(PROPOSED), int(ERROR)]), waiting.c.rerun),
                ),
                ~exists().where(runs.c.node_id == nodes.c.id, runs.c.finished_at.is_(None)),
            )
        ).all()
    )  # fmt: skip


def not_proposed(session: Session, node_id: int) -> list[int]:
    """The noderoles on a node that are not PROPOSED."""
    return list(
        session.scalars(
            select(node_roles.c.id)
            .where(node_roles.c.node_id == node_id, node_roles.c.state != int(PROPOSED))
            .order_by(node_roles.c.id)
        )
    )


def forget(session: Session, store: Store, node_ids: Collection[int]) -> None:
    """Delete these nodes; their noderoles have gone before."""
    session.execute(delete(nodes).where(store.ids(nodes.c.id, node_ids)))
