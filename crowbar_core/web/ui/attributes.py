"""One attribute of a node or a noderole: what it is, which source says so and since when, and setting it."""

from __future__ import annotations

from typing import Any

from flask import Response, request
from werkzeug.wrappers import Response as BaseResponse

from crowbar_core.barclamp import requires
from crowbar_core.services.values import attributes as service
from crowbar_core.services.values import drafts
from crowbar_core.store import node_pages
from crowbar_core.web import auth
from crowbar_core.web.ui.plans import act_planned
from crowbar_core.web.ui.shell import actor, form_value, found, page, ui

_KEYS = {"nodes": "node_id", "noderoles": "node_role_id"}


@ui.get("/<any(nodes, noderoles):kind>/<int:subject_id>/attribs/<name>")
@requires("viewer")
def attribute(kind: str, subject_id: int, name: str) -> Response:
    parts = auth.parts()
    with parts.store.read() as session:
        if kind == "nodes":
            node = found(node_pages.node_page(session, subject_id), f"node {subject_id}", "/nodes")
            title, api, cli = node.name, f"/api/v2/nodes/{subject_id}", f"--node {node.name}"
        else:
            line = found(node_pages.node_role_line(session, subject_id), f"noderole {subject_id}", "/noderoles")
            title, api, cli = (
                f"{line.role} on {line.node}",
                f"/api/v2/node_roles/{subject_id}",
                f"--noderole {subject_id}",
            )
    key: dict[str, Any] = {_KEYS[kind]: subject_id}
    layers = service.explain(parts, attribute=name, **key)
    declared = parts.registry.attribute(name).attribute
    return page(
        "attribute.html",
        kind=kind,
        subject_id=subject_id,
        subject=title,
        attribute=declared,
        layers=layers,
        drafts=[one for one in drafts.drafts(parts, **key) if one.attribute == name],
        winner=next((layer for layer in layers if layer.wins), None),
        same=[
            {"label": label, "api": f"{method} {api}/attribs/{name}{rest}", "cli": f"crowbar attribs {verb} {cli}"}
            for label, method, rest, verb in (
                ("Explain", "GET", "?explain=true", f"explain {name}"),
                ("Draft", "PUT", ' {"value": VALUE}', f"set {name} VALUE"),
                ("Set now", "PUT", '?now=true {"value": VALUE}', f"set {name} VALUE --now"),
                ("Plan", "PUT", '?dry_run=true {"value": VALUE}', f"set {name} VALUE --plan"),
                ("Unset", "DELETE", "", f"unset {name}"),
            )
        ],
    )


@ui.post("/<any(nodes, noderoles):kind>/<int:subject_id>/attribs/<name>")
@requires("operator")
def set_attribute(kind: str, subject_id: int, name: str) -> BaseResponse:
    key: dict[str, Any] = {_KEYS[kind]: subject_id}
    to = f"/{kind}/{subject_id}/attribs/{name}"

    do = request.form.get("do", "")
    unset, now = do.startswith("unset"), do.endswith("now") or bool(request.form.get("rehearse"))

    def work() -> None:
        if unset:
            service.unset_value(auth.parts(), actor(), attribute=name, now=now, **key)
        else:
            value = form_value(f"The value of {name}")
            service.set_value(auth.parts(), actor(), attribute=name, value=value, now=now, **key)

    what = "unset" if unset else "set"
    said = "at once" if now else "as a draft: nothing changes until it is committed"
    return act_planned(
        work,
        f"The value is {what}, {said}.",
        to,
        title=f"{what.capitalize()} {name}",
        also={"do": "unset now" if unset else "now"},
    )
