"""Groups, and who is in them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session

from crowbar_core.domain.names import keyed
from crowbar_core.store.db import Store
from crowbar_core.store.models import Group, Node, NodeGroup, table

groups, members, nodes = table(Group), table(NodeGroup), table(Node)


def lock(session: Session, group_id: int) -> Any:
    """(name, category, description), or None; others who lock it wait until this transaction ends."""
    return session.execute(
        select(groups.c.name, groups.c.category, groups.c.description).where(groups.c.id == group_id).with_for_update()
    ).one_or_none()


def has(session: Session, name: str, category: str, *, but: int = 0) -> bool:
    """Whether another group than ``but`` is called so in that category."""
    same = groups.c.name == name, groups.c.category == category, groups.c.id != but
    return session.scalar(select(groups.c.id).where(*same)) is not None


def add(session: Session, *, name: str, category: str, description: str) -> int:
    values = {"name": name, "category": category, "description": description}
    return int(session.scalars(insert(groups).values(values).returning(groups.c.id)).one())


def change(session: Session, group_id: int, values: Mapping[str, Any]) -> None:
    """Write columns of a group."""
    session.execute(update(groups).where(groups.c.id == group_id).values(**keyed(values)))


def remove(session: Session, group_id: int) -> None:
    """Its nodes stay."""
    session.execute(delete(groups).where(groups.c.id == group_id))


def add_member(session: Session, group_id: int, node_id: int) -> bool:
    """False: the node is in it already."""
    inside = members.c.group_id == group_id, members.c.node_id == node_id
    if session.scalar(select(members.c.node_id).where(*inside)) is not None:
        return False
    session.execute(insert(members).values(group_id=group_id, node_id=node_id))
    return True


def remove_member(session: Session, group_id: int, node_id: int) -> bool:
    """False: the node is not in it."""
    inside = members.c.group_id == group_id, members.c.node_id == node_id
    return session.scalar(delete(members).where(*inside).returning(members.c.node_id)) is not None


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
