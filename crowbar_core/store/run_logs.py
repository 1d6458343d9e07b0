"""One run as whoever follows it sees it: what it was given, how it stands, what it has said so far."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from crowbar_core.store.models import Run, RunLog, table

runs, logs = table(Run), table(RunLog)


def input_of(session: Session, run_id: int) -> dict[str, Any]:
    """The values that it was given."""
    return session.scalar(select(runs.c.input).where(runs.c.id == run_id)) or {}


def state_of(session: Session, run_id: int) -> str | None:
    return session.scalar(select(runs.c.state).where(runs.c.id == run_id))


def lines(session: Session, run_id: int, *, after: int, limit: int) -> list[dict[str, Any]]:
    """The first lines after ``after``: seq, at, stream, line."""
    rows = session.execute(
        select(logs.c.seq, logs.c.at, logs.c.stream, logs.c.line)
        .where(logs.c.run_id == run_id, logs.c.seq > after)
        .order_by(logs.c.seq)
        .limit(limit)
    )
    return [dict(row._mapping) for row in rows]
