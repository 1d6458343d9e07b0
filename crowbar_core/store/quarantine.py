"""Barclamps whose hooks are not called any more because they took too long again and again; what they left behind."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from crowbar_core.store.models import BarclampRow, Delivery, Event, table

barclamps, deliveries, events = table(BarclampRow), table(Delivery), table(Event)


def quarantined(session: Session) -> dict[str, str]:
    """Barclamp -> why."""
    rows = session.execute(select(barclamps.c.name, barclamps.c.quarantine).where(barclamps.c.quarantine != ""))
    return dict(rows.all())


def quarantine(session: Session, barclamp: str, reason: str) -> None:
    session.execute(update(barclamps).where(barclamps.c.name == barclamp).values(quarantine=reason))


def lift(session: Session, names: Collection[str]) -> int:
    """Call these barclamps' hooks again. Returns how many had been in quarantine."""
    changed = session.execute(
        update(barclamps).where(barclamps.c.name.in_(list(names)), barclamps.c.quarantine != "").values(quarantine="")
    )
    return int(changed.rowcount)  # type: ignore[attr-defined]


@dataclass(frozen=True, slots=True)
class Failed:
    """A delivery that was given up."""

    id: int
    plugin: str
    hook: str
    subject: str


def failed(session: Session, *, plugin: str | None = None, delivery_id: int | None = None) -> list[Failed]:
    """The deliveries to a barclamp that were given up, or this one, if it was."""
    query = (
        select(deliveries.c.id, deliveries.c.plugin, events.c.hook, events.c.subject)
        .join(events, events.c.id == deliveries.c.event_id)
        .where(deliveries.c.state == "failed")
        .order_by(deliveries.c.id)
    )
    if plugin is not None:
        query = query.where(deliveries.c.plugin == plugin)
    if delivery_id is not None:
        query = query.where(deliveries.c.id == delivery_id)
    return [Failed(*row) for row in session.execute(query)]


def note_left_behind(session: Session, counts: Mapping[str, int]) -> None:
    """How many threads of the process that delivers are still in calls which nobody waits for; of all others none."""
    gone = update(barclamps).where(barclamps.c.left_behind != 0, barclamps.c.name.not_in(list(counts)))
    session.execute(gone.values(left_behind=0))
    for name, count in counts.items():
        session.execute(update(barclamps).where(barclamps.c.name == name).values(left_behind=count))


def all_left_behind(session: Session) -> int:
    return int(session.scalar(select(func.coalesce(func.sum(barclamps.c.left_behind), 0))) or 0)
