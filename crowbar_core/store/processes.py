"""The processes of this installation: each writes its own row, renews it while it lives, and takes it away."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import delete, func, select
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.orm import Session

from crowbar_core.domain.states import RunState
from crowbar_core.store.models import Lease, ProcessRow, Run, table

processes, runs, leases = table(ProcessRow), table(Run), table(Lease)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """A process as it last said. ``runs``: how many it holds. ``leads``: it is the one that sweeps."""

    id: int
    name: str
    host: str
    pid: int
    version: str
    kinds: Sequence[str]
    concurrency: int
    started_at: datetime
    beat_at: datetime
    alive_until: datetime
    runs: int
    leads: bool


def beat(session: Session, name: str, values: Mapping[str, Any]) -> None:
    """Write the row of a process, or renew it."""
    dialect_insert: Any = postgresql_insert if session.get_bind().dialect.name == "postgresql" else sqlite_insert
    renewed = {key: values[key] for key in ("beat_at", "alive_until")}
    session.execute(
        dialect_insert(processes)
        .values(name=name, **values)
        .on_conflict_do_update(index_elements=["name"], set_=renewed)
    )


def leave(session: Session, names: Iterable[str]) -> None:
    session.execute(delete(processes).where(processes.c.name.in_(list(names))))


def forget_before(session: Session, moment: datetime) -> int:
    """Forget processes that died before ``moment``. Returns how many."""
    gone = session.execute(delete(processes).where(processes.c.alive_until < moment))
    return int(gone.rowcount)  # type: ignore[attr-defined]


def seen(session: Session, ids: Sequence[int] | None = None) -> list[Seen]:
    """The processes of which there is a row, oldest first."""
    query = select(processes).order_by(processes.c.id)
    if ids is not None:
        query = query.where(processes.c.id.in_(ids))
    rows = session.execute(query).all()
    held = runs_held(session) if rows else {}
    leader = set(session.scalars(select(leases.c.holder))) if rows else set()
    return [Seen(**row._mapping, runs=held.get(row.name, 0), leads=row.name in leader) for row in rows]


def runs_held(session: Session) -> Mapping[str, int]:
    """Worker -> how many runs it carries out now."""
    query = (
        select(runs.c.worker, func.count())
        .where(runs.c.state.in_([str(RunState.RUNNING), str(RunState.CANCELLING)]), runs.c.worker != "")
        .group_by(runs.c.worker)
    )
    return dict(session.execute(query).all())
