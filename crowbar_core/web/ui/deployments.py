"""Deployments: the tree, and a deployment's board where roles are bound to nodes, planned and committed."""

from __future__ import annotations

from dataclasses import dataclass

from flask import Response, redirect, request
from werkzeug.wrappers import Response as BaseResponse

from crowbar_core.barclamp import DeploymentView, requires
from crowbar_core.domain.states import State
from crowbar_core.services.cluster import binding, losses
from crowbar_core.services.cluster import deployments as service
from crowbar_core.services.cluster import nodes as node_service
from crowbar_core.services.values import attributes as values
from crowbar_core.services.values import drafts
from crowbar_core.store import boards, catalogue, deployment_pages, node_pages
from crowbar_core.web import auth
from crowbar_core.web.api.nouns import DEPLOYMENTS
from crowbar_core.web.api.verbs import buttons
from crowbar_core.web.ui.nodes import bound
from crowbar_core.web.ui.panels import panels
from crowbar_core.web.ui.plans import act_planned, plan_page
from crowbar_core.web.ui.shell import act, actor, field, form_value, found, number, page, ui, whole

NODES_PER_PAGE = 200


@dataclass(frozen=True, kw_only=True)
class Branch:
    line: deployment_pages.DeploymentLine
    children: tuple[Branch, ...]


def tree(lines: list[deployment_pages.DeploymentLine], parent_id: int | None = None) -> tuple[Branch, ...]:
    below: dict[int | None, list[deployment_pages.DeploymentLine]] = {}
    for line in lines:
        below.setdefault(line.parent_id, []).append(line)

    def branch(line: deployment_pages.DeploymentLine) -> Branch:
        return Branch(line=line, children=tuple(branch(child) for child in below.get(line.id, ())))

    return tuple(branch(line) for line in below.get(parent_id, ()))


@ui.get("/deployments")
@requires("viewer")
def deployments() -> Response:
    with auth.parts().store.read() as session:
        lines = deployment_pages.deployment_lines(session)
    return page("deployments.html", live="_deployments.html", tree=tree(lines), deployments=lines)


@ui.post("/deployments")
@requires("operator")
def create_deployment() -> BaseResponse:
    made: list[int] = []

    def work() -> int:
        parent = request.form.get("parent_id", "")
        made.append(
            service.create_deployment(
                auth.parts(),
                actor(),
                name=field("name"),
                description=request.form.get("description", "").strip(),
                parent_id=whole(parent, "the parent") if parent else None,
            )
        )
        return made[0]

    answer = act(work, "The deployment is made. Bind roles to nodes, look at the plan, commit.", "/deployments")
    return redirect(f"/deployments/{made[0]}", code=303) if made else answer


def _line(reference: str | int) -> tuple[deployment_pages.DeploymentLine, list[deployment_pages.DeploymentLine]]:
    with auth.parts().store.read() as session:
        lines = deployment_pages.deployment_lines(session)
    wanted = str(reference).lower()
    line = next((one for one in lines if str(one.id) == wanted or one.name.lower() == wanted), None)
    return found(line, f"deployment {str(reference)[:255]}", "/deployments"), lines


@ui.get("/deployments/<reference>")
@requires("viewer")
def board(reference: str) -> Response:
    line, lines = _line(reference)
    with auth.parts().store.read() as session:
        grid = boards.board(session, line.id, after=request.args.get("after", "")[:255], limit=NODES_PER_PAGE)
        roles = catalogue.bindable_roles(session)
        names = node_pages.node_names(session)
    drafted = drafts.drafts(auth.parts(), deployment_id=line.id)
    proposed = line.states.get(State.PROPOSED, 0)
    fresh = proposed + len(drafted)
    here = {column.role_id for column in grid.columns}
    parent = next((one for one in lines if one.id == line.parent_id), None)
    view = DeploymentView(
        id=line.id, name=line.name, parent=parent.name if parent else None, system=line.system, committed=line.committed
    )
    return page(
        "board.html",
        live="_board.html",
        deployment=line,
        state=line.state,
        parent=parent,
        children=[one for one in lines if one.parent_id == line.id],
        grid=grid,
        roles=roles,
        palette=[role for role in roles if role.id not in here],
        names=names,
        proposed=proposed,
        drafts=drafted,
        panels=panels("deployment", view),
        settable=_settable([column.role for column in grid.columns]),
        actions=buttons(DEPLOYMENTS, line, line.name, labels={"commit": f"Commit {fresh}"} if fresh else {}),
        danger=buttons(DEPLOYMENTS, line, line.name, danger=True),
    )


def _settable(role_names: list[str]) -> list[str]:
    """The attributes that these roles have or want, and that may be set."""
    registry = auth.parts().registry
    known = [name for name in role_names if name in registry.roles]
    names = {one.name for role in known for one in registry.attributes_of(role)}
    names |= {name for role in known for name in registry.roles[role].role.wants}
    return sorted(
        name for name in names if name in registry.attributes and registry.attributes[name].attribute.writable
    )


@ui.post("/deployments/<int:deployment_id>/bind")
@requires("operator")
def bind_in(deployment_id: int) -> BaseResponse:
    """A node onto a role: from the board as ``cell=node:role``, or from the form's two fields."""

    def work() -> binding.BindResult:
        node, _, role = request.form.get("cell", "").partition(":")
        node_id = whole(node, "the node") if node else _node_id()
        role_id = whole(role, "the role") if role else number("role_id", "the role")
        return binding.bind(auth.parts(), actor(), node_id=node_id, role_id=role_id, deployment_id=deployment_id)

    return act_planned(
        work, bound, f"/deployments/{deployment_id}", title="Bind a role to a node, and commit it", label="Bind"
    )


def _node_id() -> int:
    name = field("node", "the node")
    with auth.parts().store.read() as session:
        return found(node_pages.node_id_named(session, name), f"node {name[:255]}", "the list of nodes")


@ui.post("/deployments/<int:deployment_id>/nodes")
@requires("operator")
def move_here(deployment_id: int) -> BaseResponse:
    line, _ = _line(deployment_id)
    return act_planned(
        lambda: node_service.change_node(auth.parts(), actor(), _node_id(), {"deployment_id": deployment_id}),
        "The node is in this deployment now.",
        f"/deployments/{deployment_id}",
        title=f"Move a node to deployment {line.name}",
    )


@ui.post("/deployments/<int:deployment_id>/roles")
@requires("operator")
def add_role(deployment_id: int) -> BaseResponse:
    return act(
        lambda: service.add_role(
            auth.parts(), actor(), deployment_id=deployment_id, role_id=number("role_id", "the role")
        ),
        "The role is in this deployment; bind it to nodes.",
        f"/deployments/{deployment_id}",
    )


@ui.get("/deployments/<int:deployment_id>/plan")
@requires("viewer")
def plan(deployment_id: int) -> BaseResponse:
    line, _ = _line(deployment_id)
    path, found_plan = f"/deployments/{line.id}", service.plan(auth.parts(), deployment_id)
    loss = losses.losses(auth.parts(), "deployments", deployment_id, "commit")
    same = [
        {"label": "Plan", "api": f"GET /api/v2{path}/plan", "cli": f"crowbar deployments plan {line.name}"},
        {
            "label": "Commit",
            "api": f"PUT /api/v2{path}/commit?plan={found_plan.id}",
            "cli": f"crowbar deployments commit {line.name} --plan {found_plan.id}",
        },
    ]
    return plan_page(
        found_plan,
        url=f"{path}/commit",
        fields={"plan": found_plan.id},
        leave=path,
        loss=loss,
        same=same,
        label="Commit this plan",
    )


@ui.post("/deployments/<int:deployment_id>/drafts")
@requires("operator")
def discard_drafts(deployment_id: int) -> BaseResponse:
    """Its own commit takes them along."""
    return act(
        lambda: drafts.discard_drafts(auth.parts(), actor(), deployment_id=deployment_id),
        lambda count: f"The drafts of {count} object{'s are' if count != 1 else ' are'} discarded.",
        f"/deployments/{deployment_id}",
    )


@ui.post("/deployments/<int:deployment_id>/attribs")
@requires("operator")
def set_for_deployment(deployment_id: int) -> BaseResponse:
    """Set or unset a value for all roles of the deployment that have or want it: as a draft, or at once."""
    line, _ = _line(deployment_id)
    name, unset = field("attribute", "the attribute"), request.form.get("do") == "unset"
    now = request.form.get("do") == "now" or bool(request.form.get("rehearse"))
    role = request.form.get("role", "").strip() or None

    def work() -> list[str]:
        parts, who = auth.parts(), actor()
        if unset:
            return values.unset_for_deployment(
                parts, who, deployment_id=deployment_id, attribute=name, role=role, now=now
            )
        value = form_value(f"The value of {name}")
        return values.set_for_deployment(
            parts, who, deployment_id=deployment_id, attribute=name, value=value, role=role, now=now
        )

    how = "at once" if now else "as a draft: commit it to make it true"
    return act_planned(
        work,
        lambda on: f"{name} is {'unset' if unset else 'set'} for {', '.join(on)}, {how}.",
        f"/deployments/{deployment_id}",
        title=f"{'Unset' if unset else 'Set'} {name} for deployment {line.name}",
        also={"do": "now"},
    )
