"""The audit trail: who did what, from where. Only ever appended to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import insert
from sqlalchemy.orm import Session

from crowbar_core.store.models import Audit, table

audits = table(Audit)


def append(
    session: Session, action: str, done: Sequence[tuple[str, Mapping[str, Any]]], *, actor: str, remote: str,
    at: datetime | None = None,
) -> None:  # fmt: skip
    """Say what was done, of many subjects, each with its detail, in one statement. ``at``: now, unless given."""
    said = {"actor": actor, "remote": remote, "action": action, **({} if at is None else {"at": at})}
    if done:
        session.execute(
            insert(audits), [{**said, "subject": subject, "detail": dict(detail)} for subject, detail in done]
        )
