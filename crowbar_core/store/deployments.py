"""Deployments and what is in them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from crowbar_core.store.models import Edge, Node, NodeRole, RoleRow, table

nodes, node_roles, roles, edges = table(Node), table(NodeRole), table(RoleRow), table(Edge)


def vertices(session: Session, deployment_id: int, *, most: int) -> list[Any]:
    """Its noderoles by cohort: (id, state, cohort, node, role)."""
    return list(
        session.execute(
            select(
                node_roles.c.id, node_roles.c.state, node_roles.c.cohort, nodes.c.name.label("node"),
                roles.c.name.label("role"),
            )
            .join(nodes, nodes.c.id == node_roles.c.node_id)
            .join(roles, roles.c.id == node_roles.c.role_id)
            .where(node_roles.c.deployment_id == deployment_id)
            .order_by(node_roles.c.cohort, node_roles.c.id)
            .limit(most)
        ).all()
    )  # fmt: skip


def edges_within(session: Session, deployment_id: int) -> list[Any]:
    """The edges of which both ends are in it: (parent_id, child_id, kind)."""
    parent = node_roles.alias("parent")
    return list(
        session.execute(
            select(edges.c.parent_id, edges.c.child_id, edges.c.kind)
            .join(parent, parent.c.id == edges.c.parent_id)
            .join(node_roles, node_roles.c.id == edges.c.child_id)
            .where(node_roles.c.deployment_id == deployment_id, parent.c.deployment_id == deployment_id)
            .order_by(edges.c.parent_id, edges.c.child_id)
        ).all()
    )
