"""How many there are of what: the numbers of /metrics, /api/status and the health."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import and_, func, or_, select
from sqlalchemy.orm import Session

from crowbar_core.domain.states import OPEN_RUN_STATES, RunState, State
from crowbar_core.store.events import PERIODIC, SERVICE
from crowbar_core.store.models import Delivery, Event, HookError, Node, Run, table
from crowbar_core.store.quarantine import quarantined

runs, deliveries, events = table(Run), table(Delivery), table(Event)
hook_errors, nodes = table(HookError), table(Node)


@dataclass(frozen=True, kw_only=True)
class Backlog:
    """What has been asked for and has not happened yet."""

    runs: Mapping[str, int]
    """Open runs by state."""
    deliveries_waiting: int
    deliveries_failed: int


def backlog(session: Session) -> Backlog:
    """Open runs and undelivered events; the indexes hold only these, however long the history is."""
    states = [str(state) for state in OPEN_RUN_STATES]
    by_state = select(runs.c.state, func.count()).where(runs.c.state.in_(states)).group_by(runs.c.state)
    by_fate = (
        select(deliveries.c.state, func.count())
        .where(deliveries.c.state.in_(["waiting", "failed"]))
        .group_by(deliveries.c.state)
    )
    fates: dict[str, int] = dict(session.execute(by_fate).all())
    return Backlog(
        runs=dict(session.execute(by_state).all()),
        deliveries_waiting=fates.get("waiting", 0),
        deliveries_failed=fates.get("failed", 0),
    )


def oldest_queued(session: Session) -> datetime | None:
    """Since when the run has been queued that has been so the longest."""
    moment = session.scalar(select(func.min(runs.c.queued_at)).where(runs.c.state == str(RunState.QUEUED)))
    return moment if isinstance(moment, datetime) else None


def at_work(session: Session) -> list[Any]:
    """By worker: (its name, how many runs it has begun that have not ended, until when it has the first of them)."""
    return list(
        session.execute(
            select(runs.c.worker, func.count(), func.min(runs.c.lease_until))
            .where(runs.c.state.in_([str(RunState.RUNNING), str(RunState.CANCELLING)]))
            .group_by(runs.c.worker)
            .order_by(runs.c.worker)
        ).all()
    )


@dataclass(frozen=True, slots=True)
class Late:
    """How many have waited for too long, and since when the oldest of them has."""

    name: str
    count: int
    oldest: datetime | None


def queued_before(session: Session, before: datetime) -> Late:
    """Runs that were queued before a moment and have not been begun."""
    late = runs.c.state == str(RunState.QUEUED), runs.c.queued_at < before
    count, oldest = session.execute(select(func.count(), func.min(runs.c.queued_at)).where(*late)).one()
    return Late("runs", count, oldest)


def deliveries_due_before(session: Session, now: datetime, before: datetime) -> Sequence[Late]:
    """By plugin, deliveries of events older than a moment that could be made now."""
    query = (
        select(deliveries.c.plugin, func.count(), func.min(events.c.created_at))
        .join(events, events.c.id == deliveries.c.event_id)
        .where(
            deliveries.c.state == "waiting",
            or_(
                and_(deliveries.c.next_try_at.is_(None), events.c.created_at < before),
                deliveries.c.next_try_at < before,
            ),
        )
        .group_by(deliveries.c.plugin)
        .order_by(deliveries.c.plugin)
    )
    return [Late(*row) for row in session.execute(query)]


@dataclass(frozen=True, kw_only=True)
class Troubles:
    """What went wrong and stays so until somebody looks."""

    hooks: Mapping[str, int]
    """Plugin -> deliveries that were given up."""
    quarantined: Sequence[str]
    questions: Sequence[str]
    services: Sequence[str]
    jobs: Sequence[str]
    wanted_nodes: int
    """Nodes to be worked on (available) that have ever been alive, and were not powered off by order."""
    dead_nodes: int
    """Those of them that are not alive now, and were not powered off by order."""


def troubles(session: Session) -> Troubles:
    failed = (
        select(deliveries.c.plugin, func.count()).where(deliveries.c.state == "failed").group_by(deliveries.c.plugin)
    )
    errors = session.execute(
        select(hook_errors.c.plugin, hook_errors.c.hook).order_by(hook_errors.c.plugin, hook_errors.c.hook)
    ).all()
    alive: dict[bool, int] = dict(
        session.execute(
            select(nodes.c.alive, func.count())
            .where(
                ~nodes.c.system,
                nodes.c.available,
                nodes.c.alive_at.is_not(None),
                or_(nodes.c.alive, ~nodes.c.switched_off),
            )
            .group_by(nodes.c.alive)
        ).all()
    )
    return Troubles(
        hooks=dict(session.execute(failed).all()),
        quarantined=sorted(quarantined(session)),
        questions=[f"{one.plugin} {one.hook}" for one in errors if not one.hook.startswith((PERIODIC, SERVICE))],
        services=[f"{one.plugin} {one.hook.removeprefix(SERVICE)}" for one in errors if one.hook.startswith(SERVICE)],
        jobs=[f"{one.plugin} {one.hook.removeprefix(PERIODIC)}" for one in errors if one.hook.startswith(PERIODIC)],
        wanted_nodes=sum(alive.values()),
        dead_nodes=alive.get(False, 0),
    )


def by_name(counts: Mapping[State, int]) -> dict[str, int]:
    """Every state with its number, also those that nothing is in."""
    return {state.name: counts.get(state, 0) for state in State}
