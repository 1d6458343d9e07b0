"""Open runs, with what their ends depend on."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from typing import Any

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from crowbar_core.barclamp import Json
from crowbar_core.domain.states import RunState, State
from crowbar_core.store.db import Store, ids_named
from crowbar_core.store.models import Deployment, NodeRole, RoleRow, Run, table

node_roles, roles, runs, deployments = table(NodeRole), table(RoleRow), table(Run), table(Deployment)


@dataclass(frozen=True, slots=True)
class OpenRun:
    """An open run as it stands inside this transaction, with its noderole and role."""

    id: int
    node_role_id: int
    node_id: int
    state: str
    refresh: bool
    pending: bool
    worker: str
    taken: int
    step: Json
    woken: bool
    role_id: int
    role: str
    jig: str
    node_role_state: State
    rerun: bool
    attempts: int
    max_attempts: int
    destructive: bool
    on_change: str
    goes_back: bool
    teardown: bool

    @property
    def free(self) -> bool:
        """Whether a worker may take it on."""
        return self.state == RunState.QUEUED or (self.state == RunState.RUNNING and self.pending and self.woken)

    @property
    def in_steps(self) -> bool:
        return self.step is not None


@dataclass(frozen=True, slots=True)
class Offered(OpenRun):
    """An open run that a worker may take on, with what it is carried out by."""

    timeout: float
    once: str
    deployment: str


def open_runs(session: Session, store: Store, ids: Collection[int]) -> list[OpenRun]:
    """Those of these runs that are open, by id."""
    rows = session.execute(_open_runs(store.postgresql), {"run_ids": store.id_values(ids)}).all()
    return [OpenRun(*_fields(row)) for row in rows]


def offered(session: Session, store: Store, ids: Collection[int]) -> list[Offered]:
    """The same, of those that are offered to a worker."""
    rows = session.execute(_offered(store.postgresql), {"run_ids": store.id_values(ids)}).all()
    return [Offered(*(*_fields(row), row.timeout, row.once, row.deployment)) for row in rows]


def _fields(r: Any) -> tuple[Any, ...]:
    return (
        r.id, r.node_role_id, r.node_id, r.state, r.refresh, r.pending, r.worker, r.taken, r.step, r.woken,
        r.role_id, r.name, r.jig_name, State(r.node_role_state), r.rerun, r.attempts, r.max_attempts, r.destructive,
        r.on_change, r.goes_back, r.teardown,
    )  # fmt: skip


@cache
def _offered(postgresql: bool) -> Select[Any]:
    return (
        _open_runs(postgresql)
        .add_columns(roles.c.timeout, node_roles.c.once, deployments.c.name.label("deployment"))
        .join(deployments, deployments.c.id == node_roles.c.deployment_id)
    )


@cache
def _open_runs(postgresql: bool) -> Select[Any]:
    """Built once: each run that begins or ends asks it."""
    return (
        select(
            runs.c.id, runs.c.node_role_id, runs.c.node_id, runs.c.state, runs.c.refresh, runs.c.pending, runs.c.worker,
            runs.c.taken, runs.c.step, runs.c.woken,
            node_roles.c.role_id, roles.c.name, roles.c.jig_name, node_roles.c.state.label("node_role_state"),
            node_roles.c.rerun, node_roles.c.attempts, roles.c.max_attempts, roles.c.destructive, roles.c.on_change,
            node_roles.c.goes_back, runs.c.teardown,
        )
        .join(node_roles, node_roles.c.id == runs.c.node_role_id)
        .join(roles, roles.c.id == node_roles.c.role_id)
        .where(ids_named(runs.c.id, "run_ids", postgresql=postgresql), runs.c.finished_at.is_(None))
        .order_by(runs.c.id)
    )  # fmt: skip
