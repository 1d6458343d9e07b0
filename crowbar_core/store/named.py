"""What intents and barclamps call by name: its id, or a refusal in words."""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from crowbar_core.errors import or_missing
from crowbar_core.store.models import Deployment, Node, NodeRole, RoleRow, table

nodes, node_roles, roles, deployments = table(Node), table(NodeRole), table(RoleRow), table(Deployment)


def node_id(session: Session, name: str) -> int:
    found = or_missing(session.scalar(select(nodes.c.id).where(nodes.c.name == name.lower())), "node", repr(name))
    return int(found)


def deployment_id(session: Session, name: str) -> int:
    found = or_missing(
        session.scalar(select(deployments.c.id).where(deployments.c.name == name)), "deployment", repr(name)
    )
    return int(found)


def bound(session: Session, node: str, role: str) -> int | None:
    """The noderole of this role on this node. None: it is not bound there. Raises ``NotFound`` for the node."""
    return session.scalar(
        select(node_roles.c.id)
        .join(roles, roles.c.id == node_roles.c.role_id)
        .where(node_roles.c.node_id == node_id(session, node), roles.c.name == role)
    )
