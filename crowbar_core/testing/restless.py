"""What a testbed that does not come to rest waits for, and what goes on in it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from sqlalchemy import func, or_, select

from crowbar_core.domain.states import ACTIVE, ERROR, State
from crowbar_core.services.cluster import steering
from crowbar_core.services.turns.parts import Parts
from crowbar_core.store import events
from crowbar_core.store import steps as store_steps
from crowbar_core.store.catalogue import HookFailure
from crowbar_core.store.models import Node, NodeRole, RoleRow, table

node_rows, node_role_rows, role_rows = table(Node), table(NodeRole), table(RoleRow)

_TRIES = 3
"""Failures after which what is tried for ever is not waited for."""


def next_moment(parts: Parts, now: datetime) -> datetime | None:
    """When the first of what is put off until later is due; None: nothing is put off."""
    with parts.store.read() as session:
        retry = session.scalar(
            select(func.min(node_role_rows.c.not_before))
            .join(node_rows, node_rows.c.id == node_role_rows.c.node_id)
            .join(role_rows, role_rows.c.id == node_role_rows.c.role_id)
            .where(
                node_role_rows.c.not_before > now, node_role_rows.c.available, node_rows.c.alive,
                node_rows.c.available, or_(role_rows.c.max_attempts > 0, node_role_rows.c.attempts < _TRIES),
            )
        )  # fmt: skip
        delivery, step = events.next_try_at(session), store_steps.next_at(session)
    return min((one for one in (retry, delivery, step) if one is not None and one > now), default=None)


def what_goes_on(parts: Parts, failures: Iterable[HookFailure]) -> str:
    with parts.store.read() as session:
        restless = session.execute(
            select(node_role_rows.c.id, node_rows.c.name.label("node"), role_rows.c.name.label("role"),
                   node_role_rows.c.state, node_role_rows.c.run_count)
            .join(node_rows, node_rows.c.id == node_role_rows.c.node_id)
            .join(role_rows, role_rows.c.id == node_role_rows.c.role_id)
            .where(or_(node_role_rows.c.state.not_in([int(ACTIVE), int(ERROR)]), node_role_rows.c.run_count > 9))
            .order_by(node_role_rows.c.run_count.desc(), node_role_rows.c.id)
            .limit(5)
        ).all()  # fmt: skip
        waiting = events.due(session, parts.store.now(session), 5)
    said = [
        f"{row.role} on {row.node} ran {row.run_count} times and is {State(row.state).name}: "
        f"{steering.why_node_role(parts, row.id).summary}"
        for row in restless
    ]
    said += [f"{one.hook} of {one.plugin} is to be called for {one.subject} again." for one in waiting]
    said += [f"{one.plugin} failed in {one.hook}: {one.error}" for one in failures]
    return " ".join(said) or "Everything is ACTIVE now, so something asks for it again and again."
