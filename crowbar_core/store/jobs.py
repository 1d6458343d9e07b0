"""The barclamps' periodic jobs, as the process that calls them writes them down for all others."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session

from crowbar_core.store.models import PeriodicJob, table

jobs = table(PeriodicJob)


@dataclass(frozen=True, kw_only=True)
class JobLine:
    barclamp: str
    name: str
    seconds: float
    last_run_at: datetime | None
    took: float | None
    failures: int
    error: str
    traceback: str


def register(session: Session, found: Iterable[tuple[str, str, float]]) -> None:
    """(barclamp, name, seconds) of every job that there is now; what is known of them stays, others are forgotten."""
    wanted = {(barclamp, name): seconds for barclamp, name, seconds in found}
    rows = session.execute(select(jobs.c.id, jobs.c.barclamp, jobs.c.name))
    there = {(row.barclamp, row.name): row.id for row in rows}
    for key, seconds in wanted.items():
        if key in there:
            session.execute(update(jobs).where(jobs.c.id == there[key]).values(seconds=seconds))
        else:
            session.execute(insert(jobs).values(barclamp=key[0], name=key[1], seconds=seconds))
    gone = [ref for key, ref in there.items() if key not in wanted]
    session.execute(delete(jobs).where(jobs.c.id.in_(gone)))


def note(session: Session, barclamp: str, name: str, now: datetime, took: float, error: str, traceback: str) -> None:
    """How its last run ended; ``failures`` counts those in a row."""
    values = {"last_run_at": now, "took": took, "error": error[:2000], "traceback": traceback[-8000:]}
    failures: Any = jobs.c.failures + 1 if error else 0
    statement = update(jobs).where(jobs.c.barclamp == barclamp, jobs.c.name == name)
    session.execute(statement.values(failures=failures, **values))


def of(session: Session, barclamp: str = "") -> list[JobLine]:
    columns = (jobs.c.barclamp, jobs.c.name, jobs.c.seconds, jobs.c.last_run_at, jobs.c.took, jobs.c.failures,
               jobs.c.error, jobs.c.traceback)  # fmt: skip
    query = select(*columns).order_by(jobs.c.barclamp, jobs.c.name)
    if barclamp:
        query = query.where(jobs.c.barclamp == barclamp)
    return [JobLine(**row._mapping) for row in session.execute(query)]
