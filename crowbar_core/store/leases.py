"""Leases: what only one process at a time may do, held by a row that must be renewed."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Any

from sqlalchemy import delete, insert, select, text, update
from sqlalchemy.orm import Session

from crowbar_core.store.models import Lease, table

leases = table(Lease)
_LOCK = 0x63726F78


def take(
    session: Session, name: str, holder: str, now: datetime, until: datetime, *, is_dead: Callable[[str], bool]
) -> bool:
    """Take or renew a lease. False while somebody else holds it who is not known to be dead."""
    if session.get_bind().dialect.name == "postgresql":
        session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _LOCK})
    row = session.execute(select(leases).where(leases.c.name == name)).one_or_none()
    if row is None:
        session.execute(insert(leases).values(name=name, holder=holder, until=until))
        return True
    if row.holder != holder and row.until > now and not is_dead(row.holder):
        return False
    session.execute(update(leases).where(leases.c.name == name).values(holder=holder, until=until))
    return True


def give_up(session: Session, name: str, holder: str) -> None:
    """Let go of a lease, if it is held."""
    session.execute(delete(leases).where(leases.c.name == name, leases.c.holder == holder))


def holder_of(session: Session, name: str, now: datetime) -> str | None:
    """Who holds the lease now."""
    return session.scalar(select(leases.c.holder).where(leases.c.name == name, leases.c.until > now))


def held(session: Session) -> list[Any]:
    """All of them by name, also those that have ended: (name, holder, until)."""
    return list(session.execute(select(leases.c.name, leases.c.holder, leases.c.until).order_by(leases.c.name)).all())


def write_something(session: Session, now: datetime) -> None:
    """Write a row and take it away again: can this database be written?"""
    name = f"readiness {uuid.uuid4().hex}"
    session.execute(insert(leases).values(name=name, holder="", until=now))
    session.execute(delete(leases).where(leases.c.name == name))
