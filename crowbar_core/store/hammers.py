"""The hammers of nodes, as they are kept."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session

from crowbar_core.store.db import Store
from crowbar_core.store.models import HammerRow, table

hammers = table(HammerRow)


def of_name(session: Session, node_id: int, name: str) -> Any:
    """(id, priority, config) of the node's hammer of this name, or None."""
    return session.execute(
        select(hammers.c.id, hammers.c.priority, hammers.c.config).where(
            hammers.c.node_id == node_id, hammers.c.name == name
        )
    ).one_or_none()


def of_id(session: Session, hammer_id: int) -> Any:
    """(name, node_id, priority, config), or None."""
    return session.execute(
        select(hammers.c.name, hammers.c.node_id, hammers.c.priority, hammers.c.config).where(hammers.c.id == hammer_id)
    ).one_or_none()


def of_node(session: Session, node_id: int, *, only: int | None = None) -> list[Any]:
    """(id, name, config) of the node's hammers, or of ``only`` one of them; highest priority first."""
    mine = select(hammers.c.id, hammers.c.name, hammers.c.config).where(hammers.c.node_id == node_id)
    if only is not None:
        mine = mine.where(hammers.c.id == only)
    return list(session.execute(mine.order_by(hammers.c.priority.desc(), hammers.c.id)).all())


def configs(session: Session, store: Store, ids: Collection[int]) -> list[Any]:
    """(id, name, config) of these."""
    return list(
        session.execute(
            select(hammers.c.id, hammers.c.name, hammers.c.config).where(store.ids(hammers.c.id, ids))
        ).all()
    )


def remove(session: Session, hammer_id: int) -> bool:
    """False: there is none."""
    return session.scalar(delete(hammers).where(hammers.c.id == hammer_id).returning(hammers.c.id)) is not None


def add(session: Session, node_id: int, name: str, priority: int, config: str) -> int:
    """Write a new one; ``config`` is encrypted. Returns its id."""
    values = {"node_id": node_id, "name": name, "priority": priority, "config": config}
    return int(session.scalars(insert(hammers).values(values).returning(hammers.c.id)).one())


def change(session: Session, hammer_id: int, **values: Any) -> None:
    """Write its ``priority`` or its ``config``, which is encrypted."""
    session.execute(update(hammers).where(hammers.c.id == hammer_id).values(**values))
