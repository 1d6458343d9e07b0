"""Deployments and what is in them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.orm import Session

from crowbar_core.domain.names import keyed
from crowbar_core.domain.states import PROPOSED
from crowbar_core.store.models import Deployment, Edge, Node, NodeRole, RoleRow, Run, table
from crowbar_core.store.moves import PORTION

nodes, node_roles, roles, edges, runs = table(Node), table(NodeRole), table(RoleRow), table(Edge), table(Run)
deployments = table(Deployment)


def row_of(session: Session, deployment_id: int) -> Any:
    """The deployment's whole row, or None."""
    return session.execute(select(deployments).where(deployments.c.id == deployment_id)).one_or_none()


def system_id(session: Session) -> int | None:
    """The root of the tree; None before the first start."""
    return session.scalar(select(deployments.c.id).where(deployments.c.system))


def who_is_called(session: Session, name: str, *, but: int | None = None) -> int | None:
    """The deployment of this name, whatever its case, unless it is ``but``."""
    found = session.scalar(select(deployments.c.id).where(func.lower(deployments.c.name) == name.lower()))
    return None if found == but else found


def children(session: Session, deployment_id: int) -> list[str]:
    """The names of those right below it."""
    mine = select(deployments.c.name).where(deployments.c.parent_id == deployment_id)
    return list(session.scalars(mine.order_by(deployments.c.name)))


def add(session: Session, **values: Any) -> int:
    """Write a new one. Returns its id."""
    return int(session.scalars(insert(deployments).values(**values).returning(deployments.c.id)).one())


def change(session: Session, now: datetime, deployment_id: int, **values: Any) -> None:
    """Write columns of a deployment."""
    session.execute(
        update(deployments).where(deployments.c.id == deployment_id).values(updated_at=now, **keyed(values))
    )


def remove(session: Session, deployment_id: int) -> None:
    """With its system node. Its other nodes and its noderoles have gone before."""
    session.execute(delete(nodes).where(nodes.c.deployment_id == deployment_id, nodes.c.system))
    session.execute(delete(deployments).where(deployments.c.id == deployment_id))


# ---------------------------------------------------------------- what is in it


def nodes_of(session: Session, deployment_id: int) -> list[int]:
    """Those that live in it, without its system node."""
    return list(session.scalars(select(nodes.c.id).where(nodes.c.deployment_id == deployment_id, ~nodes.c.system)))


def drafted_nodes(session: Session, deployment_id: int) -> list[int]:
    """Its nodes with hints that are not committed."""
    drafted = nodes.c.deployment_id == deployment_id, nodes.c.hint != nodes.c.proposed_hint
    return list(session.scalars(select(nodes.c.id).where(*drafted)))


def node_roles_of(session: Session, deployment_id: int) -> list[int]:
    """Its noderoles, highest cohort first."""
    mine = select(node_roles.c.id).where(node_roles.c.deployment_id == deployment_id)
    return list(session.scalars(mine.order_by(node_roles.c.cohort.desc())))


def is_used(session: Session, deployment_id: int) -> bool:
    """Whether a role is bound in it."""
    return (
        session.scalar(select(node_roles.c.id).where(node_roles.c.deployment_id == deployment_id).limit(1)) is not None
    )


def bound(session: Session, deployment_id: int, role_id: int) -> int:
    """To how many nodes the role is bound in it."""
    mine = node_roles.c.role_id == role_id, node_roles.c.deployment_id == deployment_id
    return session.scalar(select(func.count()).select_from(node_roles).where(*mine)) or 0


def drafted_node_roles(session: Session, deployment_id: int) -> list[int]:
    """Its noderoles, once committed, with values that are not."""
    return list(
        session.scalars(
            select(node_roles.c.id).where(
                node_roles.c.deployment_id == deployment_id,
                node_roles.c.state != int(PROPOSED),
                node_roles.c.proposed_data != node_roles.c.committed_data,
            )
        )
    )


def proposed(session: Session, deployment_id: int) -> list[int]:
    """Its noderoles that are PROPOSED: very many, perhaps."""
    mine = node_roles.c.deployment_id == deployment_id, node_roles.c.state == int(PROPOSED)
    return list(session.scalars(select(node_roles.c.id).where(*mine), execution_options={"yield_per": PORTION}))


def queued(session: Session, deployment_id: int) -> list[int]:
    """Its noderoles whose runs nobody has begun."""
    return list(
        session.scalars(
            select(runs.c.node_role_id)
            .join(node_roles, node_roles.c.id == runs.c.node_role_id)
            .where(node_roles.c.deployment_id == deployment_id, runs.c.state == "queued")
        )
    )


def busy_nodes(session: Session, deployment_id: int) -> list[int]:
    """The nodes that its noderoles are on, wherever these live."""
    mine = select(node_roles.c.node_id).where(node_roles.c.deployment_id == deployment_id)
    return list(session.scalars(mine.distinct()))


def dependants_outside(session: Session, deployment_id: int, *, most: int = 5) -> list[Any]:
    """Noderoles of other deployments that depend on what is committed in it, and have run: (role, node)."""
    child = node_roles.alias()
    return list(
        session.execute(
            select(roles.c.name.label("role"), nodes.c.name.label("node"))
            .select_from(edges)
            .join(node_roles, node_roles.c.id == edges.c.parent_id)
            .join(child, child.c.id == edges.c.child_id)
            .join(roles, roles.c.id == child.c.role_id)
            .join(nodes, nodes.c.id == child.c.node_id)
            .where(
                node_roles.c.deployment_id == deployment_id, child.c.deployment_id != deployment_id,
                child.c.run_count > 0, edges.c.kind == "data", node_roles.c.committed,
            )
            .limit(most)
        ).all()
    )  # fmt: skip


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
