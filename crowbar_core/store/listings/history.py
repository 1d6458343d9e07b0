"""What happened: events and what became of them, and the audit trail; and periodic jobs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.orm import Session

from crowbar_core.store.listing import Later, Listing
from crowbar_core.store.listings.fields import field, fields
from crowbar_core.store.models import (
    Audit,
    Delivery,
    Event,
    PeriodicJob,
    table,
)

_audits, _events, _deliveries, _jobs = table(Audit), table(Event), table(Delivery), table(PeriodicJob)


def _deliveries_of(session: Session, ids: Sequence[int]) -> Mapping[int, Any]:
    found: dict[int, list[dict[str, Any]]] = {}
    columns = [item.column.label(item.name) for item in DELIVERIES.fields if item.name not in ("hook", "subject")]
    rows = session.execute(
        select(*columns).where(_deliveries.c.event_id.in_(ids)).order_by(_deliveries.c.event_id, _deliveries.c.position)
    )
    for row in rows.mappings():
        found.setdefault(row["event_id"], []).append(dict(row))
    return found


DELIVERIES: Final = Listing(
    noun="delivery",
    plural="events/deliveries",
    source=_deliveries.join(_events, _events.c.id == _deliveries.c.event_id),
    key=_deliveries.c.id,
    newest_first=True,
    fields=(
        *fields(Delivery, "id", "event_id", "plugin", "position", "state", filter=("event_id", "plugin", "state")),
        field(_events.c.hook, filter=True, example="on_active"),
        field(_events.c.subject, filter=True, example="node 3"),
        *fields(Delivery, "attempts", "next_try_at", "error", "traceback", "settled_at"),
    ),
)

EVENTS: Final = Listing(
    noun="event",
    plural="events",
    source=_events,
    key=_events.c.id,
    newest_first=True,
    fields=fields(Event, "id", "hook", "subject", "payload", "created_at", filter=("hook", "subject")),
    later=(
        Later(
            name="deliveries",
            type=list,
            fetch=_deliveries_of,
            missing=[],
            only_on_request=False,
            help="To which plugins it goes, and what became of that.",
        ),
    ),
)

AUDITS: Final = Listing(
    noun="audit entry",
    plural="audits",
    source=_audits,
    key=_audits.c.id,
    newest_first=True,
    fields=fields(
        Audit, "id", "at", "actor", "remote", "action", "subject", "detail", filter=("actor", "action", "subject")
    ),
)
JOBS: Final = Listing(
    noun="periodic job",
    plural="periodic_jobs",
    source=_jobs,
    key=_jobs.c.id,
    fields=(
        *fields(PeriodicJob, "id", "barclamp", "name", filter=("barclamp", "name")),
        *fields(PeriodicJob, "seconds", "last_run_at", "took", "failures", "error", "traceback"),
    ),
)
