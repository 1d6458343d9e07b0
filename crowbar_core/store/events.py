"""The outbox: events written in the transaction of the change they tell of, and their deliveries to plugins."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import and_, case, delete, exists, func, insert, or_, select, update
from sqlalchemy.dialects.postgresql import insert as postgresql_insert
from sqlalchemy.dialects.sqlite import insert as sqlite_insert
from sqlalchemy.orm import Session

from crowbar_core.questions import Unanswered
from crowbar_core.store.models import Delivery, Event, HookError, table

events, deliveries, hook_errors = table(Event), table(Delivery), table(HookError)

PERIODIC = "periodic job "
"""What ``HookError.hook`` begins with when it was no hook, but a job that a barclamp wants done now and then."""


SERVICE = "service "
"""The same of a service; the name of its lease, too."""


@dataclass(frozen=True, slots=True)
class NewEvent:
    """``subject`` orders deliveries: ``"node 3"``. ``plugins`` are those that listen, in the order of their calls."""

    hook: str
    subject: str
    payload: Mapping[str, Any]
    plugins: Sequence[str]


@dataclass(frozen=True, slots=True)
class Waiting:
    """A delivery that is due."""

    id: int
    event_id: int
    plugin: str
    hook: str
    subject: str
    payload: Mapping[str, Any]
    attempts: int


def append(session: Session, now: datetime, new: Iterable[NewEvent]) -> int:
    """Write events with a delivery for each plugin. Events nobody listens to are left out. Returns how many were
    written.
    """
    wanted = [event for event in new if event.plugins]
    if not wanted:
        return 0
    ids = session.scalars(
        insert(events).returning(events.c.id, sort_by_parameter_order=True),
        [{"hook": e.hook, "subject": e.subject, "payload": dict(e.payload), "created_at": now} for e in wanted],
    ).all()
    session.execute(
        insert(deliveries),
        [
            {"event_id": event_id, "plugin": plugin, "position": position, "state": "waiting"}
            for event_id, event in zip(ids, wanted, strict=True)
            for position, plugin in enumerate(event.plugins)
        ],
    )
    return len(wanted)


def merge_into_waiting(session: Session, hook: str, subject: str, key: str, values: Iterable[str]) -> bool:
    """Add ``values`` to the list ``key`` of the subject's newest event, if it is of ``hook`` and nobody has settled it
    or failed at it yet. Whoever is being called for it right now is called once more (``settle``).
    """
    newest = session.execute(
        select(events.c.id, events.c.hook, events.c.payload)
        .where(events.c.subject == subject)
        .order_by(events.c.id.desc())
        .limit(1)
    ).one_or_none()
    if newest is None or newest.hook != hook:
        return False
    touched = session.scalar(
        select(func.count())
        .select_from(deliveries)
        .where(deliveries.c.event_id == newest.id, or_(deliveries.c.state != "waiting", deliveries.c.attempts > 0))
    )
    if touched:
        return False
    payload = {**newest.payload, key: sorted({*newest.payload.get(key, []), *values})}
    session.execute(update(events).where(events.c.id == newest.id).values(payload=payload))
    return True


def due(session: Session, now: datetime, limit: int, *, busy: Iterable[str] = ()) -> list[Waiting]:
    """Deliveries that may be made now, oldest event first: none whose plugin has an earlier one waiting for the same
    subject.

    ``busy`` plugins are passed over.
    """
    earlier_delivery, earlier_event = deliveries.alias(), events.alias()
    held_back = exists().where(
        earlier_delivery.c.event_id == earlier_event.c.id,
        earlier_delivery.c.state == "waiting",
        earlier_delivery.c.plugin == deliveries.c.plugin,
        earlier_event.c.subject == events.c.subject,
        earlier_event.c.id < events.c.id,
    )
    rows = session.execute(
        select(
            deliveries.c.id, deliveries.c.event_id, deliveries.c.plugin, deliveries.c.attempts,
            events.c.hook, events.c.subject, events.c.payload,
        )
        .join(events, events.c.id == deliveries.c.event_id)
        .where(
            deliveries.c.state == "waiting",
            or_(deliveries.c.next_try_at.is_(None), deliveries.c.next_try_at <= now),
            deliveries.c.plugin.not_in(list(busy)),
            ~held_back,
        )
        .order_by(deliveries.c.event_id, deliveries.c.position)
        .limit(limit)
    )  # fmt: skip
    return [Waiting(r.id, r.event_id, r.plugin, r.hook, r.subject, r.payload, r.attempts) for r in rows]


@dataclass(frozen=True, slots=True)
class Lane:
    """What waits for one plugin: ``soon`` of the ``count`` are due, or will be soon."""

    plugin: str
    count: int
    soon: int
    oldest: datetime


def lanes(session: Session, now: datetime, soon: datetime) -> list[Lane]:
    """By plugin, the deliveries that wait; ``oldest`` is when the event of the first one, or its next try, was."""
    is_soon = or_(deliveries.c.next_try_at.is_(None), deliveries.c.next_try_at <= soon)
    due = case((deliveries.c.next_try_at.is_(None), events.c.created_at), else_=deliveries.c.next_try_at)
    query = (
        select(deliveries.c.plugin, func.count(), func.sum(case((is_soon, 1), else_=0)), func.min(due))
        .join(events, events.c.id == deliveries.c.event_id)
        .where(deliveries.c.state == "waiting")
        .group_by(deliveries.c.plugin)
    )
    return [Lane(*row) for row in session.execute(query)]


def last_settled(session: Session, plugin: str) -> datetime | None:
    """When the plugin's newest delivery that is over was over: whether it still hears."""
    moment = session.scalar(
        select(deliveries.c.settled_at)
        .where(deliveries.c.plugin == plugin, deliveries.c.settled_at.is_not(None))
        .order_by(deliveries.c.id.desc())
        .limit(1)
    )
    return moment if isinstance(moment, datetime) else None


def next_try_at(session: Session) -> datetime | None:
    """When the next delivery that failed before is due."""
    moment = session.scalar(
        select(func.min(deliveries.c.next_try_at)).where(
            and_(deliveries.c.state == "waiting", deliveries.c.next_try_at.is_not(None))
        )
    )
    return moment if isinstance(moment, datetime) else None


def settle(session: Session, now: datetime, one: Waiting) -> bool:
    """The plugin has been called; what was added to the event meanwhile it is still to be told. False when it was
    settled already.
    """
    here = (deliveries.c.id == one.id, deliveries.c.state == "waiting")
    if session.scalar(select(events.c.payload).where(events.c.id == one.event_id)) != one.payload:
        return session.scalar(select(deliveries.c.id).where(*here)) is not None
    changed = session.execute(
        update(deliveries).where(*here).values(state="done", settled_at=now, error="", traceback="")
    )
    return bool(changed.rowcount)  # type: ignore[attr-defined]


def put_off(
    session: Session, delivery_id: int, *, attempts: int, next_try_at: datetime | None, error: str, traceback: str,
    now: datetime,
) -> None:  # fmt: skip
    """The call failed: try again at ``next_try_at``, or never (``None``), and then it is shown as a problem."""
    session.execute(
        update(deliveries)
        .where(deliveries.c.id == delivery_id, deliveries.c.state == "waiting")
        .values(
            state="waiting" if next_try_at else "failed",
            attempts=attempts,
            next_try_at=next_try_at,
            error=error,
            traceback=traceback,
            settled_at=None if next_try_at else now,
        )
    )


def failed(session: Session, hook: str, plugins: Iterable[str]) -> list[int]:
    """Deliveries of this hook to these plugins that are not tried any more."""
    return list(
        session.scalars(
            select(deliveries.c.id)
            .join(events, events.c.id == deliveries.c.event_id)
            .where(deliveries.c.state == "failed", deliveries.c.plugin.in_(list(plugins)), events.c.hook == hook)
        )
    )


def retry_failed(session: Session, delivery_ids: Iterable[int]) -> int:
    """Let failed deliveries be tried again from the start."""
    changed = session.execute(
        update(deliveries)
        .where(deliveries.c.id.in_(list(delivery_ids)), deliveries.c.state == "failed")
        .values(state="waiting", attempts=0, next_try_at=None, settled_at=None)
    )
    return int(changed.rowcount)  # type: ignore[attr-defined]


def dismiss(session: Session, delivery_ids: Iterable[int]) -> None:
    """Failed deliveries that nobody wants to be tried again."""
    session.execute(delete(deliveries).where(deliveries.c.id.in_(list(delivery_ids)), deliveries.c.state == "failed"))


def forget_plugin(session: Session, plugin: str) -> int:
    """All that failed of a plugin, or waits for it. Returns how many they were."""
    mine = (deliveries.c.plugin == plugin, deliveries.c.state.in_(("waiting", "failed")))
    gone = session.execute(delete(deliveries).where(*mine))
    return int(gone.rowcount) + forget_errors(session, plugin)  # type: ignore[attr-defined]


def forget_errors(session: Session, plugin: str) -> int:
    """What a plugin could not answer. Returns how many hooks they were."""
    gone = session.execute(delete(hook_errors).where(hook_errors.c.plugin == plugin))
    return int(gone.rowcount)  # type: ignore[attr-defined]


def note_unanswered(session: Session, now: datetime, found: Iterable[Unanswered]) -> None:
    """Write down which plugins could not answer a question."""
    dialect_insert: Any = postgresql_insert if session.get_bind().dialect.name == "postgresql" else sqlite_insert
    for one in found:
        values = {"subject": one.subject, "error": one.error, "traceback": one.traceback, "at": now}
        session.execute(
            dialect_insert(hook_errors)
            .values(plugin=one.plugin, hook=one.hook, count=one.count, **values)
            .on_conflict_do_update(
                index_elements=["plugin", "hook"], set_={**values, "count": hook_errors.c.count + one.count}
            )
        )


def forget_job(session: Session, plugin: str, job: str) -> None:
    """A periodic job that had failed has succeeded."""
    forget_error(session, plugin, job_name(job))


def forget_error(session: Session, plugin: str, hook: str) -> None:
    """What had failed is well."""
    session.execute(delete(hook_errors).where(hook_errors.c.plugin == plugin, hook_errors.c.hook == hook))


def forget_failure(session: Session, plugin: str, what: str) -> None:
    """What had failed under this name has succeeded."""
    session.execute(delete(hook_errors).where(hook_errors.c.plugin == plugin, hook_errors.c.hook == what))


def job_name(job: str) -> str:
    """A periodic job in place of a hook's name."""
    return f"{PERIODIC}{job}"[:64]


def service_name(service: str) -> str:
    """A service in place of a hook's name, and as the name of its lease."""
    return f"{SERVICE}{service}"[:64]


def forget_unanswered(session: Session) -> None:
    """A process starts, maybe with another version of a plugin: what still goes wrong will be seen again."""
    session.execute(delete(hook_errors))
