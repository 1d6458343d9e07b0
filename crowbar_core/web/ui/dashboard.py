"""The dashboard: what is, what runs, what failed and why, what is wrong with plugins and services."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

from flask import Response, current_app

from crowbar_core.barclamp import Problem, requires
from crowbar_core.plugins import Failure
from crowbar_core.services.watch.health import gather
from crowbar_core.store import boards, catalogue, run_pages
from crowbar_core.web import auth
from crowbar_core.web.ui.panels import panels
from crowbar_core.web.ui.shell import page, ui

CHECKS_SECONDS = 15.0


@ui.get("/")
@requires("viewer")
def dashboard() -> Response:
    parts = auth.parts()
    with parts.store.read() as session:
        barclamps = catalogue.barclamps(session)
        context: dict[str, Any] = {
            "nodes": boards.node_counts(session),
            "node_roles": boards.node_role_counts(session),
            "queue": boards.open_run_counts(session),
            "open_runs": run_pages.open_runs(session, limit=12),
            "recent": run_pages.recent_runs(session, limit=8),
            "failures": run_pages.failures(session, limit=12),
            "hook_failures": catalogue.hook_failures(session, limit=5),
            "barclamps": [one for one in barclamps if one.state in ("failed", "missing")],
        }
    context["panels"] = panels("dashboard")
    health = gather(parts)
    return page(
        "dashboard.html",
        live="_dashboard.html",
        problems=problems(),
        health=health,
        **context,
    )


def problems() -> Sequence[tuple[str, Problem]]:
    """What plugins want an operator to see: (who says it, what).

    Plugins are asked at most every ``CHECKS_SECONDS``, as their checks may take a while and this page is polled.
    """
    parts = auth.parts()
    kept: tuple[float, list[tuple[str, Problem]]] | None = current_app.extensions.get("crowbar-checks")
    if kept is None or time.monotonic() - kept[0] > CHECKS_SECONDS:
        said: list[tuple[str, Problem]] = []
        for plugin, answer in parts.registry.ask("status_checks"):
            if isinstance(answer, Failure):
                said.append((plugin, Problem(detail=f"Its status check raised {answer.error}")))
            else:
                said.extend((plugin, problem) for problem in answer or ())
        kept = current_app.extensions["crowbar-checks"] = (time.monotonic(), said)
    return kept[1]
