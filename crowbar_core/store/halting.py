"""Runs are stopped before their end. What becomes of their noderoles is for the callers to say.

Callers hold the write lock, as those of ``store/transitions.py`` do.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

from sqlalchemy import case, select, update

from crowbar_core.domain.states import RunState
from crowbar_core.store.models import NodeRole, RoleRow, Run, table
from crowbar_core.store.moves import Moves

node_roles = table(NodeRole)
runs = table(Run)
roles = table(RoleRow)


def cancel_runs(moves: Moves, node_role_ids: Collection[int], reason: str, *, queued_only: bool = False) -> list[int]:
    """Cancel the open runs of noderoles that are no longer in TRANSITION, or are about to leave it.

    A run that no worker holds (queued, or pending) ends at once; a running one becomes ``cancelling`` and stays open
    until its worker says that what it started is gone. Returns the noderoles whose runs were touched.
    """
    free = runs.c.state == RunState.QUEUED
    if not queued_only:
        free |= runs.c.pending
        _leave_pending_halfway(moves, node_role_ids)
    states = (RunState.QUEUED,) if queued_only else (RunState.QUEUED, RunState.RUNNING)
    rows = moves.session.execute(
        update(runs)
        .where(moves.store.ids(runs.c.node_role_id, node_role_ids), runs.c.state.in_(states))
        .values(
            state=case((free, RunState.CANCELLED), else_=RunState.CANCELLING),
            finished_at=case((free, moves.now), else_=None),
            exit_reason=reason,
        )
        .returning(runs.c.id, runs.c.node_id, runs.c.node_role_id, runs.c.state)
    ).all()
    _note_cancelled(moves, rows)
    return [row.node_role_id for row in rows]


def _leave_pending_halfway(moves: Moves, node_role_ids: Collection[int]) -> None:
    """Nobody will report the end of destructive work that goes on elsewhere when its run is cancelled."""
    going_on = (
        select(runs.c.node_role_id)
        .join(node_roles, node_roles.c.id == runs.c.node_role_id)
        .join(roles, roles.c.id == node_roles.c.role_id)
        .where(
            moves.store.ids(runs.c.node_role_id, node_role_ids), runs.c.pending, runs.c.finished_at.is_(None),
            ~runs.c.refresh, roles.c.destructive,
        )
    )  # fmt: skip
    found = moves.session.scalars(going_on).all()
    if found:
        moves.session.execute(
            update(node_roles)
            .where(moves.store.ids(node_roles.c.id, found), ~node_roles.c.done)
            .values(halfway=True, look_at=moves.now)
        )


def abandon_runs(moves: Moves, node_id: int, reason: str, *, but: Collection[int] = ()) -> None:
    """The node is dead, so nothing runs on it: all its open runs ``but`` these are cancelled at once."""
    abandon_runs_on(moves, [node_id], reason, but=but)


def abandon_runs_on(moves: Moves, node_ids: Collection[int], reason: str, *, but: Collection[int] = ()) -> None:
    """The same of many nodes."""
    if not node_ids:
        return
    rows = moves.session.execute(
        update(runs)
        .where(
            moves.store.ids(runs.c.node_id, node_ids),
            runs.c.id.not_in(but),
            runs.c.state.in_((RunState.QUEUED, RunState.RUNNING, RunState.CANCELLING)),
        )
        .values(state=RunState.CANCELLED, finished_at=moves.now, exit_reason=reason)
        .returning(runs.c.id, runs.c.node_id, runs.c.node_role_id, runs.c.state)
    ).all()
    _note_cancelled(moves, rows)
    moves.cancelling.extend(row.id for row in rows)  # its worker may still wait for an answer


def _note_cancelled(moves: Moves, rows: Iterable[Any]) -> None:
    for row in rows:
        if row.state == RunState.CANCELLING:
            moves.cancelling.append(row.id)
        else:
            moves.ended_runs.append(row.id)
            moves.woken.add(row.node_id)
