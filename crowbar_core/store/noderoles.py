"""One noderole: found with what it belongs to, and what is noted of it beside its state."""

from __future__ import annotations

from typing import Any

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from crowbar_core.domain.states import ACTIVE
from crowbar_core.store.models import Node, NodeRole, RoleRow, table

node_roles, nodes, roles = table(NodeRole), table(Node), table(RoleRow)


def row_of(session: Session, node_role_id: int) -> Any:
    """(id, node_id, role_id, deployment_id, state, role, node), or None."""
    return session.execute(
        select(
            node_roles.c.id, node_roles.c.node_id, node_roles.c.role_id, node_roles.c.deployment_id,
            node_roles.c.state, roles.c.name.label("role"), nodes.c.name.label("node"),
        )
        .join(roles, roles.c.id == node_roles.c.role_id)
        .join(nodes, nodes.c.id == node_roles.c.node_id)
        .where(node_roles.c.id == node_role_id)
    ).one_or_none()  # fmt: skip


def note(session: Session, node_role_id: int, **values: Any) -> None:
    """Write columns that are no part of its state: attempts, delay, whether it is to be run again."""
    session.execute(update(node_roles).where(node_roles.c.id == node_role_id).values(**values))


def wanting_work(session: Session, node_id: int, *, most: int) -> list[int]:
    """Those on the node that are not at rest, lowest cohort first."""
    return list(
        session.scalars(
            select(node_roles.c.id)
            .where(node_roles.c.node_id == node_id, or_(node_roles.c.state != int(ACTIVE), node_roles.c.rerun))
            .order_by(node_roles.c.cohort, node_roles.c.id)
            .limit(most)
        )
    )


def are_on(session: Session, node_id: int) -> bool:
    """Whether anything is bound to the node."""
    return session.scalar(select(node_roles.c.id).where(node_roles.c.node_id == node_id).limit(1)) is not None
