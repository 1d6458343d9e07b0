"""The answers that POSTs with an ``Idempotency-Key`` got, by who sent them and the key."""

from __future__ import annotations

from typing import Any

from sqlalchemy import ColumnElement, and_, delete, select, update
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.orm import Session

from crowbar_core.store.db import Store
from crowbar_core.store.models import IdempotencyKey, table

keys = table(IdempotencyKey)


def _this(actor: str, key: str) -> ColumnElement[bool]:
    return and_(keys.c.actor == actor, keys.c.key == key)


def note(session: Session, store: Store, actor: str, key: str, *, request: str, status: int) -> bool:
    """Note that a request is being carried out, with its digest. False: there is one with this key already."""
    insert: Any = postgresql_insert if store.postgresql else sqlite_insert
    noted = insert(keys).values(actor=actor, key=key, request=request, status=status, body="")
    return session.scalar(noted.on_conflict_do_nothing().returning(keys.c.key)) is not None


def kept(session: Session, actor: str, key: str) -> Any:
    """(request, status, body); None when there is none."""
    return session.execute(select(keys.c.request, keys.c.status, keys.c.body).where(_this(actor, key))).one_or_none()


def keep(session: Session, actor: str, key: str, *, status: int, body: str) -> None:
    session.execute(update(keys).where(_this(actor, key)).values(status=status, body=body))


def forget(session: Session, actor: str, key: str) -> None:
    session.execute(delete(keys).where(_this(actor, key)))
