"""What has been kept for long enough goes."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import delete, exists, select
from sqlalchemy.orm import Session

from crowbar_core.store.models import Delivery, Event, IdempotencyKey, Run, table

runs, events, deliveries, keys = table(Run), table(Event), table(Delivery), table(IdempotencyKey)

AT_ONCE: Final = 5000
"""So many runs, and so many events, go at a time."""
ANSWERS_KEPT: Final = timedelta(days=1)


def forget(session: Session, now: datetime, before: datetime) -> int:
    """Delete runs that had ended ``before``, events that are older and were delivered, and answers remembered for more
    than a day. Returns how many.
    """
    old_runs = select(runs.c.id).where(runs.c.finished_at < before).limit(AT_ONCE)
    waiting = exists().where(deliveries.c.event_id == events.c.id, deliveries.c.state != "done")
    old_events = select(events.c.id).where(events.c.created_at < before, ~waiting).limit(AT_ONCE)
    gone = 0
    for statement in (
        delete(runs).where(runs.c.id.in_(old_runs)),
        delete(events).where(events.c.id.in_(old_events)),
        delete(keys).where(keys.c.created_at < now - ANSWERS_KEPT),
    ):
        gone += session.execute(statement).rowcount  # type: ignore[attr-defined]
    return gone
