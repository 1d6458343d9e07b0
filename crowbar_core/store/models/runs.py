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
    Model,
    flag,
    json_object,
    number,
    one_of,
    ref,
    words,
)

_OPEN = text(one_of("state", OPEN_RUN_STATES))


class Run(Model):
    """One execution of a noderole by its jig. ``attempt`` counts the tries since the last success or retry.

    Outcomes are accepted only while the run is open and held by ``worker``: that fences off late writers.
    """

    __tablename__ = "runs"
    __table_args__ = (
        CheckConstraint(one_of("state", RunState), name="state"),
        CheckConstraint(f"({one_of('state', OPEN_RUN_STATES)}) = (finished_at IS NULL)", name="finished_means_a_time"),
        Index("uq_runs_one_open_per_node", "node_id", unique=True, sqlite_where=_OPEN, postgresql_where=_OPEN),
        Index("ix_runs_open", "state", "id", sqlite_where=_OPEN, postgresql_where=_OPEN),
        Index("ix_runs_node_role", "node_role_id", "id"),
        Index("ix_runs_node", "node_id", "id"),
        NEVER_REUSE_IDS,
    )
    id: Mapped[int] = mapped_column(primary_key=True)
    node_role_id: Mapped[int] = ref("node_roles.id", "CASCADE", index=False)
    node_id: Mapped[int] = ref("nodes.id", "CASCADE", index=False)
    state: Mapped[str] = mapped_column(String(16))
    refresh: Mapped[bool] = flag()
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
