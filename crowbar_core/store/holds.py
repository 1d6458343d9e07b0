"""Noderoles that an operator keeps from being run."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import update
from sqlalchemy.orm import Session

from crowbar_core.store.db import Store
from crowbar_core.store.models import NodeRole, table

node_roles = table(NodeRole)


def hold(session: Session, store: Store, now: datetime, ids: Collection[int], *, by: str, reason: str) -> None:
    """Hold these, or give those that are held another reason."""
    session.execute(
        update(node_roles)
        .where(store.ids(node_roles.c.id, ids))
        .values(available=False, held_by=by, held_reason=reason, held_at=now)
    )


def release(session: Session, store: Store, ids: Collection[int]) -> None:
    """Let these run again."""
    session.execute(
        update(node_roles)
        .where(store.ids(node_roles.c.id, ids))
        .values(available=True, held_by="", held_reason="", held_at=None)
    )
