"""What a running Crowbar consists of, and the transaction in which services change the cluster.

``Turn`` is the one shape of a change: take the write lock, change, make the runs that became possible, write the
events, commit; then ring the queue and wake the reactions. What is after the commit may be lost: the sweep finds it
again.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

import structlog
from cryptography.fernet import Fernet
from sqlalchemy import insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from crowbar_core.barclamp import Attribute, Json
from crowbar_core.domain.annealing import Graph
from crowbar_core.domain.states import State
from crowbar_core.plugins import Registry
from crowbar_core.services.conflicts import refusal
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
    delayed: threading.Event = field(default_factory=threading.Event)
    """Set when something is to be tried again after a delay: wakes who sees to it that it is not tried much later."""
    stop_runs: Callable[[Sequence[int]], None] = lambda run_ids: None
    """Tells the runner of this process to stop runs that it may be executing."""

    def close(self) -> None:
        self.queue.close()
        self.registry.close()
        self.store.close()


@dataclass(frozen=True, kw_only=True)
class ValueChange:
    """A value that an object was given or lost: (is it set, the value), secrets sealed, before and after."""

    subject: str
    subject_id: int
    name: str
    attribute: Attribute | None
    path: str
    old: tuple[bool, Json]
    new: tuple[bool, Json]
    role: str = ""
    """The role whose values these are, where the object is a role in a deployment."""

    @property
    def of(self) -> tuple[str, ...]:
        """Beside the kind of object and the attribute: what tells those whom it reaches from others."""
        if self.subject == "node":
            return ()
        return (self.name if self.subject == "node_role" else self.role,)


@dataclass(frozen=True, slots=True)
class Called:
    """What a node or a noderole is called; of a noderole also its role."""

    name: str
    role: str = ""


@dataclass
class Notes:
    """What a turn that is planned, or held against a plan, writes down for that."""

    before: Graph
    """The picture as it was before the change."""
    values: list[ValueChange] = field(default_factory=list)
    """What was committed of values."""
    effects: list[tuple[str, int, str, tuple[bool, Json], tuple[bool, Json]]] = field(default_factory=list)
    """For whom a value changed by it: (node or node_role, id, attribute, before, after), secrets sealed."""
    called: dict[tuple[str, int], Called] = field(default_factory=dict)
    """What those are called."""
    attributes: dict[str, Attribute] = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)
    """What is removed."""
    answers: dict[tuple[str, str, str], str] = field(default_factory=dict)
    """(barclamp, hook, subject) -> a digest of what it answered."""

    def answer(self, plugin: str, hook: str, subject: str, said: Json) -> None:
        self.answers[plugin, hook, subject] = str(said)


class Rehearsed(Exception):
    """Ends a turn that is only rehearsed, so that it is rolled back."""


class TakesPart(Protocol):
    """What wants to see a turn begin and end, and have it rolled back."""

    def before(self, turn: Turn) -> None: ...

    def after(self, turn: Turn) -> None: ...


rehearsing: ContextVar[TakesPart | None] = ContextVar("crowbar_rehearsing", default=None)
"""Set where changes are only rehearsed: the first turn is rolled back, and ``Rehearsed`` raised."""


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
    delayed: bool = False
    """Whether something is to be tried again after a delay."""
    after: list[Callable[[], None]] = field(default_factory=list)
    """Called after the commit, in order; a failure is logged."""
    checks: list[Callable[[Turn], None]] = field(default_factory=list)
    """Called before the turn is settled; what they raise undoes it."""
    notes: Notes | None = None
    """Kept only where somebody wants a plan of this turn."""
    stirred: set[int] | None = None
    """Where a plan asks barclamps ahead of time: the noderoles that their answers would send back to work."""

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
    """The transaction of a change. ``settle`` is called before the commit; the doorbells are rung after it.

    Raises ``Refused`` when a rule of a table is broken, a barclamp's or the core's.
    """
    try:
        with parts.store.write() as session:
            now = parts.store.now(session)
            heard = frozenset(state for state, hook in HOOKS_OF_STATES.items() if parts.registry.listens(hook))
            turn = Turn(parts, actor, session, now, Moves(parts.store, session, now, heard))
            taking_part = rehearsing.get()
            if taking_part is not None:
                taking_part.before(turn)
            yield turn
            if taking_part is not None:
                taking_part.after(turn)
                raise Rehearsed
            for check in turn.checks:
                check(turn)
            settle(turn)
            events.append(session, now, turn.events)
            if turn.queued or turn.events or turn.delayed or turn.moves.cancelling:
                parts.store.notify(session)
    except IntegrityError as error:
        said = refusal(parts.store, parts.registry, error)
        log.warning("a rule of the database was broken", actor=actor.name, said=said.detail)
        raise said from error
    if turn.moves.cancelling:
        parts.stop_runs(turn.moves.cancelling)
    if turn.queued:
        parts.queue.ring(turn.queued)
    if turn.events:
        parts.woken.set()
    if turn.delayed:
        parts.delayed.set()
    for act in turn.after:
        try:
            act()
        except Exception:
            log.exception("after-commit action failed")


def build_cipher(settings: Settings) -> Fernet:
    return Fernet(load_key(settings))
