"""Tokens with which machines join by themselves: each counts once, for a while. Only its hash is kept."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, insert, select, update

from crowbar_core import Change
from crowbar_provisioner.tables import joins

KEPT = timedelta(days=1)
"""After its time, one is forgotten."""


@dataclass(frozen=True, kw_only=True)
class Join:
    """``machine_id``: whom it let in; None as long as it is unused."""

    id: int
    name: str
    url: str
    made_by: str
    ends_at: datetime
    machine_id: int | None


def make(
    change: Change, *, name: str, url: str, by: str, minutes: int,
    token: Callable[[], str] = lambda: secrets.token_urlsafe(32),
) -> tuple[str, datetime]:  # fmt: skip
    made, until = token(), change.now + timedelta(minutes=minutes)
    session = change.session
    session.execute(delete(joins).where(joins.c.ends_at < change.now - KEPT))
    session.execute(insert(joins).values(token_hash=_hash(made), name=name, url=url, made_by=by[:255], ends_at=until))
    return made, until


def of_token(session: Any, token: str, now: datetime) -> Join | None:
    """As long as its time is not over, used or not."""
    row = session.execute(select(joins).where(joins.c.token_hash == _hash(token), joins.c.ends_at > now)).first()
    return None if row is None else Join(**{name: getattr(row, name) for name in Join.__dataclass_fields__})


def use(change: Change, found: Join, machine_id: int) -> None:
    change.session.execute(update(joins).where(joins.c.id == found.id).values(machine_id=machine_id))


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()
