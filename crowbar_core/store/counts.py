"""How many there are of what: the numbers of /metrics and /api/status."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from crowbar_core.domain.states import OPEN_RUN_STATES, State
from crowbar_core.store.models import Delivery, Run, table

runs, deliveries = table(Run), table(Delivery)


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


def by_name(counts: Mapping[State, int]) -> dict[str, int]:
    """Every state with its number, also those that nothing is in."""
    return {state.name: counts.get(state, 0) for state in State}
