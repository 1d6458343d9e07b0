"""Noderoles: where one stands and why, what it waits for and what waits for it, its data, its runs."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from flask import Response, redirect, request
from werkzeug.wrappers import Response as BaseResponse

from crowbar_core.barclamp import requires
from crowbar_core.domain.states import OPEN_RUN_STATES, State
from crowbar_core.services.cluster import binding, steering
from crowbar_core.services.turns.parts import Actor, Parts
from crowbar_core.services.values import attributes as values
from crowbar_core.services.values import drafts
from crowbar_core.store import boards, node_pages, run_pages
from crowbar_core.web import auth
from crowbar_core.web.ui.asking import act_asked
from crowbar_core.web.ui.plans import act_drafts
from crowbar_core.web.ui.shell import Action, act, actor, found, known_id, page, ui

LINES_PER_PAGE = 200

_VERBS: dict[str, tuple[str, str, frozenset[State], str]] = {
    # verb: (label, kind, states in which it is offered, what is said afterwards)
    "retry": ("Retry", "primary", frozenset({State.ERROR}), "It is tried again."),
    "commit": ("Commit", "primary", frozenset({State.PROPOSED}), "It is committed."),
    "rerun": ("Run again", "", frozenset({State.ACTIVE}), "It runs again; what depends on it waits meanwhile."),
    "refresh": ("Refresh", "", frozenset({State.ACTIVE}), "It runs again; what depends on it is not disturbed."),
    "propose": ("Propose", "", frozenset(State) - {State.TRANSITION, State.PROPOSED}, "It is proposed, for editing."),
}


@ui.get("/noderoles")
@requires("viewer")
def noderoles() -> Response:
    wanted, after = request.args.get("state", "").upper(), request.args.get("after", "0")
    deployment = request.args.get("deployment", "")
    with auth.parts().store.read() as session:
        lines = node_pages.node_roles_page(
            session,
            state=State[wanted] if wanted in State.__members__ else None,
            deployment_id=known_id(deployment),
            after=known_id(after) or 0,
            limit=LINES_PER_PAGE + 1,
        )
        deployments = boards.deployment_lines(session)
    more = lines[LINES_PER_PAGE - 1].id if len(lines) > LINES_PER_PAGE else None
    return page(
        "noderoles.html",
        live="_noderoles.html",
        node_roles=lines[:LINES_PER_PAGE],
        more=more,
        filters={"state": wanted, "deployment": deployment},
        deployments=deployments,
    )


@ui.get("/noderoles/<int:node_role_id>")
@requires("viewer")
def noderole(node_role_id: int) -> Response:
    parts = auth.parts()
    with parts.store.read() as session:
        line = found(node_pages.node_role_line(session, node_role_id), f"noderole {node_role_id}", "/noderoles")
        runs = run_pages.runs_of(session, node_role_id=node_role_id, limit=15)
        context: dict[str, Any] = {
            "nr": line,
            "parents": node_pages.parents(session, node_role_id),
            "children": node_pages.children(session, node_role_id),
            "blocked": node_pages.blocked_by(session, node_role_id) if line.state != State.ACTIVE else [],
            "runs": runs,
            "telling": run_pages.telling_lines(session, [runs[0].id]).get(runs[0].id) if runs else None,
            "log": run_pages.log_tail(session, runs[0].id, limit=30) if runs else [],
        }
    context["why"] = steering.why_node_role(parts, node_role_id)
    context["drafts"] = drafts.drafts(parts, node_role_id=node_role_id)
    context["values"] = values.node_role_values(parts, node_role_id)
    context["wanted"] = values.wanted_values(parts, node_role_id)
    return page("noderole.html", live="_noderole.html", actions=_actions(line, runs), **context)


def _actions(line: node_pages.NodeRoleLine, runs: list[run_pages.RunLine]) -> list[Action]:
    actions = [
        Action(
            label=label,
            url=f"/noderoles/{line.id}/{verb}",
            api=f"PUT /api/v2/node_roles/{line.id}/{verb}",
            cli=f"crowbar noderoles {verb} {line.id}",
            kind=kind,
        )
        for verb, (label, kind, states, _) in _VERBS.items()
        if line.state in states
    ]
    hold = "hold" if line.available else "release"
    actions.append(
        Action(
            label=hold.capitalize(),
            url=f"/noderoles/{line.id}/{hold}",
            api=f"PUT /api/v2/node_roles/{line.id}/{hold}",
            cli=f"crowbar noderoles {hold} {line.id}",
            text=("reason", "why") if line.available else None,
        )
    )
    if runs and runs[0].state in OPEN_RUN_STATES:
        actions.append(
            Action(
                label="Cancel the run",
                url=f"/runs/{runs[0].id}/cancel",
                api=f"PUT /api/v2/runs/{runs[0].id}/cancel",
                cli=f"crowbar runs cancel {runs[0].id}",
                kind="danger",
            )
        )
    return actions


@ui.post("/noderoles/<int:node_role_id>/<any(retry, commit, rerun, refresh, propose, hold, release):verb>")
@requires("operator")
def steer(node_role_id: int, verb: str) -> BaseResponse:
    verbs: dict[str, Callable[[Parts, Actor, int], Any]] = {
        "retry": steering.retry,
        "commit": steering.commit,
        "rerun": steering.rerun,
        "refresh": steering.refresh,
        "propose": steering.propose,
        "hold": functools.partial(steering.hold, reason=request.form.get("reason", "").strip()[:500]),
        "release": steering.release,
    }
    said = {"hold": "It is held: nothing new is started for it.", "release": "It is released."}
    done, to = said[verb] if verb in said else _VERBS[verb][3], f"/noderoles/{node_role_id}"

    def work() -> None:
        verbs[verb](auth.parts(), actor(), node_role_id)

    return act_asked("node_roles", node_role_id, verb, work, done, to) if verb == "commit" else act(work, done, to)


@ui.post("/noderoles/<int:node_role_id>/drafts")
@requires("operator")
def steer_drafts_of_noderole(node_role_id: int) -> BaseResponse:
    """Plan, commit or discard the drafts of a noderole."""
    with auth.parts().store.read() as session:
        line = found(node_pages.node_role_line(session, node_role_id), f"noderole {node_role_id}", "/noderoles")
    return act_drafts(f"{line.role} on {line.node}", f"/noderoles/{node_role_id}", node_role_id=node_role_id)


@ui.post("/noderoles/<int:node_role_id>/unbind")
@requires("operator")
def unbind(node_role_id: int) -> BaseResponse:
    answer = act_asked(
        "node_roles",
        node_role_id,
        "unbind",
        lambda: binding.unbind(auth.parts(), actor(), node_role_id),
        lambda gone: f"{len(gone)} noderole{'s' if len(gone) != 1 else ''} unbound.",
        f"/noderoles/{node_role_id}",
    )
    with auth.parts().store.read() as session:
        is_gone = node_pages.node_role_line(session, node_role_id) is None
    if is_gone and answer.location == f"/noderoles/{node_role_id}":
        return redirect("/deployments", code=303)
    return answer
