"""Noderoles: where one stands and why, what it waits for and what waits for it, its data, its runs."""

from __future__ import annotations

from typing import Any

from flask import Response, request
from werkzeug.wrappers import Response as BaseResponse

from crowbar_core.barclamp import requires
from crowbar_core.domain.states import OPEN_RUN_STATES, State
from crowbar_core.services.cluster import steering
from crowbar_core.services.values import attributes as values
from crowbar_core.services.values import drafts
from crowbar_core.store import catalogue, deployment_pages, node_pages, run_pages
from crowbar_core.web import auth
from crowbar_core.web.api.nouns import NODE_ROLES
from crowbar_core.web.api.verbs import CANCEL, Action, buttons
from crowbar_core.web.ui.plans import act_drafts
from crowbar_core.web.ui.shell import filter_id, found, known_id, page, ui

LINES_PER_PAGE = 200


@ui.get("/noderoles")
@requires("viewer")
def noderoles() -> Response:
    wanted, after = request.args.get("state", "").upper(), request.args.get("after", "0")
    node, role, deployment = (request.args.get(name, "")[:255].strip() for name in ("node", "role", "deployment"))
    with auth.parts().store.read() as session:
        lines = node_pages.node_roles_page(
            session,
            state=State[wanted] if wanted in State.__members__ else None,
            node=node,
            role=role,
            deployment_id=filter_id("deployment"),
            after=known_id(after) or 0,
            limit=LINES_PER_PAGE + 1,
        )
        deployments = deployment_pages.deployment_names(session)
        roles = catalogue.role_names(session)
    more = lines[LINES_PER_PAGE - 1].id if len(lines) > LINES_PER_PAGE else None
    return page(
        "noderoles.html",
        live="_noderoles.html",
        node_roles=lines[:LINES_PER_PAGE],
        more=more,
        filters={"node": node, "role": role, "state": wanted.lower(), "deployment": deployment},
        deployments=deployments,
        roles=roles,
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
    danger = buttons(NODE_ROLES, line, danger=True, back=f"/nodes/{line.node_id}")
    return page("noderole.html", live="_noderole.html", actions=_actions(line, runs), danger=danger, **context)


def _actions(line: node_pages.NodeRoleLine, runs: list[run_pages.RunLine]) -> list[Action]:
    under_way = [run.id for run in runs[:1] if run.state in OPEN_RUN_STATES]
    return [*buttons(NODE_ROLES, line), *(CANCEL.action(run_id, label="Cancel the run") for run_id in under_way)]


@ui.post("/noderoles/<int:node_role_id>/drafts")
@requires("operator")
def steer_drafts_of_noderole(node_role_id: int) -> BaseResponse:
    """Plan, commit or discard the drafts of a noderole."""
    with auth.parts().store.read() as session:
        line = found(node_pages.node_role_line(session, node_role_id), f"noderole {node_role_id}", "/noderoles")
    return act_drafts(f"{line.role} on {line.node}", f"/noderoles/{node_role_id}", node_role_id=node_role_id)
