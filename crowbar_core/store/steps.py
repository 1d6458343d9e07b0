"""Runs in steps: where each is, what it went through, and which are to be called again. Rows only."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import func, insert, select, update
from sqlalchemy.orm import Session

from crowbar_core.barclamp import Json
from crowbar_core.domain.states import RunState
from crowbar_core.domain.steps import step_name
from crowbar_core.store.db import Store
from crowbar_core.store.models import Run, RunStep, table

runs, run_steps = table(Run), table(RunStep)

_GOES_ON = (runs.c.state == str(RunState.RUNNING)) & runs.c.finished_at.is_(None)


@dataclass(frozen=True, kw_only=True)
class Step:
    """One line of a run's timeline. ``until`` is its deadline, ``ended_at`` when the next began or the run ended."""

    seq: int
    name: str
    at: datetime
    reason: str
    until: datetime
    ended_at: datetime | None


def wait(session: Session, now: datetime, run_id: int, *, step: Json, reason: str, deadline: float) -> None:
    """Nobody holds the run until it is woken, ended through the API, or its deadline (seconds from now) passes.

    ``step`` None: it is in no step, and no wake that came meanwhile means anything. One that is in the step in which it
    was before has been there since then.
    """
    until = now + timedelta(seconds=deadline)
    said = f"step {step_name(step)}: {reason}" if step is not None and reason else reason
    if step is not None and not reason:
        said = f"step {step_name(step)}"
    session.execute(
        update(runs)
        .where(runs.c.id == run_id)
        .values(
            pending=True, worker="", lease_until=None, deadline=until, overdue=False, again_at=None, step=step,
            exit_reason=said or "waiting to be reported", **({} if step is not None else {"woken": False}),
        )
    )  # fmt: skip
    if step is not None:
        _write_down(session, now, run_id, step_name(step), reason, until)


def enter(session: Session, run_id: int, step: Json) -> None:
    """From now on it goes on at this step, should its worker die. It has waited for nothing yet."""
    session.execute(update(runs).where(runs.c.id == run_id).values(step=step))


def _write_down(session: Session, now: datetime, run_id: int, name: str, reason: str, until: datetime) -> None:
    last = session.execute(
        select(run_steps.c.seq, run_steps.c.name)
        .where(run_steps.c.run_id == run_id)
        .order_by(run_steps.c.seq.desc())
        .limit(1)
    ).one_or_none()
    if last is not None and last.name == name:
        here = (run_steps.c.run_id == run_id, run_steps.c.seq == last.seq)
        session.execute(update(run_steps).where(*here).values(reason=reason, until=until))
        return
    seq = 1 if last is None else last.seq + 1
    session.execute(insert(run_steps).values(run_id=run_id, seq=seq, name=name, at=now, reason=reason, until=until))


def timelines(session: Session, run_ids: Sequence[int]) -> dict[int, list[Step]]:
    """The steps of these runs in the order in which they went through them. Those without any are left out."""
    rows = session.execute(
        select(
            run_steps.c.run_id, run_steps.c.seq, run_steps.c.name, run_steps.c.at, run_steps.c.reason,
            run_steps.c.until, runs.c.finished_at,
        )
        .join(runs, runs.c.id == run_steps.c.run_id)
        .where(run_steps.c.run_id.in_(run_ids))
        .order_by(run_steps.c.run_id, run_steps.c.seq)
    ).all()  # fmt: skip
    found: dict[int, list[Step]] = {}
    for row, after in zip(rows, [*rows[1:], None], strict=False):
        ended_at = after.at if after is not None and after.run_id == row.run_id else row.finished_at
        found.setdefault(row.run_id, []).append(
            Step(seq=row.seq, name=row.name, at=row.at, reason=row.reason, until=row.until, ended_at=ended_at)
        )
    return found


def timeline(session: Session, run_id: int) -> list[Step]:
    """The steps of a run in the order in which it went through them."""
    return timelines(session, [run_id]).get(run_id, [])


def steps_of(session: Session, run_id: int) -> int:
    """How many steps the run has gone through."""
    return session.scalar(select(func.count()).select_from(run_steps).where(run_steps.c.run_id == run_id)) or 0


def wake(session: Session, now: datetime, node_role_id: int) -> int | None:
    """Have the noderole's run called again. Returns its id if it can be taken on at once.

    While it executes it is remembered. A run that nobody has begun, or that waits in no step, is not concerned.
    """
    row = session.execute(
        update(runs)
        .where(runs.c.node_role_id == node_role_id, _GOES_ON, ~runs.c.pending | runs.c.step.is_not(None))
        .values(woken=True, rung_at=now)
        .returning(runs.c.id, runs.c.pending)
    ).one_or_none()
    return int(row.id) if row is not None and row.pending else None


def resume(session: Session, now: datetime, run_id: int, *, delay: float, reason: str) -> None:
    """The worker of a run in steps has gone, or asks for a delay: it goes on at its last step after ``delay`` seconds.

    What it waits for is called ``reason`` until then.
    """
    again_at = now + timedelta(seconds=delay) if delay > 0 else None
    session.execute(
        update(runs)
        .where(runs.c.id == run_id)
        .values(
            pending=True, worker="", lease_until=None, deadline=None, exit_reason=reason, again_at=again_at,
            **({} if again_at is not None else {"woken": True, "rung_at": now}),
        )
    )  # fmt: skip


def wake_due(session: Session, store: Store, now: datetime, overdue: Collection[int] = ()) -> list[int]:
    """Wake the runs whose delay is over, and these whose step's deadline has passed. Returns them."""
    fresh = {"woken": True, "rung_at": now, "again_at": None}
    woken: Sequence[int] = session.scalars(
        update(runs)
        .where(runs.c.again_at <= now, runs.c.finished_at.is_(None), runs.c.pending)
        .values(fresh)
        .returning(runs.c.id)
    ).all()
    late: Sequence[int] = ()
    if overdue:
        late = session.scalars(
            update(runs)
            .where(store.ids(runs.c.id, overdue), _GOES_ON, runs.c.pending, runs.c.deadline < now)
            .values(fresh | {"overdue": True, "deadline": None})
            .returning(runs.c.id)
        ).all()
    return sorted({*woken, *late})


def is_due(session: Session, now: datetime) -> bool:
    """Whether the delay of a run is over."""
    found = select(runs.c.id).where(runs.c.again_at <= now, runs.c.finished_at.is_(None)).limit(1)
    return session.scalar(found) is not None


def next_at(session: Session) -> datetime | None:
    """When the next run is woken by itself."""
    moment = session.scalar(
        select(func.min(runs.c.again_at)).where(runs.c.again_at.is_not(None), runs.c.finished_at.is_(None))
    )
    return moment if isinstance(moment, datetime) else None
