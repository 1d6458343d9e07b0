"""The rows of browsers' log-ins, found by the digest of the key in the cookie."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import bindparam, delete, insert, select
from sqlalchemy.orm import Session

from crowbar_core.store.db import Reader
from crowbar_core.store.models import BrowserSession, User, table

sessions, users = table(BrowserSession), table(User)


# Asked for every request: built once.
_USER_OF = (
    select(users.c.id, users.c.name, users.c.role, users.c.epoch)
    .join(sessions, sessions.c.user_id == users.c.id)
    .where(
        sessions.c.digest == bindparam("digest"),
        sessions.c.epoch == users.c.epoch,
        sessions.c.ends_at > bindparam("now"),
        users.c.locked.is_(False),
    )
)


def add(session: Session, digest: str, *, user_id: int | None, epoch: int, ends_at: datetime) -> None:
    session.execute(insert(sessions).values(digest=digest, user_id=user_id, epoch=epoch, ends_at=ends_at))


def user_of(session: Reader, digest: str, now: datetime) -> Any:
    """(id, name, role, epoch) of whose log-in it is, while it lasts; else None."""
    return session.execute(_USER_OF, {"digest": digest, "now": now}).one_or_none()


def remove(session: Session, digest: str) -> None:
    session.execute(delete(sessions).where(sessions.c.digest == digest))


def remove_of_user(session: Session, user_id: int) -> None:
    session.execute(delete(sessions).where(sessions.c.user_id == user_id))


def forget_before(session: Session, now: datetime) -> int:
    """Remove those that have ended by then. Returns how many."""
    gone = session.execute(delete(sessions).where(sessions.c.ends_at < now))
    return gone.rowcount  # type: ignore[attr-defined, no-any-return]
