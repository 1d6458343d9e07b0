"""Runs, their logs and what failed, as the pages show them: a constant number of statements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import and_, case, func, select
from sqlalchemy.orm import Session

from crowbar_core.domain.states import OPEN_RUN_STATES, RunState, State
from crowbar_core.store.listing import lines
from crowbar_core.store.listings.runs import RUNS
from crowbar_core.store.models import (
    Deployment,
    Node,
    NodeRole,
    RoleRow,
    Run,
    RunLog,
    table,
)

_runs = table(Run)

# ---------------------------------------------------------------- runs


@dataclass(frozen=True, kw_only=True)
class RunLine:
    id: int
    node_role_id: int
    node_id: int
    node: str
    role: str
    state: str
    refresh: bool
    pending: bool
    attempt: int
    exit_reason: str
    worker: str
    queued_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    deadline: datetime | None
    log_lines: int


def open_runs(session: Session, *, limit: int = 100) -> list[RunLine]:
    """Running first, then the queue in its order."""
    order = (case((_runs.c.state == RunState.QUEUED, 1), else_=0), _runs.c.id)
    return lines(session, RUNS, RunLine, where=(_runs.c.state.in_(OPEN_RUN_STATES),), order=order, limit=limit)


def recent_runs(session: Session, *, limit: int = 15, look_back: int = 500) -> list[RunLine]:
    """Those that finished last, among the ``look_back`` newest runs: reading all runs ever made would take too long."""
    newest = select(Run.id).order_by(Run.id.desc()).limit(look_back).subquery()
    where = (_runs.c.id.in_(select(newest.c.id)), _runs.c.finished_at.is_not(None))
    return lines(
        session, RUNS, RunLine, where=where, order=(_runs.c.finished_at.desc(), _runs.c.id.desc()), limit=limit
    )


def runs_page(session: Session, *, before: int | None = None, state: str = "", limit: int = 100) -> list[RunLine]:
    """Newest first."""
    where = [] if before is None else [_runs.c.id < before]
    if state:
        where.append(_runs.c.state == state)
    return lines(session, RUNS, RunLine, where=where, limit=limit)


def runs_of(
    session: Session, *, node_role_id: int | None = None, node_id: int | None = None, limit: int = 20
) -> list[RunLine]:
    """The newest runs of a noderole or of a node."""
    of = _runs.c.node_role_id == node_role_id if node_role_id is not None else _runs.c.node_id == node_id
    return lines(session, RUNS, RunLine, where=(of,), limit=limit)


def run_line(session: Session, run_id: int) -> RunLine | None:
    return next(iter(lines(session, RUNS, RunLine, where=(_runs.c.id == run_id,))), None)


def run_input(session: Session, run_id: int) -> Mapping[str, Any]:
    found: dict[str, Any] = session.execute(select(Run.input).where(Run.id == run_id)).scalar_one()
    return found


@dataclass(frozen=True, kw_only=True)
class LogLine:
    seq: int
    at: datetime
    stream: str
    line: str


def log_lines(session: Session, run_id: int, *, after: int, limit: int = 1000) -> list[LogLine]:
    query = (
        select(RunLog.seq, RunLog.at, RunLog.stream, RunLog.line)
        .where(RunLog.run_id == run_id, RunLog.seq > after)
        .order_by(RunLog.seq)
        .limit(limit)
    )
    return [LogLine(**row._mapping) for row in session.execute(query)]


def log_tail(session: Session, run_id: int, *, limit: int = 1000) -> list[LogLine]:
    query = (
        select(RunLog.seq, RunLog.at, RunLog.stream, RunLog.line)
        .where(RunLog.run_id == run_id)
        .order_by(RunLog.seq.desc())
        .limit(limit)
    )
    return [LogLine(**row._mapping) for row in reversed(session.execute(query).all())]


# ---------------------------------------------------------------- failures


@dataclass(frozen=True, kw_only=True)
class Failure:
    node_role_id: int
    node_id: int
    node: str
    role: str
    deployment_id: int
    deployment: str
    status: str
    since: datetime
    run_id: int | None
    seq: int | None
    line: str


def failures(session: Session, *, limit: int = 50) -> list[Failure]:
    """Noderoles in ERROR, newest first, each with its last run and the line of its log that tells most."""
    rows = session.execute(
        select(
            NodeRole.id.label("node_role_id"),
            NodeRole.node_id,
            Node.name.label("node"),
            RoleRow.name.label("role"),
            NodeRole.deployment_id,
            Deployment.name.label("deployment"),
            NodeRole.status,
            NodeRole.updated_at.label("since"),
        )
        # From the deployments, because the index that leads to states begins with them.
        .select_from(Deployment)
        .join(NodeRole, and_(NodeRole.deployment_id == Deployment.id, NodeRole.state == int(State.ERROR)))
        .join(Node, Node.id == NodeRole.node_id)
        .join(RoleRow, RoleRow.id == NodeRole.role_id)
        .order_by(NodeRole.updated_at.desc(), NodeRole.id.desc())
        .limit(limit)
    ).all()
    last = last_runs(session, [row.node_role_id for row in rows])
    lines = telling_lines(session, list(last.values()))
    found = []
    for row in rows:
        run_id = last.get(row.node_role_id)
        seq, line = lines.get(run_id, (None, "")) if run_id is not None else (None, "")
        found.append(Failure(**row._mapping, run_id=run_id, seq=seq, line=line))
    return found


def last_runs(session: Session, node_role_ids: Sequence[int]) -> Mapping[int, int]:
    if not node_role_ids:
        return {}
    query = (
        select(Run.node_role_id, func.max(Run.id)).where(Run.node_role_id.in_(node_role_ids)).group_by(Run.node_role_id)
    )
    return dict(session.execute(query).all())


def telling_lines(session: Session, run_ids: Sequence[int]) -> Mapping[int, tuple[int, str]]:
    """For each run the last line on stderr, or else its last line: (seq, text)."""
    if not run_ids:
        return {}
    best = (
        select(
            RunLog.run_id,
            func.coalesce(func.max(case((RunLog.stream == "stderr", RunLog.seq))), func.max(RunLog.seq)).label("seq"),
        )
        .where(RunLog.run_id.in_(run_ids))
        .group_by(RunLog.run_id)
        .subquery()
    )
    query = select(RunLog.run_id, RunLog.seq, RunLog.line).join(
        best, and_(best.c.run_id == RunLog.run_id, best.c.seq == RunLog.seq)
    )
    return {run_id: (seq, line) for run_id, seq, line in session.execute(query)}
