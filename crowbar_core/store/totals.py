"""How many runs of each role ended how, and how long they took: counted as they end, since runs are not kept for ever.

A count that falls when old runs are deleted would mislead whoever watches how fast it rises.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import ColumnElement, Double, cast, extract, func, select
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.orm import Session

from crowbar_core.store.db import Store, ids_named
from crowbar_core.store.models import NodeRole, RoleRow, Run, RunTotal, table

run_totals, runs, node_roles, roles = table(RunTotal), table(Run), table(NodeRole), table(RoleRow)


@dataclass(frozen=True, slots=True)
class Ended:
    """Sums over the runs of one role that ended one way: ``seconds`` running, ``waited`` in the queue."""

    role: str
    outcome: str
    runs: int
    seconds: float
    waited: float


def count_ended(session: Session, store: Store, run_ids: Collection[int]) -> None:
    """Add runs that have just ended. To be called once for each."""
    if run_ids:
        session.execute(_count_ended(store.postgresql), {"run_ids": store.id_values(run_ids)})


@cache
def _count_ended(postgresql: bool) -> Any:
    """Built once: each change that ends runs asks it."""
    dialect_insert: Any = postgresql_insert if postgresql else sqlite_insert
    begun = func.coalesce(runs.c.started_at, runs.c.finished_at)
    ended = (
        select(
            node_roles.c.role_id,
            runs.c.state,
            func.count(),
            func.sum(_seconds(begun, runs.c.finished_at, postgresql=postgresql)),
            func.sum(_seconds(runs.c.queued_at, begun, postgresql=postgresql)),
        )
        .join(node_roles, node_roles.c.id == runs.c.node_role_id)
        .where(ids_named(runs.c.id, "run_ids", postgresql=postgresql), runs.c.finished_at.is_not(None))
        .group_by(node_roles.c.role_id, runs.c.state)
    )
    made = dialect_insert(run_totals).from_select(["role_id", "outcome", "runs", "seconds", "waited"], ended)
    more = {name: run_totals.c[name] + made.excluded[name] for name in ("runs", "seconds", "waited")}
    return made.on_conflict_do_update(index_elements=["role_id", "outcome"], set_=more)


def _seconds(start: ColumnElement[Any], end: ColumnElement[Any], *, postgresql: bool) -> ColumnElement[float]:
    if postgresql:
        return cast(extract("epoch", end - start), Double)
    return (func.julianday(end) - func.julianday(start)) * 86400.0


def ended(session: Session) -> list[Ended]:
    query = (
        select(roles.c.name, run_totals.c.outcome, run_totals.c.runs, run_totals.c.seconds, run_totals.c.waited)
        .join(roles, roles.c.id == run_totals.c.role_id)
        .order_by(roles.c.name, run_totals.c.outcome)
    )
    return [Ended(*row) for row in session.execute(query)]
