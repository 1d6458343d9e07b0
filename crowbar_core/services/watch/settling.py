"""Where the cluster stands: what is under way, what waits and for what, and whether all of it is ACTIVE.

What a barclamp has still to hear counts as under way, since its answer may ask for more; but nobody waits for one that
has stopped hearing. A retry with a delay is under way: it comes by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Literal

from sqlalchemy.orm import Session

from crowbar_core.domain.states import ACTIVE, BLOCKED, ERROR, TODO, State
from crowbar_core.services.cluster.steering import why_node_role
from crowbar_core.services.turns.parts import Parts
from crowbar_core.services.watch.health import gather
from crowbar_core.store import boards, events, pictures
from crowbar_core.store import runs as store_runs

PATIENCE: Final = timedelta(seconds=30)
"""For so long a barclamp that takes no event is waited for."""
SHOWN: Final = 10
HINDERS: Final = ("database", "queue", "annealer", "worker", "runs", "deliveries")
"""The findings that say why nothing moves."""


@dataclass(frozen=True, kw_only=True)
class Settled:
    """Where the cluster stands.

    ``settled``: all that is committed is ACTIVE. ``working``: something is under way, or comes by itself. ``failed``:
    nothing is, and something is in ERROR. ``waiting``: nothing is, nothing failed, and something waits for a reason
    that somebody has to mend.
    """

    state: Literal["settled", "working", "waiting", "failed"]
    working: int
    """Open runs."""
    errors: int
    waiting: int
    """Committed noderoles that are neither ACTIVE nor in ERROR and have no run."""
    active: int
    undelivered: int
    """Events that barclamps are being told."""
    unheard: int = 0
    """Events for barclamps that have stopped hearing; they are not waited for."""
    retries: int = 0
    """Noderoles, of those that wait, that are tried again by themselves."""
    retry_at: datetime | None = None
    """When the next of them is."""


@dataclass(frozen=True, kw_only=True)
class Wait:
    """What one noderole waits for. ``seconds``: it is tried again by itself after so long."""

    id: int
    node: str
    role: str
    state: str
    why: str
    seconds: float | None = None


def settled(parts: Parts) -> Settled:
    """Whether there is anything left to do."""
    with parts.store.read() as session:
        now = parts.store.now(session)
        counts = boards.node_role_counts(session)
        working = sum(boards.open_run_counts(session).values())
        undelivered, unheard = _undelivered(parts, session, now)
        stale = 0 if working else store_runs.stale(session)
        waiting = counts.get(TODO, 0) + counts.get(BLOCKED, 0) + stale
        retries, retry_at = store_runs.delayed(session, now) if waiting else (0, None)
        under_way = working or undelivered or retries
        if not under_way and waiting:
            under_way = bool(store_runs.idle_nodes_with_work(session, now, 1))
    errors = counts.get(ERROR, 0)
    state: Literal["settled", "working", "waiting", "failed"] = "settled"
    if under_way:
        state = "working"
    elif errors:
        state = "failed"
    elif waiting:
        state = "waiting"
    return Settled(
        state=state, working=working, errors=errors, waiting=waiting, active=counts.get(ACTIVE, 0),
        undelivered=undelivered, unheard=unheard, retries=retries, retry_at=retry_at,
    )  # fmt: skip


def _undelivered(parts: Parts, session: Session, now: datetime) -> tuple[int, int]:
    """How many deliveries are waited for, and how many are not: their barclamp is gone, or has taken none for long."""
    loaded = set(parts.registry.plugins)
    waited = unheard = 0
    for one in events.lanes(session, now, now + PATIENCE):
        hears = one.plugin in loaded and (
            one.oldest >= now - PATIENCE
            or ((last := events.last_settled(session, one.plugin)) is not None and last >= now - PATIENCE)
        )
        waited += one.soon if hears else 0
        unheard += one.count - one.soon if hears else one.count
    return waited, unheard


def waits(parts: Parts, limit: int = SHOWN) -> list[Wait]:
    """What is not ACTIVE and has no run, and why: what has to move first comes first."""
    with parts.store.read() as session:
        now = parts.store.now(session)
        rows = pictures.waiting(session, limit)
    return [
        Wait(
            id=row.id, node=row.node, role=row.role, state=State(row.state).name,
            why=why_node_role(parts, row.id).summary,
            seconds=max((row.not_before - now).total_seconds(), 0.0)
            if row.not_before is not None and row.not_before > now else None,
        )
        for row in rows
    ]  # fmt: skip


def hindrances(parts: Parts) -> Sequence[str]:
    """Why nothing moves though there is work: nobody who does it, a queue that does not answer."""
    return [one.detail for one in gather(parts).findings if one.check in HINDERS]
