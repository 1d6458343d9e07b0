"""What happened: events and what plugins made of them, and the audit trail."""

from __future__ import annotations

from typing import Any

from flask import Response, request
from werkzeug.wrappers import Response as BaseResponse

from crowbar_core.barclamp import requires
from crowbar_core.services.cluster import failed_hooks
from crowbar_core.store import catalogue
from crowbar_core.store.listings.history import AUDITS
from crowbar_core.web import auth
from crowbar_core.web.ui.shell import act, actor, before_id, page, ui
from crowbar_core.web.ui.tables import Column, Input, list_page, rows

LINES_PER_PAGE = 100
DELIVERY_STATES = ("waiting", "done", "failed")


@ui.get("/events")
@requires("viewer")
def events() -> Response:
    state, plugin = request.args.get("state", ""), request.args.get("plugin", "")[:128]
    state = state if state in DELIVERY_STATES else ""
    with auth.parts().store.read() as session:
        context: dict[str, Any] = {
            "events": catalogue.events_page(
                session, before=before_id(), state=state, plugin=plugin, limit=LINES_PER_PAGE
            ),
            "failures": catalogue.hook_failures(session, limit=20),
        }
    filters = {"state": state, "plugin": plugin}
    return page(
        "events.html", live="_events.html", filters=filters, states=DELIVERY_STATES, limit=LINES_PER_PAGE, **context
    )


@ui.post("/deliveries/<int:delivery_id>/retry")
@requires("operator")
def retry_delivery(delivery_id: int) -> BaseResponse:
    return act(
        lambda: failed_hooks.retry(auth.parts(), actor(), delivery_id),
        lambda had: "It is tried again." if had else "It had not failed for good: there is nothing to try again.",
        "/events",
    )


@ui.post("/deliveries/<int:delivery_id>/dismiss")
@requires("operator")
def dismiss_delivery(delivery_id: int) -> BaseResponse:
    return act(
        lambda: failed_hooks.dismiss(auth.parts(), actor(), delivery_id),
        lambda had: "It is dismissed." if had else "It had not failed for good: there is nothing to dismiss.",
        "/events",
    )


AUDIT_COLUMNS = (
    Column(name="at", label="When", kind="moment"),
    Column(name="actor", label="Who", href="?actor={actor}"),
    Column(name="remote", label="From", kind="code"),
    Column(name="action", label="What", kind="word"),
    Column(name="subject", label="About", href="?subject={subject}"),
    Column(name="detail", label="Detail", kind="json"),
)


@ui.get("/audit")
@requires("operator")
def audit() -> Response:
    return list_page(
        "Audit",
        rows(AUDITS, filters=("actor", "subject"), limit=LINES_PER_PAGE),
        AUDIT_COLUMNS,
        sub="Who did what, from where. Nothing is ever taken out.",
        filters=(Input(name="actor", label="Who"), Input(name="subject", label="What it was about")),
    )
