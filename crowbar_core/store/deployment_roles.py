"""Roles in deployments, with the values that a deployment has for them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session

from crowbar_core.store.models import Deployment, DeploymentRole, RoleRow, table

deployment_roles, deployments, roles = table(DeploymentRole), table(Deployment), table(RoleRow)


def row_of(session: Session, deployment_role_id: int) -> Any:
    """(id, role_id, deployment_id, committed_data, proposed_data, role, template, deployment), or None."""
    return session.execute(
        select(
            deployment_roles.c.id, deployment_roles.c.role_id, deployment_roles.c.deployment_id,
            deployment_roles.c.committed_data, deployment_roles.c.proposed_data, roles.c.name.label("role"),
            roles.c.template, deployments.c.name.label("deployment"),
        )
        .join(roles, roles.c.id == deployment_roles.c.role_id)
        .join(deployments, deployments.c.id == deployment_roles.c.deployment_id)
        .where(deployment_roles.c.id == deployment_role_id)
    ).one_or_none()  # fmt: skip


def find(session: Session, deployment_id: int, role_id: int) -> int | None:
    """The role in this deployment. None: it was not added to it."""
    return session.scalar(
        select(deployment_roles.c.id).where(
            deployment_roles.c.deployment_id == deployment_id, deployment_roles.c.role_id == role_id
        )
    )


def of_deployment(session: Session, deployment_id: int) -> list[int]:
    mine = deployment_roles.c.deployment_id == deployment_id
    return list(session.scalars(select(deployment_roles.c.id).where(mine)))


def drafted(session: Session, deployment_id: int) -> list[int]:
    """Those of a deployment with values that are not committed."""
    return list(
        session.scalars(
            select(deployment_roles.c.id).where(
                deployment_roles.c.deployment_id == deployment_id,
                deployment_roles.c.proposed_data != deployment_roles.c.committed_data,
            )
        )
    )


def add(session: Session, now: datetime, *, deployment_id: int, role_id: int, proposed_data: dict[str, Any]) -> int:
    """Write a new one. Returns its id."""
    values = {"deployment_id": deployment_id, "role_id": role_id, "proposed_data": proposed_data,
              "created_at": now, "updated_at": now}  # fmt: skip
    return int(session.scalars(insert(deployment_roles).values(values).returning(deployment_roles.c.id)).one())


def by_role(session: Session, deployment_id: int) -> dict[str, int]:
    """The roles that were added to a deployment, in the order of their names: name -> id of the deployment role."""
    rows = session.execute(
        select(roles.c.name, deployment_roles.c.id)
        .join(roles, roles.c.id == deployment_roles.c.role_id)
        .where(deployment_roles.c.deployment_id == deployment_id)
        .order_by(roles.c.name)
    )
    return {row.name: row.id for row in rows}


def propose(session: Session, now: datetime, deployment_role_id: int, data: dict[str, Any]) -> None:
    """Write its values; they wait to be committed."""
    write(session, now, deployment_role_id, {"proposed_data": data})


def write(session: Session, now: datetime, deployment_role_id: int, values: Mapping[str, Any]) -> None:
    """Write fields of it."""
    mine = update(deployment_roles).where(deployment_roles.c.id == deployment_role_id)
    session.execute(mine.values(updated_at=now, **values))


def remove(session: Session, deployment_role_id: int) -> None:
    session.execute(delete(deployment_roles).where(deployment_roles.c.id == deployment_role_id))
