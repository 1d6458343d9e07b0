"""Runs: which noderoles are runnable, making, claiming, holding and ending runs. Rows only; states are
moved elsewhere.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Integer,
    Select,
    and_,
    bindparam,
    exists,
    func,
    literal,
    literal_column,
    or_,
    select,
    text,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.orm import Session

from crowbar_core.domain.states import OPEN_RUN_STATES, RunState, State
from crowbar_core.store.bulk import objects, objects_of
from crowbar_core.store.db import Store, ids_named
from crowbar_core.store.flags import flag
from crowbar_core.store.models import (
    OPEN_RUNS,
    RUNNABLE_INDEX,
    Deployment,
    Edge,
    Node,
    NodeRole,
    RoleRow,
    Run,
    RunLog,
    UtcDateTime,
    table,
)
from crowbar_core.store.open_runs import Offered

nodes, roles, deployments = table(Node), table(RoleRow), table(Deployment)
node_roles, runs, run_logs, edges = table(NodeRole), table(Run), table(RunLog), table(Edge)

OPEN = tuple(str(state) for state in OPEN_RUN_STATES)
_INDEXED: ColumnElement[bool] = literal_column(
    f"({RUNNABLE_INDEX.replace('state', 'node_roles.state').replace('rerun', 'node_roles.rerun')})"
)


@dataclass(frozen=True, slots=True)
class Runnable:
    """A noderole that may run now: the first of its node. With what the run that is made for it is carried out by."""

    id: int
    node_id: int
    role_id: int
    deployment_id: int
    state: int
    done: bool
    halfway: bool
    attempts: int
    goes_back: bool
    once: str
    role: str
    destructive: bool
    jig: str
    max_attempts: int
    on_change: str
    timeout: float
    deployment: str

    def offered(self, run_id: int) -> Offered:
        """The run that has just been made for it, which is no refresh."""
        return Offered(
            id=run_id, node_role_id=self.id, node_id=self.node_id, state=str(RunState.QUEUED), refresh=False,
            pending=False, worker="", taken=0, step=None, woken=False, role_id=self.role_id, role=self.role,
            jig=self.jig, node_role_state=State.TRANSITION, rerun=False, attempts=self.attempts + 1,
            max_attempts=self.max_attempts, destructive=self.destructive, on_change=self.on_change,
            goes_back=self.goes_back, teardown=False, timeout=self.timeout, once=self.once,
            deployment=self.deployment,
        )  # fmt: skip


_NOW: ColumnElement[datetime] = bindparam("now", type_=UtcDateTime())


def _runnable(*, delayed: bool = False) -> Select[Any]:
    """What may run now (``delayed``: once its delay is over), of the parameter ``now``. What is above a run that is to
    end first (``goes_back``) waits for that end.
    """
    due = or_(node_roles.c.not_before.is_(None), node_roles.c.not_before <= _NOW)
    below = node_roles.alias()
    above = (
        select(edges.c.parent_id.label("id"))
        .join(below, below.c.id == edges.c.child_id)
        .where(flag(below.c.goes_back))
        .cte("above", recursive=True)
    )
    further = edges.alias()
    above = above.union(select(further.c.parent_id).join(above, further.c.child_id == above.c.id))
    open_run = exists().where(runs.c.node_id == nodes.c.id, runs.c.state.in_(OPEN))
    return (
        select(node_roles.c.node_id, *([node_roles.c.not_before] if delayed else ()))
        .join(nodes, nodes.c.id == node_roles.c.node_id)
        .join(deployments, deployments.c.id == node_roles.c.deployment_id)
        .join(roles, roles.c.id == node_roles.c.role_id)
        .where(
            _INDEXED,
            ~node_roles.c.leaving,
            node_roles.c.available,
            nodes.c.alive,
            nodes.c.available,
            deployments.c.committed,
            roles.c.ready,
            node_roles.c.not_before > _NOW if delayed else due,
            or_(node_roles.c.state != int(State.TODO), node_roles.c.id.not_in(select(above.c.id))),
            ~open_run,
        )
    )


# Built once: building a statement costs more than the database needs to answer it.
_RUNNABLE = _runnable()
_LATER = _runnable(delayed=True).subquery()
_COUNT_LATER = select(func.count(), func.min(_LATER.c.not_before))


@cache
def _first_runnable(postgresql: bool) -> Select[Any]:
    place = func.row_number().over(partition_by=node_roles.c.node_id, order_by=(node_roles.c.cohort, node_roles.c.id))
    ranked = (
        _RUNNABLE.add_columns(
            node_roles.c.id, node_roles.c.cohort, node_roles.c.role_id, node_roles.c.deployment_id, node_roles.c.state,
            node_roles.c.done, node_roles.c.halfway, node_roles.c.attempts, node_roles.c.goes_back, node_roles.c.once,
            roles.c.name.label("role"), roles.c.destructive, roles.c.jig_name.label("jig"), roles.c.max_attempts,
            roles.c.on_change, roles.c.timeout, deployments.c.name.label("deployment"), place.label("place"),
        )
        .where(ids_named(node_roles.c.node_id, "node_ids", postgresql=postgresql))
        .subquery()
    )  # fmt: skip
    return (
        select(*(ranked.c[one.name] for one in fields(Runnable)))
        .where(ranked.c.place == 1)
        .order_by(ranked.c.cohort, ranked.c.id)
    )


def ends_first(session: Session, node_role_id: int) -> Sequence[int]:
    """The noderoles below this one whose runs have to end before it may run."""
    return session.scalars(_ENDS_FIRST, {"above": node_role_id}).all()


def _ends_first() -> Select[Any]:
    down = select(edges.c.child_id.label("id")).where(edges.c.parent_id == bindparam("above"))
    tree = down.cte("down", recursive=True)
    tree = tree.union(select(edges.c.child_id).join(tree, edges.c.parent_id == tree.c.id))
    return select(node_roles.c.id).where(flag(node_roles.c.goes_back), node_roles.c.id.in_(select(tree.c.id)))


_ENDS_FIRST = _ends_first()


def first_runnable(session: Session, store: Store, now: datetime, node_ids: Collection[int]) -> list[Runnable]:
    """For each of these nodes that has no open run: the first runnable noderole by (cohort, id)."""
    given = {"now": now, "node_ids": store.id_values(node_ids)}
    return [Runnable(*row) for row in session.execute(_first_runnable(store.postgresql), given)]


def idle_nodes_with_work(session: Session, now: datetime, limit: int, *, delayed: bool = False) -> list[int]:
    """Nodes on which something is runnable though nothing runs: what a crash left lying. ``delayed``: only what had to
    wait for its time, which has come.
    """
    found = _RUNNABLE.where(node_roles.c.not_before.is_not(None)) if delayed else _RUNNABLE
    return list(session.scalars(found.distinct().limit(limit), {"now": now}))


def waits() -> ColumnElement[bool]:
    """Of the table node_roles: what is not ACTIVE, or is to be refreshed, and has no open run."""
    open_run = exists().where(runs.c.node_role_id == node_roles.c.id, runs.c.state.in_(OPEN))
    wanted = [int(State.ERROR), int(State.TODO), int(State.BLOCKED)]
    return and_(or_(node_roles.c.state.in_(wanted), and_(_INDEXED, node_roles.c.rerun)), ~open_run)


def stale(session: Session) -> int:
    """How many ACTIVE noderoles are to be refreshed."""
    wanted = and_(_INDEXED, node_roles.c.state == int(State.ACTIVE))
    return session.scalar(select(func.count()).select_from(node_roles).where(wanted)) or 0


def delayed(session: Session, now: datetime) -> tuple[int, datetime | None]:
    """How many noderoles will be runnable when their delay is over, and when the first of them is."""
    count, first = session.execute(_COUNT_LATER, {"now": now}).one()
    return count, first


def next_retry_at(session: Session, now: datetime) -> datetime | None:
    """When the next delayed retry is due."""
    moment = session.scalar(select(func.min(node_roles.c.not_before)).where(_INDEXED, node_roles.c.not_before > now))
    return moment if isinstance(moment, datetime) else None


def make(
    session: Session, store: Store, now: datetime, chosen: Sequence[Runnable], inputs: Mapping[int, dict[str, Any]]
) -> dict[int, int]:
    """Queue a run for each, in the order of their cohorts; a node that has an open run after all is passed over.

    Returns noderole id -> run id.
    """
    if not chosen:
        return {}
    given = objects_of(store, {one.id: inputs.get(one.id, {}) for one in chosen})
    return {row.node_role_id: row.id for row in session.execute(_make(store.postgresql), {**given, "now": now})}


@cache
def _make(postgresql: bool) -> Any:
    """Built once: each run that is made needs it."""
    dialect_insert: Any = postgresql_insert if postgresql else sqlite_insert
    inputs = objects(postgresql=postgresql)
    made = (
        select(
            node_roles.c.id, node_roles.c.node_id, literal(str(RunState.QUEUED)),
            node_roles.c.state == int(State.ACTIVE), node_roles.c.attempts + 1, inputs.c.object, _NOW, _NOW,
        )
        .join(inputs, inputs.c.id == node_roles.c.id)
        .order_by(node_roles.c.cohort, node_roles.c.id)
    )  # fmt: skip
    return (
        dialect_insert(runs)
        .from_select(
            ["node_role_id", "node_id", "state", "refresh", "attempt", "input", "queued_at", "rung_at"],
            made, include_defaults=False,
        )
        .on_conflict_do_nothing()
        .returning(runs.c.id, runs.c.node_role_id)
    )  # fmt: skip


def skip_numbers(session: Session, store: Store, count: int) -> int:
    """Let the ids of runs go on by so many further on. Returns the next one."""
    if store.postgresql:
        sequence = func.pg_get_serial_sequence("runs", "id")
        last = session.scalar(select(func.setval(sequence, func.nextval(sequence) + count)))
        return int(last or 0) + 1
    known = session.scalar(text("SELECT seq FROM sqlite_sequence WHERE name = 'runs'"))
    change = "INSERT INTO sqlite_sequence (name, seq) VALUES ('runs', :last)"
    if known is not None:
        change = "UPDATE sqlite_sequence SET seq = :last WHERE name = 'runs'"
    session.execute(text(change), {"last": (known or 0) + count})
    return int(known or 0) + count + 1


def claim(
    session: Session, store: Store, now: datetime, run_ids: Collection[int], worker: str, lease_seconds: float, *,
    fresh: bool = False,
) -> dict[int, Any]:  # fmt: skip
    """Take queued runs for ``worker``, and those that were woken in their step: id -> (attempt, refresh, input,
    overdue, taken, log_lines). Those that somebody else has, or that have ended, are not among the answer; nor, where
    only ``fresh`` ones are taken, those whose input has changed.
    """
    given = {
        "run_ids": store.id_values(run_ids), "by": worker, "now": now, "until": now + timedelta(seconds=lease_seconds),
    }  # fmt: skip
    return {row.id: row for row in session.execute(_claim(store.postgresql, fresh), given)}


@cache
def _claim(postgresql: bool, fresh: bool) -> Any:
    """Built once: each run that begins asks it."""
    stale = exists().where(node_roles.c.id == runs.c.node_role_id, node_roles.c.rerun)
    woken = and_(runs.c.state == str(RunState.RUNNING), runs.c.pending, runs.c.woken)
    return (
        update(runs)
        .where(
            ids_named(runs.c.id, "run_ids", postgresql=postgresql), or_(runs.c.state == str(RunState.QUEUED), woken),
            *((~stale,) if fresh else ()),
        )
        .values(
            state=str(RunState.RUNNING), worker=bindparam("by"), started_at=func.coalesce(runs.c.started_at, _NOW),
            lease_until=bindparam("until", type_=UtcDateTime()), taken=runs.c.taken + 1,
            pending=False, woken=False, again_at=None, deadline=None,
        )
        .returning(
            runs.c.id, runs.c.attempt, runs.c.refresh, runs.c.input, runs.c.overdue, runs.c.taken, runs.c.log_lines
        )
    )  # fmt: skip


def renew(
    session: Session, store: Store, now: datetime, run_ids: Collection[int], worker: str, lease_seconds: float
) -> set[int]:
    """Renew the leases that ``worker`` holds. Runs missing from the answer are no longer its own."""
    return set(
        session.scalars(
            update(runs)
            .where(store.ids(runs.c.id, run_ids), runs.c.worker == worker, runs.c.finished_at.is_(None))
            .values(lease_until=now + timedelta(seconds=lease_seconds))
            .returning(runs.c.id)
        )
    )


def is_held(connection: Connection, now: datetime, run_id: int, worker: str, taken: int) -> bool:
    """Whether ``worker``, who took it on as the ``taken``-th, may still work on the run: it is to go on, and the lease
    has not ended.
    """
    return connection.scalar(_HELD, {"run": run_id, "by": worker, "taking": taken, "now": now}) is not None


_HELD = select(runs.c.id).where(
    runs.c.id == bindparam("run"),
    runs.c.worker == bindparam("by"),
    runs.c.taken == bindparam("taking"),
    runs.c.state == str(RunState.RUNNING),
    runs.c.lease_until > _NOW,
)


def to_be_stopped(session: Session, store: Store, run_ids: Collection[int]) -> list[int]:
    """Those of these runs that are to be cancelled, or have ended behind their worker's back."""
    return list(
        session.scalars(select(runs.c.id).where(store.ids(runs.c.id, run_ids), runs.c.state != str(RunState.RUNNING)))
    )


def queued(session: Session, limit: int, *, rung_before: datetime | None = None) -> list[int]:
    """Queued runs, and those that were woken in their step, in the order in which they were made."""
    return list(session.scalars(_TO_BE_TAKEN if rung_before is None else _UNHEARD, {"before": rung_before, "n": limit}))


def _free(*further: ColumnElement[bool]) -> Select[Any]:
    woken = (flag(runs.c.woken), runs.c.finished_at.is_(None), runs.c.pending, runs.c.state == str(RunState.RUNNING))
    found = union_all(
        select(runs.c.id).where(runs.c.state == str(RunState.QUEUED), OPEN_RUNS, *further),
        select(runs.c.id).where(*woken, *further),
    ).subquery()
    return select(found.c.id).order_by(found.c.id).limit(bindparam("n", type_=Integer()))


_TO_BE_TAKEN = _free()
_UNHEARD = _free(runs.c.rung_at < bindparam("before", type_=UtcDateTime()))


def row_of(session: Session, run_id: int) -> Any:
    """(id, state, pending, node_role_id, step), or None."""
    return session.execute(
        select(runs.c.id, runs.c.state, runs.c.pending, runs.c.node_role_id, runs.c.step).where(runs.c.id == run_id)
    ).one_or_none()


def node_of(session: Session, run_id: int) -> int | None:
    return session.scalar(select(runs.c.node_id).where(runs.c.id == run_id))


def of_jigs(session: Session, store: Store, run_ids: Collection[int], jigs: Collection[str]) -> list[int]:
    """Those of these runs whose role has one of the jigs."""
    given = {"ids": store.id_values(run_ids), "jigs": list(jigs)}
    return list(session.scalars(_of_jigs(store.postgresql), given))


@cache
def _of_jigs(postgresql: bool) -> Select[Any]:
    return (
        select(runs.c.id)
        .join(node_roles, node_roles.c.id == runs.c.node_role_id)
        .join(roles, roles.c.id == node_roles.c.role_id)
        .where(
            ids_named(runs.c.id, "ids", postgresql=postgresql),
            roles.c.jig_name.in_(bindparam("jigs", expanding=True)),
        )
    )


def rung(session: Session, store: Store, now: datetime, run_ids: Collection[int]) -> None:
    session.execute(update(runs).where(store.ids(runs.c.id, run_ids)).values(rung_at=now))


@dataclass(frozen=True, slots=True)
class Overdue:
    """A run whose lease has ended, or whose deadline has passed while it was pending, ``in_steps`` or not."""

    id: int
    pending: bool
    in_steps: bool


def overdue(session: Session, now: datetime) -> list[Overdue]:
    """Runs whose lease, or whose deadline when pending, has passed."""
    rows = session.execute(
        select(runs.c.id, runs.c.pending, runs.c.step.is_not(None).label("in_steps")).where(
            OPEN_RUNS,
            runs.c.state.in_((str(RunState.RUNNING), str(RunState.CANCELLING))),
            or_(runs.c.lease_until < now, runs.c.deadline < now),
        )
    )
    return [Overdue(row.id, row.pending, row.in_steps) for row in rows]


def holders(session: Session) -> dict[str, list[int]]:
    """Worker -> the runs that it holds now (pending ones are held by nobody)."""
    found: dict[str, list[int]] = {}
    for row in session.execute(
        select(runs.c.worker, runs.c.id).where(
            OPEN_RUNS, runs.c.state.in_((str(RunState.RUNNING), str(RunState.CANCELLING))), ~runs.c.pending
        )
    ):
        found.setdefault(row.worker, []).append(row.id)
    return found


def append_log(session: Session, store: Store, rows: Sequence[Mapping[str, Any]], counts: Mapping[int, int]) -> None:
    """Add lines (run_id, seq, at, stream, line). ``counts``: run id -> lines it has now. A run deleted meanwhile is
    passed over, and so is a line that is there already: the connection was lost when its commit had just been done.
    """
    there = set(session.scalars(_there(store.postgresql), {"ids": store.id_values(counts)}))
    kept = [dict(row) for row in rows if row["run_id"] in there]
    if not kept:
        return
    session.execute(_add_lines(store.postgresql), kept)
    session.connection().execute(_COUNT_LINES, [{"run": run_id, "lines": count} for run_id, count in counts.items()])


@cache
def _there(postgresql: bool) -> Select[Any]:
    return select(runs.c.id).where(ids_named(runs.c.id, "ids", postgresql=postgresql))


@cache
def _add_lines(postgresql: bool) -> Any:
    dialect_insert: Any = postgresql_insert if postgresql else sqlite_insert
    return dialect_insert(run_logs).on_conflict_do_nothing()


_COUNT_LINES = update(runs).where(runs.c.id == bindparam("run")).values(log_lines=bindparam("lines"))
