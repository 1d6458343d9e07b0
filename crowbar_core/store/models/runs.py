"""Runs and their logs."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import (
    CheckConstraint,
    Index,
    String,
    text,
)
from sqlalchemy.orm import Mapped, mapped_column

from crowbar_core.domain.states import OPEN_RUN_STATES, RunState
from crowbar_core.store.models.base import (
    NEVER_REUSE_IDS,
    DataOrNothing,
    Model,
    flag,
    json_object,
    number,
    one_of,
    ref,
    words,
)

_OPEN = text(one_of("state", OPEN_RUN_STATES))
OPEN_RUNS = text(one_of("runs.state", OPEN_RUN_STATES))
"""That a run is open, in the words of the indexes of open runs: SQLite takes no other for the same."""
_WOKEN = text("woken AND finished_at IS NULL")
_AGAIN = text("again_at IS NOT NULL AND finished_at IS NULL")


class Run(Model):
    """One execution of a noderole by its jig. ``attempt`` counts the tries since the last success or retry.

    Outcomes are accepted only while the run is open and held by ``worker``: that fences off late writers. ``taken``
    counts how often it was taken on, which tells one worker's late word from its new one.

    A run in steps has a ``step``, in which it waits (``pending``) until it is ``woken``: then it is taken on again. One
    that is woken while it executes is so once more afterwards. ``again_at`` wakes it by itself (a retry). ``overdue``:
    the deadline of its step has passed, which its function is told.
    """

    __tablename__ = "runs"
    __table_args__ = (
        CheckConstraint(one_of("state", RunState), name="state"),
        CheckConstraint(f"({one_of('state', OPEN_RUN_STATES)}) = (finished_at IS NULL)", name="finished_means_a_time"),
        Index("uq_runs_one_open_per_node", "node_id", unique=True, sqlite_where=_OPEN, postgresql_where=_OPEN),
        Index("ix_runs_open", "state", "id", sqlite_where=_OPEN, postgresql_where=_OPEN),
        Index("ix_runs_node_role", "node_role_id", "id"),
        Index("ix_runs_node", "node_id", "id"),
        Index("ix_runs_woken", "id", sqlite_where=_WOKEN, postgresql_where=_WOKEN),
        Index("ix_runs_again_at", "again_at", sqlite_where=_AGAIN, postgresql_where=_AGAIN),
        NEVER_REUSE_IDS,
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    node_role_id: Mapped[int] = ref("node_roles.id", "CASCADE", index=False)
    node_id: Mapped[int] = ref("nodes.id", "CASCADE", index=False)
    state: Mapped[str] = mapped_column(String(16))
    refresh: Mapped[bool] = flag()
    """Its noderole keeps its state meanwhile: also of what tears down (``teardown``)."""
    teardown: Mapped[bool] = flag()
    pending: Mapped[bool] = flag()
    attempt: Mapped[int] = number(1)
    input: Mapped[dict[str, Any]] = json_object()
    exit_reason: Mapped[str] = words()
    worker: Mapped[str] = words()
    queued_at: Mapped[datetime]
    rung_at: Mapped[datetime]
    started_at: Mapped[datetime | None]
    finished_at: Mapped[datetime | None]
    lease_until: Mapped[datetime | None]
    deadline: Mapped[datetime | None]
    log_lines: Mapped[int] = number()
    step: Mapped[Any | None] = mapped_column(DataOrNothing)
    woken: Mapped[bool] = flag()
    overdue: Mapped[bool] = flag()
    again_at: Mapped[datetime | None]
    taken: Mapped[int] = number()


class RunStep(Model):
    """A step that a run went through: since when, and what it waited for, until when at the latest."""

    __tablename__ = "run_steps"
    run_id: Mapped[int] = ref("runs.id", "CASCADE", primary_key=True, index=False)
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    name: Mapped[str]
    at: Mapped[datetime]
    reason: Mapped[str] = words()
    until: Mapped[datetime]


class RunTotal(Model):
    """How many runs of a role ended so, since the role is known here; it outlives the runs themselves.

    ``seconds`` were spent running, ``waited`` in the queue; both are sums.
    """

    __tablename__ = "run_totals"
    role_id: Mapped[int] = ref("roles.id", "CASCADE", primary_key=True, index=False)
    outcome: Mapped[str] = mapped_column(String(16), primary_key=True)
    runs: Mapped[int] = number()
    seconds: Mapped[float] = mapped_column(server_default=text("0"))
    waited: Mapped[float] = mapped_column(server_default=text("0"))


class RunLog(Model):
    __tablename__ = "run_logs"
    run_id: Mapped[int] = ref("runs.id", "CASCADE", primary_key=True, index=False)
    seq: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    at: Mapped[datetime]
    stream: Mapped[str] = mapped_column(String(8))
    line: Mapped[str]
