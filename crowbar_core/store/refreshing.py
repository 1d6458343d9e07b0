"""What is to run again because something changed: who that is, and marking it. States are moved elsewhere."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from sqlalchemy import Select, and_, case, func, or_, select, update
from sqlalchemy.orm import Session

from crowbar_core.domain.states import ACTIVE, ERROR, TODO, TRANSITION, RunState
from crowbar_core.store.db import Store, ids_named
from crowbar_core.store.models import Node, NodeRole, RoleRow, Run, table

node_roles, roles, runs, nodes = table(NodeRole), table(RoleRow), table(Run), table(Node)


def to_run_again(session: Session, store: Store, ids: Collection[int]) -> list[Any]:
    """Those of these noderoles that a change concerns, as (id, node_id, state, role, on_change): ACTIVE ones, those in
    TRANSITION, those in ERROR because their last run failed, and those in TODO that are tried for ever and wait for
    their next try. Destructive work is not done again by a change: not what is done, nor what failed.
    """
    return list(session.execute(_to_run_again(store.postgresql), {"ids": store.id_values(ids)}))


@cache
def _to_run_again(postgresql: bool) -> Select[Any]:
    last = _last_run()
    failed = select(runs.c.id).where(
        runs.c.id == last, runs.c.state.in_([str(RunState.FAILED), str(RunState.LOST)])
    ).exists()  # fmt: skip
    return (
        select(node_roles.c.id, node_roles.c.node_id, node_roles.c.state, roles.c.name.label("role"), roles.c.on_change)
        .join(roles, roles.c.id == node_roles.c.role_id)
        .where(
            ids_named(node_roles.c.id, "ids", postgresql=postgresql),
            ~(roles.c.destructive & node_roles.c.done),
            or_(
                node_roles.c.state.in_([int(ACTIVE), int(TRANSITION)]),
                and_(node_roles.c.state == int(ERROR), ~roles.c.destructive, ~node_roles.c.halfway, failed),
                and_(node_roles.c.state == int(TODO), roles.c.max_attempts == 0, node_roles.c.not_before.is_not(None)),
            ),
        )
        .order_by(node_roles.c.id)
    )


def ask_for(session: Session, store: Store, now: datetime, ids: Collection[int], gather: float) -> None:
    """Mark noderoles that are ACTIVE or in TRANSITION as to run once more. An ACTIVE one begins in ``gather`` seconds,
    unless it is marked and begins sooner: one that gathers does not wait for longer because it has failed.
    """
    soon, before = now + timedelta(seconds=gather), node_roles.c.not_before
    waits = and_(before > now, before <= soon)
    moment = case((and_(node_roles.c.state == int(ACTIVE), or_(before.is_(None), ~waits)), soon), else_=before)
    session.execute(
        update(node_roles)
        .where(store.ids(node_roles.c.id, ids))
        .values(rerun=True, **({"not_before": moment} if gather else {}))
    )


def try_soon(session: Session, store: Store, now: datetime, ids: Collection[int], gather: float) -> None:
    """Let those that wait to be tried again wait for ``gather`` seconds at most; their attempts count anew."""
    soon = now + timedelta(seconds=gather)
    moment = case((node_roles.c.not_before > soon, soon), else_=node_roles.c.not_before)
    session.execute(update(node_roles).where(store.ids(node_roles.c.id, ids)).values(attempts=0, not_before=moment))


def bound_of(session: Session, role: str, node_id: int | None = None) -> list[int] | None:
    """All noderoles of a role, or that on one node; None when there is no such role."""
    role_id = session.scalar(select(roles.c.id).where(roles.c.name == role))
    if role_id is None:
        return None
    found = select(node_roles.c.id).where(node_roles.c.role_id == role_id).order_by(node_roles.c.id)
    return list(session.scalars(found if node_id is None else found.where(node_roles.c.node_id == node_id)))


def bound_in(session: Session, role: str, deployment_id: int) -> list[int]:
    """The committed noderoles of a role in this very deployment."""
    return list(
        session.scalars(
            select(node_roles.c.id)
            .join(roles, roles.c.id == node_roles.c.role_id)
            .where(roles.c.name == role, node_roles.c.deployment_id == deployment_id, node_roles.c.committed)
        )
    )


def tried_for_ever(session: Session, limit: int) -> Mapping[str, str]:
    """``role on node`` -> why its last run failed, of what is tried again and again however often it fails."""
    last = _last_run(finished=True)
    rows = session.execute(
        select(roles.c.name.label("role"), nodes.c.name.label("node"), runs.c.exit_reason)
        .select_from(node_roles)
        .join(roles, roles.c.id == node_roles.c.role_id)
        .join(nodes, nodes.c.id == node_roles.c.node_id)
        .join(runs, runs.c.id == last)
        .where(
            roles.c.max_attempts == 0, node_roles.c.attempts > 0,
            runs.c.state.in_([str(RunState.FAILED), str(RunState.LOST)]),
        )
        .order_by(nodes.c.name, roles.c.name)
        .limit(limit)
    )  # fmt: skip
    return {f"{row.role} on {row.node}": row.exit_reason for row in rows}


def _last_run(*, finished: bool = False) -> Any:
    """The id of a noderole's last run, inside a statement on noderoles."""
    mine = runs.alias()
    found = select(func.max(mine.c.id)).where(mine.c.node_role_id == node_roles.c.id)
    return (found.where(mine.c.finished_at.is_not(None)) if finished else found).correlate(node_roles).scalar_subquery()
