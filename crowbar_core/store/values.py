"""The values of noderoles as they are kept, whom they come from, and who wants them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from crowbar_core.store.bulk import set_json
from crowbar_core.store.db import Store
from crowbar_core.store.models import Edge, Node, NodeRole, RoleRow, table

nodes, node_roles, roles, edges = table(Node), table(NodeRole), table(RoleRow), table(Edge)

Kept = Literal["wall", "sysdata"]


def rows_of(session: Session, store: Store, ids: Collection[int]) -> list[Any]:
    """(id, node_id, role_id, deployment_id, state, wall, sysdata, committed_data, proposed_data, role, template)."""
    return list(
        session.execute(
            select(
                node_roles.c.id, node_roles.c.node_id, node_roles.c.role_id, node_roles.c.deployment_id,
                node_roles.c.state, node_roles.c.wall, node_roles.c.sysdata, node_roles.c.committed_data,
                node_roles.c.proposed_data, roles.c.name.label("role"), roles.c.template,
            )
            .join(roles, roles.c.id == node_roles.c.role_id)
            .where(store.ids(node_roles.c.id, ids))
        ).all()
    )  # fmt: skip


def on_node(session: Session, node_id: int, role: str) -> int | None:
    """The noderole of this role on this node, if it is bound there."""
    return session.scalar(
        select(node_roles.c.id)
        .join(roles, roles.c.id == node_roles.c.role_id)
        .where(node_roles.c.node_id == node_id, roles.c.name == role)
    )


def parents(session: Session, store: Store, children: Collection[int], *, proposed: bool) -> list[Any]:
    """Those that give these values, by age, without those that were never committed (unless ``proposed``): (child_id,
    id, node_id, role, node).
    """
    counting = () if proposed else (node_roles.c.committed,)
    return list(
        session.execute(
            select(
                edges.c.child_id, node_roles.c.id, node_roles.c.node_id, roles.c.name.label("role"),
                nodes.c.name.label("node"),
            )
            .join(node_roles, node_roles.c.id == edges.c.parent_id)
            .join(roles, roles.c.id == node_roles.c.role_id)
            .join(nodes, nodes.c.id == node_roles.c.node_id)
            .where(store.ids(edges.c.child_id, children), edges.c.kind == "data", *counting)
            .order_by(node_roles.c.id)
        ).all()
    )  # fmt: skip


def children_wanting(session: Session, store: Store, parents: Collection[int]) -> list[Any]:
    """Those that are given values by those of these that were once committed: (parent_id, child_id, wants)."""
    return list(
        session.execute(
            select(edges.c.parent_id, edges.c.child_id, roles.c.wants)
            .join(node_roles, node_roles.c.id == edges.c.child_id)
            .join(roles, roles.c.id == node_roles.c.role_id)
            .where(store.ids(edges.c.parent_id, parents), edges.c.kind == "data")
            .where(edges.c.parent_id.in_(select(node_roles.c.id).where(node_roles.c.committed)))
        ).all()
    )


def wanting_of_node(session: Session, node_id: int) -> list[Any]:
    """What the noderoles on a node want: (id, wants)."""
    return list(
        session.execute(
            select(node_roles.c.id, roles.c.wants)
            .join(roles, roles.c.id == node_roles.c.role_id)
            .where(node_roles.c.node_id == node_id)
        ).all()
    )


def roles_of(session: Session, store: Store, ids: Collection[int]) -> dict[int, str]:
    """Noderole -> the name of its role."""
    rows = session.execute(
        select(node_roles.c.id, roles.c.name)
        .join(roles, roles.c.id == node_roles.c.role_id)
        .where(store.ids(node_roles.c.id, ids))
    )
    return {row.id: row.name for row in rows}


def kept(session: Session, store: Store, kind: Kept, ids: Collection[int]) -> dict[int, Any]:
    """Noderole -> its wall, or its sysdata."""
    mine = select(node_roles.c.id, node_roles.c[kind]).where(store.ids(node_roles.c.id, ids))
    return dict(session.execute(mine).all())


def keep(session: Session, store: Store, kind: Kept, trees: Mapping[int, Any]) -> None:
    """Write walls, or sysdata: noderole -> tree."""
    set_json(session, store, node_roles, kind, trees)
