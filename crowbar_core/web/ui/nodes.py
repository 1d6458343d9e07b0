"""Nodes: the list, and a node's page with all that can be done to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Response, redirect, request
from werkzeug.wrappers import Response as BaseResponse

from crowbar_core.barclamp import requires
from crowbar_core.domain.addresses import as_hint
from crowbar_core.domain.attributes import masked
from crowbar_core.domain.states import NodeState, node_state
from crowbar_core.errors import BadInput, CrowbarError
from crowbar_core.services.cluster import binding, hammers, liveness, steering
from crowbar_core.services.cluster import nodes as service
from crowbar_core.services.data import views
from crowbar_core.services.data.addresses import claims_of
from crowbar_core.services.turns.parts import Actor, Parts
from crowbar_core.services.values import attributes as values
from crowbar_core.services.values import drafts
from crowbar_core.store import boards, catalogue, node_pages, run_pages
from crowbar_core.web import auth
from crowbar_core.web.ui.asking import act_asked, ask_url
from crowbar_core.web.ui.panels import panels
from crowbar_core.web.ui.plans import act_drafts, act_planned
from crowbar_core.web.ui.shell import Action, act, actor, field, found, known_id, number, page, ui

NODES_PER_PAGE = 100
FILTERS = ("q", "state", "deployment", "group", "alive", "available", "system")
YES_NO = {"yes": True, "no": False}


@ui.get("/nodes")
@requires("viewer")
def nodes() -> Response:
    wanted = request.args.get("state", "").upper()
    deployment = request.args.get("deployment", "")
    filters = {name: request.args.get(name, "")[:255] for name in FILTERS}
    with auth.parts().store.read() as session:
        lines = node_pages.nodes_page(
            session,
            after=request.args.get("after", "")[:255],
            search=filters["q"].strip(),
            state=NodeState(wanted) if wanted in NodeState.__members__ else None,
            deployment_id=known_id(deployment),
            alive=YES_NO.get(filters["alive"]),
            available=YES_NO.get(filters["available"]),
            system=filters["system"] == "yes",
            group=filters["group"].replace("\x00", ""),
            limit=NODES_PER_PAGE + 1,
        )
        groups = node_pages.group_names(session)
        shown = [line.id for line in lines[:NODES_PER_PAGE]]
        addresses = views.node_views(auth.parts().registry, session, auth.parts().store, shown)
        deployments = boards.deployment_lines(session)
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
            hint = as_hint(ip) if ip else None
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
            "deployments": boards.deployment_lines(session),
            "view": views.node_views(parts.registry, session, parts.store, [line.id])[line.id],
            "claims": claims_of(session, parts.store, parts.settings, [line.id]).get(line.id, ()),
        }
    for tree in ("hint", "discovery"):
        context[tree] = masked(getattr(line, tree))
    context["state"] = node_state(
        (one.state for one in context["node_roles"]), alive=line.alive, was_alive=line.alive_at is not None
    )
    context["panels"] = panels("node", context["view"])
    context["why"] = steering.why_node(parts, line.id)
    context["drafts"] = drafts.drafts(parts, node_id=line.id)
    context["values"] = values.node_values(parts, line.id)
    context["power"] = [(action, hammers.stops(action)) for action in _power_actions(parts, line.id)]
    return page("node.html", live="_node.html", actions=_actions(line), danger=_danger(line), **context)


def _power_actions(parts: Parts, node_id: int) -> tuple[str, ...]:
    try:
        return hammers.power_actions(parts, node_id)
    except CrowbarError:  # a hammer that is not installed any more must not hide the rest of the node
        return ()


def _actions(node: node_pages.NodePage) -> list[Action]:
    path, name = f"PUT /api/v2/nodes/{node.id}", node.name
    flag = "false" if node.available else "true"
    actions = [
        Action(
            label="Make unavailable" if node.available else "Make available",
            url=f"/nodes/{node.id}/available",
            api=f'PATCH /api/v2/nodes/{node.id} {{"available": {flag}}}',
            cli=f"crowbar nodes update {name} --{'no-' if node.available else ''}available",
            kind="" if node.available else "primary",
            fields={"available": "no" if node.available else "yes"},
        )
    ]
    for verb, label in (("commit", "Commit"), ("propose", "Propose"), ("probe", "Probe now")):
        actions.append(
            Action(
                label=label,
                url=f"/nodes/{node.id}/{verb}",
                api=f"{path}/{verb}",
                cli=f"crowbar nodes {verb} {name}",
            )
        )
    return actions


def _danger(node: node_pages.NodePage) -> list[Action]:
    if node.system:
        return []
    return [
        Action(
            label="Redeploy",
            url=f"/nodes/{node.id}/redeploy",
            api=f"PUT /api/v2/nodes/{node.id}/redeploy",
            cli=f"crowbar nodes redeploy {node.name}",
            kind="danger",
            asks=ask_url("nodes", node.id, "redeploy"),
        ),
        Action(
            label="Destroy",
            url=f"/nodes/{node.id}/delete",
            api=f"DELETE /api/v2/nodes/{node.id}",
            cli=f"crowbar nodes destroy {node.name}",
            kind="danger",
            asks=ask_url("nodes", node.id, "destroy"),
        ),
    ]


@ui.post("/nodes/<int:node_id>/available")
@requires("operator")
def set_available(node_id: int) -> BaseResponse:
    available = request.form.get("available") == "yes"
    said = "The annealer may work on it." if available else "Nothing new is started on it."
    return act(
        lambda: service.change_node(auth.parts(), actor(), node_id, {"available": available}), said, f"/nodes/{node_id}"
    )


@ui.post("/nodes/<int:node_id>/<any(commit, propose, redeploy):what>")
@requires("operator")
def steer_node(node_id: int, what: str) -> BaseResponse:
    verbs: dict[str, tuple[Callable[[Parts, Actor, int], Any], str]] = {
        "commit": (service.commit_node, "What was proposed on the node is committed."),
        "propose": (service.propose_node, "What is on the node is proposed, for editing."),
        "redeploy": (service.redeploy_node, "The node is redeployed."),
    }
    verb, said = verbs[what]

    def work() -> None:
        verb(auth.parts(), actor(), node_id)

    to = f"/nodes/{node_id}"
    if what == "propose":
        return act_planned(work, said, to, title=f"Propose node {_name(node_id)}")
    return act_asked("nodes", node_id, what, work, said, to)


def _name(node_id: int) -> str:
    with auth.parts().store.read() as session:
        return found(node_pages.node_page(session, node_id), f"node {node_id}", "/nodes").name


@ui.post("/nodes/<int:node_id>/drafts")
@requires("operator")
def steer_drafts(node_id: int) -> BaseResponse:
    """Plan, commit or discard the drafts of a node."""
    return act_drafts(f"node {_name(node_id)}", f"/nodes/{node_id}", node_id=node_id)


@ui.post("/nodes/<int:node_id>/probe")
@requires("operator")
def probe(node_id: int) -> BaseResponse:
    return act(
        lambda: liveness.probe(auth.parts(), node_id),
        lambda probe: (
            f"It is alive, at {probe.address or 'an address it did not tell'}."
            if probe.alive
            else f"It is not alive: {probe.reason or 'it does not say why'}"
        ),
        f"/nodes/{node_id}",
    )


@ui.post("/nodes/<int:node_id>/power")
@requires("operator")
def power(node_id: int) -> BaseResponse:
    action, to = request.form.get("action", "").strip(), f"/nodes/{node_id}"

    def work() -> str:
        return hammers.power(auth.parts(), actor(), node_id, field("action"))

    if not action or not hammers.stops(action):
        return act(work, lambda said: f"Power: {said}", to)
    return act_asked("nodes", node_id, action, work, lambda said: f"Power: {said}", to, plans=False)


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


@ui.post("/nodes/<int:node_id>/delete")
@requires("operator")
def delete(node_id: int) -> BaseResponse:
    def work() -> None:
        service.delete_node(auth.parts(), actor(), node_id)

    answer = act_asked("nodes", node_id, "destroy", work, "The node is gone.", f"/nodes/{node_id}")
    with auth.parts().store.read() as session:
        is_gone = node_pages.node_page(session, node_id) is None
    return redirect("/nodes", code=303) if is_gone else answer
