"""The hammers of nodes, as they are kept."""

from __future__ import annotations

from typing import Any

from sqlalchemy import insert, select, update
from sqlalchemy.orm import Session

from crowbar_core.store.models import HammerRow, table

hammers = table(HammerRow)


def of_name(session: Session, node_id: int, name: str) -> Any:
    """(id, priority, config) of the node's hammer of this name, or None."""
    return session.execute(
        select(hammers.c.id, hammers.c.priority, hammers.c.config).where(
            hammers.c.node_id == node_id, hammers.c.name == name
        )
    ).one_or_none()


def add(session: Session, node_id: int, name: str, priority: int, config: str) -> int:
    """Write a new one; ``config`` is encrypted. Returns its id."""
    values = {"node_id": node_id, "name": name, "priority": priority, "config": config}
    return int(session.scalars(insert(hammers).values(values).returning(hammers.c.id)).one())


def change(session: Session, hammer_id: int, priority: int, config: str) -> None:
    session.execute(update(hammers).where(hammers.c.id == hammer_id).values(priority=priority, config=config))
