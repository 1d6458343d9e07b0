"""Nodes: the list, and a node's page with all that can be done to it."""

from __future__ import annotations

from typing import Any

from flask import Response, request
from werkzeug.wrappers import Response as BaseResponse

from crowbar_core.barclamp import requires
from crowbar_core.domain.states import NodeState
from crowbar_core.errors import BadInput, CrowbarError
from crowbar_core.services.cluster import binding, hammers, steering
from crowbar_core.services.cluster import nodes as service
from crowbar_core.services.data import views
from crowbar_core.services.data.addresses import claims_of
from crowbar_core.services.turns.parts import Parts
from crowbar_core.services.values import attributes as values
from crowbar_core.services.values import drafts
from crowbar_core.store import catalogue, deployment_pages, node_pages, run_pages
from crowbar_core.web import auth
from crowbar_core.web.api.nouns import NODES
from crowbar_core.web.api.verbs import Action, buttons, power
from crowbar_core.web.ui.panels import panels
from crowbar_core.web.ui.plans import act_drafts, act_planned
from crowbar_core.web.ui.shell import act, actor, field, filter_id, found, known_id, number, page, ui

NODES_PER_PAGE = 100
FILTERS = ("q", "state", "deployment", "group", "alive", "available", "system")
YES_NO = {"yes": True, "no": False}


@ui.get("/nodes")
@requires("viewer")
def nodes() -> Response:
    wanted = request.args.get("state", "").upper()
    filters = {name: request.args.get(name, "")[:255] for name in FILTERS}
    with auth.parts().store.read() as session:
        lines = node_pages.nodes_page(
            session,
            after=request.args.get("after", "")[:255],
            search=filters["q"].strip(),
            state=NodeState(wanted) if wanted in NodeState.__members__ else None,
            deployment_id=filter_id("deployment"),
            alive=YES_NO.get(filters["alive"]),
            available=YES_NO.get(filters["available"]),
            system=filters["system"] == "yes",
            group=filters["group"].replace("\x00", ""),
            limit=NODES_PER_PAGE + 1,
        )
        groups = node_pages.group_names(session)
        shown = [line.id for line in lines[:NODES_PER_PAGE]]
        addresses = views.node_views(auth.parts().registry, session, auth.parts().store, shown)
        deployments = deployment_pages.deployment_names(session)
    more = lines[NODES_PER_PAGE - 1].name if len(lines) > NODES_PER_PAGE else ""
    return page(
        "nodes.html",
        live="_nodes.html",
        nodes=lines[:NODES_PER_PAGE],
        more=more,
        filters=filters,
        deployments=deployments,
        groups=groups,
        addresses={node_id: view.addresses for node_id, view in addresses.items()},
    )


@ui.post("/nodes")
@requires("operator")
def create_node() -> BaseResponse:
    def work() -> int:
        ip = request.form.get("ip", "").strip()
        try:
            hint = auth.parts().registry.hints.of_address(ip) if ip else None
        except ValueError as error:
            raise BadInput(str(error)) from None
        return service.create_node(
            auth.parts(), actor(), name=field("name"), description=request.form.get("description", ""), hint=hint
        )

    return act(work, "The node is made. It is worked on when it is alive and you make it available.", "/nodes")


@ui.get("/nodes/<reference>")
@requires("viewer")
def node(reference: str) -> Response:
    parts = auth.parts()
    with parts.store.read() as session:
        known = known_id(reference)
        node_id = known if known is not None else node_pages.node_id_named(session, reference)
        line = found(node_pages.node_page(session, node_id) if node_id else None, f"node {reference[:255]}", "/nodes")
        context: dict[str, Any] = {
            "node": line,
            "node_roles": node_pages.node_roles_of_node(session, line.id),
            "runs": run_pages.runs_of(session, node_id=line.id, limit=15),
            "roles": catalogue.bindable_roles(session),
            "deployments": deployment_pages.deployment_names(session),
            "view": views.node_views(parts.registry, session, parts.store, [line.id])[line.id],
            "claims": claims_of(session, parts.store, parts.settings, [line.id]).get(line.id, ()),
        }
    context["panels"] = panels("node", context["view"])
    context["why"] = steering.why_node(parts, line.id)
    context["drafts"] = drafts.drafts(parts, node_id=line.id)
    context["values"] = values.node_values(parts, line.id)
    context["power"] = [
        power(action).action(line.id, line.name, label=action) for action in _power_actions(parts, line.id)
    ]
    danger = buttons(NODES, line, line.name, danger=True)
    return page("node.html", live="_node.html", actions=_actions(line), danger=danger, **context)


def _power_actions(parts: Parts, node_id: int) -> tuple[str, ...]:
    try:
        return hammers.power_actions(parts, node_id)
    except CrowbarError:  # a hammer that is not installed any more must not hide the rest of the node
        return ()


def _actions(node: node_pages.NodePage) -> list[Action]:
    flag = "false" if node.available else "true"
    available = Action(
        label="Make unavailable" if node.available else "Make available",
        url=f"/nodes/{node.id}/available",
        api=f'PATCH /api/v2/nodes/{node.id} {{"available": {flag}}}',
        cli=f"crowbar nodes update {node.name} --{'no-' if node.available else ''}available",
        kind="" if node.available else "primary",
        fields={"available": "no" if node.available else "yes"},
    )
    return [available, *buttons(NODES, node, node.name)]


@ui.post("/nodes/<int:node_id>/available")
@requires("operator")
def set_available(node_id: int) -> BaseResponse:
    available = request.form.get("available") == "yes"
    said = "The annealer may work on it." if available else "Nothing new is started on it."
    return act(
        lambda: service.change_node(auth.parts(), actor(), node_id, {"available": available}), said, f"/nodes/{node_id}"
    )


def _name(node_id: int) -> str:
    with auth.parts().store.read() as session:
        return found(node_pages.node_page(session, node_id), f"node {node_id}", "/nodes").name


@ui.post("/nodes/<int:node_id>/drafts")
@requires("operator")
def steer_drafts(node_id: int) -> BaseResponse:
    """Plan, commit or discard the drafts of a node."""
    return act_drafts(f"node {_name(node_id)}", f"/nodes/{node_id}", node_id=node_id)


@ui.post("/nodes/<int:node_id>/change")
@requires("operator")
def change(node_id: int) -> BaseResponse:
    def work() -> None:
        changes: dict[str, Any] = {}
        for name in ("name", "description", "bootenv"):
            if name in request.form:
                changes[name] = request.form[name].strip()
        if "deployment_id" in request.form:
            changes["deployment_id"] = number("deployment_id", "the deployment")
        service.change_node(auth.parts(), actor(), node_id, changes)

    return act_planned(work, "The node is changed.", f"/nodes/{node_id}", title=f"Change node {_name(node_id)}")


@ui.post("/nodes/<int:node_id>/bind")
@requires("operator")
def bind(node_id: int) -> BaseResponse:
    def work() -> binding.BindResult:
        return binding.bind(auth.parts(), actor(), node_id=node_id, role_id=number("role_id", "the role"))

    return act_planned(
        work, bound, f"/nodes/{node_id}", title=f"Bind a role to {_name(node_id)}, and commit it", label="Bind"
    )


def bound(result: binding.BindResult) -> str:
    drawn = len(result.created) - 1
    more = f" It drew in {drawn} more that it needs." if drawn > 0 else ""
    return f"The role is proposed on the node.{more} Commit to make it true."
