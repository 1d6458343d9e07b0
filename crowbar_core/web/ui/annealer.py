"""The annealer: what happens now, as a queue, as errors and as a grid of nodes and roles."""

from __future__ import annotations

from typing import Any

from flask import Response, flash, request
from werkzeug.wrappers import Response as BaseResponse

from crowbar_core.barclamp import requires
from crowbar_core.domain.states import NodeState
from crowbar_core.errors import CrowbarError, Refused
from crowbar_core.services.cluster import steering
from crowbar_core.store import boards, run_pages
from crowbar_core.web import auth
from crowbar_core.web.ui.shell import act, actor, page, ui

NODES_PER_PAGE = 500
RETRIED_AT_ONCE = 1000


@ui.get("/annealer")
@requires("viewer")
def annealer() -> Response:
    wanted = request.args.get("state", "").upper()
    state = NodeState(wanted) if wanted in NodeState.__members__ else None
    with auth.parts().store.read() as session:
        context: dict[str, Any] = {
            "queue": boards.open_run_counts(session),
            "node_roles": boards.node_role_counts(session),
            "open_runs": run_pages.open_runs(session, limit=50),
            "recent": run_pages.recent_runs(session, limit=10),
            "failures": run_pages.failures(session, limit=30),
            "grid": boards.grid(
                session,
                after=request.args.get("after", "")[:255],
                search=request.args.get("q", "").strip()[:255],
                state=state,
                limit=NODES_PER_PAGE,
            ),
        }
    return page(
        "annealer.html", live="_annealer.html", filters={"q": request.args.get("q", ""), "state": wanted}, **context
    )


@ui.post("/annealer/retry")
@requires("operator")
def retry_all() -> BaseResponse:
    def work() -> int:
        parts, who = auth.parts(), actor()
        with parts.store.read() as session:
            failed = run_pages.failures(session, limit=RETRIED_AT_ONCE)
        if not failed:
            raise Refused("Nothing is in ERROR now, so there is nothing to retry.")
        done = 0
        for one in failed:
            try:
                steering.retry(parts, who, one.node_role_id)
                done += 1
            except CrowbarError as error:
                if error.status >= 500:
                    raise
                flash(error.detail, "refused")
        return done

    return act(work, lambda done: f"{done} noderole{'s are' if done != 1 else ' is'} tried again.", "/annealer")
