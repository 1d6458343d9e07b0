"""Noderoles: found with what they belong to, and what is noted of them beside their state."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Final

from sqlalchemy import case, or_, select, update
from sqlalchemy.orm import Session

from crowbar_core.domain.states import ACTIVE, ERROR, TRANSITION
from crowbar_core.store.db import Store
from crowbar_core.store.models import Node, NodeRole, RoleRow, table

node_roles, nodes, roles = table(NodeRole), table(Node), table(RoleRow)

NEXT_ATTEMPT: Final = node_roles.c.attempts + 1
ATTEMPT_BACK: Final = case((node_roles.c.attempts > 0, node_roles.c.attempts - 1), else_=0)
"""One that did not count."""
RUN_AGAIN: Final = node_roles.c.run_count + 1


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


def note_many(session: Session, store: Store, ids: Collection[int], **values: Any) -> None:
    """The same of many."""
    session.execute(update(node_roles).where(store.ids(node_roles.c.id, ids)).values(**values))


def lost_with_node(session: Session, node_id: int) -> list[int]:
    """Those on the node whose work means nothing any more when it dies. Destructive work whose fate is unknown stays in
    ERROR.
    """
    return list(
        session.scalars(
            select(node_roles.c.id).where(
                node_roles.c.node_id == node_id,
                node_roles.c.state.in_([int(s) for s in (ERROR, ACTIVE, TRANSITION)]),
                ~((node_roles.c.state == int(ERROR)) & node_roles.c.halfway),
            )
        )
    )


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
