"""The rows of users: found, changed, locked against others who would change them."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, delete, func, insert, select, update
from sqlalchemy.orm import Session

from crowbar_core.domain.names import keyed
from crowbar_core.store.db import Reader
from crowbar_core.store.models import User, table

users = table(User)
_PERSON = select(users.c.id, users.c.name, users.c.role, users.c.locked, users.c.epoch, users.c.password_hash)


def _named(name: str) -> ColumnElement[bool]:
    return func.lower(users.c.name) == name.lower()


def there_are_any(session: Session) -> bool:
    return bool(session.scalar(select(func.count()).select_from(users)))


def of_name(session: Reader, name: str) -> Any:
    """(id, name, role, locked, epoch, password_hash), or None; upper and lower case are the same."""
    return session.execute(_PERSON.where(_named(name))).one_or_none()


def of_id(session: Reader, user_id: int, *, lock: bool = False) -> Any:
    """The same of an id. ``lock``: others who lock the user wait until this transaction ends."""
    found = _PERSON.where(users.c.id == user_id)
    return session.execute(found.with_for_update() if lock else found).one_or_none()


def lock_administrators(session: Session) -> list[int]:
    """The ids of those who can come in, by age; others who lock them wait until this transaction ends."""
    who = users.c.role == "admin", users.c.locked.is_(False)
    return list(session.scalars(select(users.c.id).where(*who).order_by(users.c.id).with_for_update()))


def has(session: Session, name: str, *, but: int = 0) -> bool:
    """Whether somebody else than ``but`` is called so."""
    return session.scalar(select(users.c.id).where(_named(name), users.c.id != but)) is not None


def add(session: Session, *, name: str, role: str, password_hash: str) -> int:
    values = {"name": name, "role": role, "password_hash": password_hash}
    return int(session.scalars(insert(users).values(values).returning(users.c.id)).one())


def change(session: Session, now: datetime, user_id: int, **values: Any) -> None:
    """Write columns of a user."""
    session.execute(update(users).where(users.c.id == user_id).values(**keyed(values), updated_at=now))


def set_password(session: Session, now: datetime, user_id: int, password_hash: str) -> None:
    """Write the new one; log-ins that began with the old one are of an earlier epoch."""
    change(session, now, user_id, password_hash=password_hash, epoch=users.c.epoch + 1)


def remove(session: Session, user_id: int) -> None:
    """With all that is the user's."""
    session.execute(delete(users).where(users.c.id == user_id))
