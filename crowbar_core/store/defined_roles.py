"""Roles that barclamps define at run time, and the counter by which every process sees that there are others."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.orm import Session

from crowbar_core.store.db import Reader
from crowbar_core.store.models import DeploymentRole, Meta, Node, NodeRole, RoleRow, table

roles, node_roles, nodes, meta = table(RoleRow), table(NodeRole), table(Node), table(Meta)
deployment_roles = table(DeploymentRole)

_COUNTER = "role definitions"
_COUNT = select(meta.c.value).where(meta.c.key == _COUNTER)


def generation(session: Reader) -> int:
    """How often a role was defined, changed or removed so far."""
    return int(session.scalar(_COUNT) or 0)


def advance(session: Session) -> int:
    """Count once more. Called under the graph lock. Returns the new generation."""
    number = generation(session) + 1
    changed = session.execute(update(meta).where(meta.c.key == _COUNTER).values(value=str(number)))
    if not changed.rowcount:  # type: ignore[attr-defined]
        session.execute(insert(meta).values(key=_COUNTER, value=str(number)))
    return number


def definitions(session: Reader) -> list[tuple[str, str, dict[str, Any]]]:
    """(name, the role it is like, what it has that differs, as JSON) of every role defined at run time, by name."""
    query = select(roles.c.name, roles.c.like_name, roles.c.given).where(roles.c.like_name != "")
    return [(row.name, row.like_name, row.given) for row in session.execute(query.order_by(roles.c.name))]


def of_name(session: Session, name: str) -> tuple[int, str] | None:
    """(id, the role it is like; '' if it is declared) of a role."""
    row = session.execute(select(roles.c.id, roles.c.like_name).where(roles.c.name == name)).one_or_none()
    return (row.id, row.like_name) if row is not None else None


def bound_to(session: Session, role_id: int, limit: int) -> tuple[int, Sequence[str]]:
    """How many nodes the role is bound to, and the names of the first of them."""
    count = session.scalar(select(func.count()).select_from(node_roles).where(node_roles.c.role_id == role_id)) or 0
    query = (
        select(nodes.c.name)
        .join(node_roles, node_roles.c.node_id == nodes.c.id)
        .where(node_roles.c.role_id == role_id)
        .order_by(nodes.c.name)
        .limit(limit)
    )
    return count, session.scalars(query).all()


def deployment_roles_of(session: Session, role_id: int) -> list[int]:
    """Where the role is in deployments, oldest first."""
    query = select(deployment_roles.c.id).where(deployment_roles.c.role_id == role_id)
    return list(session.scalars(query.order_by(deployment_roles.c.id)))


def remove(session: Session, role_id: int) -> None:
    """With its attributes."""
    session.execute(delete(roles).where(roles.c.id == role_id))
