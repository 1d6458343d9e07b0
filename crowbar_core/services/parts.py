"""What a running Crowbar consists of, and the transaction in which services change the cluster.

``Turn`` is the one shape of a change: take the write lock, change, make the runs that became possible, write the
events, commit; then ring the queue and wake the reactions. What is after the commit may be lost: the sweep finds it
again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

import structlog
from cryptography.fernet import Fernet
from sqlalchemy import insert
from sqlalchemy.orm import Session

from crowbar_core.domain.states import State
from crowbar_core.plugins import Registry
from crowbar_core.services.secrets import load_key
from crowbar_core.settings import Settings
from crowbar_core.store import events
from crowbar_core.store.db import Store
from crowbar_core.store.models import Audit, table
from crowbar_core.store.transitions import Moves

log = structlog.get_logger("crowbar")
audits = table(Audit)


HOOKS_OF_STATES = {
    State.PROPOSED: "on_proposed", State.TODO: "on_todo", State.TRANSITION: "on_transition",
    State.ACTIVE: "on_active", State.BLOCKED: "on_blocked", State.ERROR: "on_error",
}  # fmt: skip


@dataclass(frozen=True)
class Actor:
    """Who does it: goes to the audit trail and to the provenance of values."""

    name: str
    remote: str = ""
    role: str = "admin"


SYSTEM = Actor("crowbar")


class Queue(Protocol):
    """A doorbell: carries ids of queued runs to where they are executed. It may lose them; the sweep rings again."""

    def ring(self, run_ids: Sequence[int]) -> None:
        """Never raises, never blocks for long."""

    def close(self) -> None: ...

    def problem(self) -> str | None:
        """Why ringing does not work now, or None."""


@dataclass
class Parts:
    """What ``build_parts`` puts together: settings, database, plugins, queue."""

    settings: Settings
    store: Store
    registry: Registry
    cipher: Fernet
    queue: Queue
    woken: threading.Event = field(default_factory=threading.Event)
    """Set when events wait: wakes those who deliver them in this process."""
    stop_runs: Callable[[Sequence[int]], None] = lambda run_ids: None
    """Tells the runner of this process to stop runs that it may be executing."""

    def close(self) -> None:
        self.queue.close()
        self.registry.close()
        self.store.close()


@dataclass
class Turn:
    """One change of the cluster, inside its transaction."""

    parts: Parts
    actor: Actor
    session: Session
    now: datetime
    moves: Moves
    events: list[events.NewEvent] = field(default_factory=list)
    queued: list[int] = field(default_factory=list)
    """Runs made in this turn: rung after the commit."""
    after: list[Callable[[], None]] = field(default_factory=list)
    """Called after the commit, in order; a failure is logged."""

    @property
    def store(self) -> Store:
        return self.parts.store

    @property
    def registry(self) -> Registry:
        return self.parts.registry

    def tell(self, hook: str, subject: str, *, role: str | None = None, **payload: Any) -> None:
        """Write an event for every plugin that implements ``hook`` (for ``role``)."""
        plugins = [one.plugin for one in self.registry.implementations(hook, role=role)]
        if plugins:
            self.events.append(events.NewEvent(hook, subject, payload, plugins))

    def audit(self, action: str, subject: str, /, **detail: Any) -> None:
        """Say in the audit trail what the actor did."""
        self.session.execute(
            insert(audits).values(
                at=self.now,
                actor=self.actor.name,
                remote=self.actor.remote,
                action=action,
                subject=subject,
                detail=detail,
            )
        )


Settle = Callable[[Turn], None]


@contextmanager
def open_turn(parts: Parts, actor: Actor, settle: Settle) -> Iterator[Turn]:
    """The transaction of a change. ``settle`` is called before the commit; the doorbells are rung after it."""
    with parts.store.write() as session:
        now = parts.store.now(session)
        heard = frozenset(state for state, hook in HOOKS_OF_STATES.items() if parts.registry.listens(hook))
        turn = Turn(parts, actor, session, now, Moves(parts.store, session, now, heard))
        yield turn
        settle(turn)
        events.append(session, now, turn.events)
        if turn.queued or turn.events or turn.moves.cancelling:
            parts.store.notify(session)
    if turn.moves.cancelling:
        parts.stop_runs(turn.moves.cancelling)
    if turn.queued:
        parts.queue.ring(turn.queued)
    if turn.events:
        parts.woken.set()
    for act in turn.after:
        try:
            act()
        except Exception:
            log.exception("after-commit action failed")


def build_cipher(settings: Settings) -> Fernet:
    return Fernet(load_key(settings))
