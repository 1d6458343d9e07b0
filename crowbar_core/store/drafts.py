"""Data that are proposed and not committed, beside the committed ones: of nodes, noderoles, roles in deployments."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any, Literal

from sqlalchemy import ColumnElement, Select, select, update
from sqlalchemy.orm import Session

from crowbar_core.domain.states import PROPOSED
from crowbar_core.store import node_fields, trees
from crowbar_core.store.db import Store
from crowbar_core.store.models import Deployment, DeploymentRole, Node, NodeRole, RoleRow, table

nodes, node_roles, roles = table(Node), table(NodeRole), table(RoleRow)
deployments, deployment_roles = table(Deployment), table(DeploymentRole)

Kind = Literal["node", "node_role", "deployment_role"]

DIFFERS: Mapping[Kind, ColumnElement[bool]] = {
    "node": nodes.c.hint != nodes.c.proposed_hint,
    "node_role": node_roles.c.proposed_data != node_roles.c.committed_data,
    "deployment_role": deployment_roles.c.proposed_data != deployment_roles.c.committed_data,
}
"""Whether an object of this kind has drafts."""

_DIFFERING: Mapping[Kind, tuple[Select[Any], Any, Any]] = {
    "node": (
        select(
            nodes.c.id, nodes.c.name, nodes.c.deployment_id, nodes.c.hint.label("old"),
            nodes.c.proposed_hint.label("new"),
        ).where(DIFFERS["node"]).order_by(nodes.c.name_key),
        nodes.c.id, nodes.c.deployment_id,
    ),
    "node_role": (
        select(
            node_roles.c.id, (roles.c.name + " on " + nodes.c.name).label("name"), roles.c.name.label("role"),
            node_roles.c.deployment_id, node_roles.c.committed_data.label("old"),
            node_roles.c.proposed_data.label("new"), node_roles.c.state,
        )
        .join(roles, roles.c.id == node_roles.c.role_id)
        .join(nodes, nodes.c.id == node_roles.c.node_id)
        .where(DIFFERS["node_role"])
        .order_by(node_roles.c.cohort, node_roles.c.id),
        node_roles.c.id, node_roles.c.deployment_id,
    ),
    "deployment_role": (
        select(
            deployment_roles.c.id, (roles.c.name + " in " + deployments.c.name).label("name"),
            roles.c.name.label("role"), deployment_roles.c.deployment_id, roles.c.wants,
            deployment_roles.c.committed_data.label("old"), deployment_roles.c.proposed_data.label("new"),
        )
        .join(roles, roles.c.id == deployment_roles.c.role_id)
        .join(deployments, deployments.c.id == deployment_roles.c.deployment_id)
        .where(DIFFERS["deployment_role"])
        .order_by(roles.c.name),
        deployment_roles.c.id, deployment_roles.c.deployment_id,
    ),
}  # fmt: skip


def differing(
    session: Session,
    store: Store,
    kind: Kind,
    ids: Collection[int] | None = None,
    within: Collection[int] | None = None,
) -> list[Any]:
    """(id, name, role, deployment_id, old, new, state) of objects of this kind whose proposed data differ: of all, or
    of these; ``within`` these deployments.
    """
    statement, key, home = _DIFFERING[kind]
    if ids is not None:
        statement = statement.where(store.ids(key, ids))
    if within is not None:
        statement = statement.where(store.ids(home, within))
    return list(session.execute(statement).all())


def there(session: Session, kind: Kind | Literal["deployment"], ref: int) -> bool:
    """Whether there is an object of this kind with this id."""
    found = {"node": nodes, "node_role": node_roles, "deployment_role": deployment_roles, "deployment": deployments}
    key = found[kind].c.id
    return session.scalar(select(key).where(key == ref)) is not None


def take(
    session: Session, store: Store, now: datetime, kind: Literal["node_role", "deployment_role"], ids: Collection[int]
) -> None:
    """What is proposed for these becomes what is committed."""
    of_kind = node_roles if kind == "node_role" else deployment_roles
    session.execute(
        update(of_kind)
        .where(store.ids(of_kind.c.id, ids))
        .values(committed_data=of_kind.c.proposed_data, updated_at=now)
    )


def discard(session: Session, store: Store, kind: Kind, ids: Collection[int]) -> None:
    """What is proposed for these becomes what is committed already."""
    if kind == "node":
        node_fields.discard_drafts(session, store, ids)
        return
    of_kind = node_roles if kind == "node_role" else deployment_roles
    session.execute(update(of_kind).where(store.ids(of_kind.c.id, ids)).values(proposed_data=of_kind.c.committed_data))


def governed(session: Session, deployment_role_ids: Collection[int]) -> list[Any]:
    """The committed noderoles of these roles in their deployments and all below those: (id, node_id, name of the
    role).
    """
    homes = session.execute(
        select(deployment_roles.c.role_id, deployment_roles.c.deployment_id).where(
            deployment_roles.c.id.in_(list(deployment_role_ids))
        )
    ).all()
    found: list[int] = []
    for one in homes:
        tree = trees.subtree(session, one.deployment_id)
        mine = select(node_roles.c.id).where(node_roles.c.role_id == one.role_id, node_roles.c.deployment_id.in_(tree))
        found.extend(session.scalars(mine))
    return list(
        session.execute(
            select(node_roles.c.id, node_roles.c.node_id, roles.c.name)
            .join(roles, roles.c.id == node_roles.c.role_id)
            .where(node_roles.c.state != int(PROPOSED), node_roles.c.id.in_(found))
        ).all()
    )
