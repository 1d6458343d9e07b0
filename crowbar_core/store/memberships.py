"""Who is in a group."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from crowbar_core.store.db import Store
from crowbar_core.store.models import Group, Node, NodeGroup, table

groups, members, nodes = table(Group), table(NodeGroup), table(Node)


def replace_members(
    session: Session, store: Store, group_id: int, node_ids: Collection[int]
) -> tuple[list[str], list[str]]:
    """Make these nodes the group's. Returns the names of those that came and of those that went."""
    there = set(session.scalars(select(members.c.node_id).where(members.c.group_id == group_id)))
    come, gone = set(node_ids) - there, there - set(node_ids)
    if gone:
        session.execute(delete(members).where(members.c.group_id == group_id, store.ids(members.c.node_id, gone)))
    if come:
        session.execute(insert(members), [{"group_id": group_id, "node_id": one} for one in sorted(come)])
    return _names(session, store, come), _names(session, store, gone)


def by_group(session: Session) -> list[Any]:
    """(name of a group, a node in it), of all."""
    return list(
        session.execute(
            select(groups.c.name, members.c.node_id)
            .join(members, members.c.group_id == groups.c.id)
            .order_by(members.c.node_id)
        ).all()
    )


def _names(session: Session, store: Store, ids: Collection[int]) -> list[str]:
    if not ids:
        return []
    return list(session.scalars(select(nodes.c.name).where(store.ids(nodes.c.id, ids)).order_by(nodes.c.name_key)))
