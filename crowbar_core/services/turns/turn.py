"""The transaction in which services change the cluster.

``Turn`` is the one shape of a change: take the write lock, change, make the runs that became possible, write the
events, commit; then ring the queue and wake the reactions. What is after the commit may be lost: the sweep finds it
again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Protocol

from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from crowbar_core.barclamp import Attribute, Json
from crowbar_core.domain.annealing import Graph
from crowbar_core.domain.states import State
from crowbar_core.errors import BarclampError
from crowbar_core.logs import log
from crowbar_core.plugins import Implementation, Registry
from crowbar_core.services.turns.conflicts import refusal
from crowbar_core.services.turns.looking import look
from crowbar_core.services.turns.parts import Parts
from crowbar_core.store import audits, events
from crowbar_core.store.db import Store
from crowbar_core.store.moves import Moves
from crowbar_core.store.open_runs import Offered

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


@dataclass(frozen=True, slots=True)
class TornDown:
    """A noderole whose role tears down what it made, before it goes."""

    node_role_id: int
    node: str
    role: str
    deployment: str
    cohort: int
    destructive: bool


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
    torn_down: list[TornDown] = field(default_factory=list)
    """What is torn down before it is removed, in this order."""
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
    made: dict[int, Offered] = field(default_factory=dict)
    """Of these, those that are no refreshes."""
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

    @contextmanager
    def acting(self, actor: Actor) -> Iterator[None]:
        """What is done in the block is done by ``actor``."""
        before, self.actor = self.actor, actor
        try:
            yield
        finally:
            self.actor = before

    def veto(self, hook: str, *, of: str | None = None, **arguments: Any) -> None:
        """Let every barclamp take part by a hook of the transaction (``of``: for this role). What one raises undoes
        the turn.
        """
        for implementation in self.registry.implementations(hook, role=of):
            self.veto_one(implementation, hook, **arguments)

    def veto_one(self, implementation: Implementation, hook: str, **arguments: Any) -> None:
        """The same for one implementation."""
        change = self.parts.seat(self, implementation.plugin)
        self.registry.veto(implementation, hook, change=change, session=self.session, **arguments)

    def audit(self, action: str, subject: str, /, **detail: Any) -> None:
        """Say in the audit trail what the actor did."""
        self.audit_many(action, [(subject, detail)])

    def audit_many(self, action: str, done: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
        """The same of many subjects, each with its detail, in one statement."""
        by, remote = self.actor.name, self.actor.remote
        audits.append(self.session, action, done, actor=by, remote=remote, at=self.now)


Settle = Callable[[Turn], None]

_open: ContextVar[Turn | None] = ContextVar("crowbar_turn", default=None)
_ENDING = ("commit", "rollback", "close", "reset", "invalidate")


def open_now(parts: Parts) -> Turn | None:
    """The turn that is open in this thread, if one is, and it is a turn of this cluster."""
    turn = _open.get()
    return turn if turn is not None and turn.parts is parts else None


def refuse_inside() -> None:
    """Raise ``BarclampError`` in the middle of a turn: what comes now would wait for its end, or outlive its
    undoing.
    """
    if _open.get() is not None:
        raise BarclampError(
            "There is a change open in this thread, and another one would wait for it for ever. In a hook of the "
            "transaction take its argument change; elsewhere end the first one first."
        )


@contextmanager
def _guarded(turn: Turn) -> Iterator[None]:
    """Nobody but ``open_turn`` ends the transaction, and no second one is begun in its middle: on SQLite that would
    wait for the first one's lock, on PostgreSQL, too, and for ever.
    """

    def refuse(*_args: Any, **_values: Any) -> None:
        raise BarclampError(
            "A change is ended by whoever opened it: leave commit, rollback and close of its session alone, and raise "
            "Veto to undo it."
        )

    token = _open.set(turn)
    vars(turn.session).update(dict.fromkeys(_ENDING, refuse))
    try:
        yield
    finally:
        for name in _ENDING:
            del vars(turn.session)[name]
        _open.reset(token)


@contextmanager
def open_turn(parts: Parts, actor: Actor, settle: Settle) -> Iterator[Turn]:
    """The transaction of a change. ``settle`` is called before the commit; the doorbells are rung after it.

    Raises ``Refused`` when a rule of a table is broken, a barclamp's or the core's; ``BarclampError`` when this thread
    is in the middle of a turn.
    """
    refuse_inside()
    try:
        with parts.registry.pictures.drafting(), parts.store.write() as session:
            look(parts.registry, session)
            now = parts.store.now(session)
            heard = frozenset(state for state, hook in HOOKS_OF_STATES.items() if parts.registry.listens(hook))
            turn = Turn(parts, actor, session, now, Moves(parts.store, session, now, heard))
            taking_part = rehearsing.get()
            with _guarded(turn):
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
        except Exception:  # noqa: BLE001  what is after the commit undoes nothing, and the next one is called
            log.exception("after-commit action failed")
