"""What a run is given before it begins, and how runs end."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Update, bindparam, case, update
from sqlalchemy.orm import Session

from crowbar_core.domain.states import RunState
from crowbar_core.store.db import Store, ids_named
from crowbar_core.store.models import Run, table

runs = table(Run)


def give(session: Session, run_id: int, tree: dict[str, Any]) -> None:
    """Write what the run is given, in the place of what it was given before."""
    session.execute(update(runs).where(runs.c.id == run_id).values(input=tree))


def pass_through(session: Session, store: Store, now: datetime, run_ids: Collection[int], worker: str) -> None:
    """These succeed in the moment in which they begin."""
    session.execute(
        update(runs)
        .where(store.ids(runs.c.id, run_ids))
        .values(state=str(RunState.SUCCEEDED), worker=worker, started_at=now, finished_at=now)
    )


def end(session: Session, store: Store, now: datetime, run_ids: Collection[int], state: RunState, reason: str) -> None:
    """End those of these that are open. One that was being cancelled keeps the reason for which it was."""
    given = {"run_ids": store.id_values(run_ids), "ended": str(state), "now": now, "reason": reason}
    session.execute(_end(store.postgresql, state is RunState.CANCELLED), given)


@cache
def _end(postgresql: bool, cancelled: bool) -> Update:
    """Built once: each run that ends needs it."""
    reason = bindparam("reason", type_=runs.c.exit_reason.type)
    kept = case((runs.c.state == str(RunState.CANCELLING), runs.c.exit_reason), else_=reason)
    return (
        update(runs)
        .where(ids_named(runs.c.id, "run_ids", postgresql=postgresql), runs.c.finished_at.is_(None))
        .values(
            state=bindparam("ended"), finished_at=bindparam("now"), pending=False, woken=False, lease_until=None,
            deadline=None, again_at=None, exit_reason=kept if cancelled else reason,
        )
    )  # fmt: skip
