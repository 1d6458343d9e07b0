"""Runs: what was executed, how it ended, and its log while it is being written."""

from __future__ import annotations

from dataclasses import replace

from flask import Response, make_response, render_template, request

from crowbar_core.barclamp import requires
from crowbar_core.domain.attributes import masked
from crowbar_core.domain.states import OPEN_RUN_STATES, RunState, State
from crowbar_core.store import node_pages, run_pages, steps
from crowbar_core.web import auth
from crowbar_core.web.api.verbs import CANCEL, RETRY, Action
from crowbar_core.web.ui.shell import before_id, found, page, ui, whole

LINES_SHOWN = 2000
LINES_AT_ONCE = 1000
RUNS_PER_PAGE = 100


@ui.get("/runs")
@requires("viewer")
def runs() -> Response:
    state = request.args.get("state", "")
    state = state if state in tuple(RunState) else ""
    with auth.parts().store.read() as session:
        lines = run_pages.runs_page(session, before=before_id(), state=state, limit=RUNS_PER_PAGE)
    return page("runs.html", live="_runs.html", runs=lines, state=state, states=tuple(RunState), limit=RUNS_PER_PAGE)


@ui.get("/runs/<int:run_id>")
@requires("viewer")
def run(run_id: int) -> Response:
    with auth.parts().store.read() as session:
        line = found(run_pages.run_line(session, run_id), f"run {run_id}", "/runs")
        whole_log = "all" in request.args
        log = run_pages.log_tail(session, run_id, limit=100_000 if whole_log else LINES_SHOWN)
        given = masked(run_pages.run_input(session, run_id))
        node_role = node_pages.node_role_line(session, line.node_role_id)
        may_retry = node_role is not None and node_role.state == State.ERROR and line.finished_at is not None
        timeline = steps.timeline(session, run_id)
        telling = run_pages.telling_lines(session, [run_id]).get(run_id) if line.state == "failed" else None
    return page(
        "run.html",
        run=line,
        log=log,
        input=given,
        timeline=timeline,
        is_open=line.state in OPEN_RUN_STATES,
        telling=telling[0] if telling else None,
        actions=_actions(line, may_retry=may_retry),
    )


def _actions(line: run_pages.RunLine, *, may_retry: bool) -> list[Action]:
    if may_retry:
        return [RETRY.action(line.node_role_id)]
    if line.state not in OPEN_RUN_STATES:
        return []
    again = replace(CANCEL, label="Cancel, then run again", kind="", fields={"hold": False})
    return [CANCEL.action(line.id), again.action(line.id)]


@ui.get("/runs/<int:run_id>/log")
@requires("viewer")
def log(run_id: int) -> Response:
    """The lines after ``after``, for the live tail. ``Crowbar-Pace: ended`` says that no more will come."""
    after = whole(request.args.get("after", "0"), "the line number")
    with auth.parts().store.read() as session:
        line = found(run_pages.run_line(session, run_id), f"run {run_id}", "/runs")
        lines = run_pages.log_lines(session, run_id, after=after, limit=LINES_AT_ONCE)
    answer = make_response(
        render_template("crowbar/_log.html", run=line, log=lines, telling=None), 200 if lines else 204
    )
    is_open = line.state in OPEN_RUN_STATES
    answer.headers["Crowbar-Pace"] = "working" if is_open or len(lines) == LINES_AT_ONCE else "ended"
    answer.headers["Cache-Control"] = "no-store"
    return answer
