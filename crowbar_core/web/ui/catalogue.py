"""What is installed: barclamps with what they bring and what is wrong with them, and roles."""

from __future__ import annotations

from typing import Any

from flask import Response, request
from werkzeug.wrappers import Response as BaseResponse

from crowbar_core.barclamp import requires
from crowbar_core.services.cluster import failed_hooks
from crowbar_core.store import catalogue, jobs, node_pages
from crowbar_core.web import auth
from crowbar_core.web.ui.shell import act, actor, found, known_id, page, ui


@ui.get("/roles")
@requires("viewer")
def roles() -> Response:
    with auth.parts().store.read() as session:
        lines = catalogue.roles(session)
    return page("roles.html", roles=lines)


@ui.get("/roles/<reference>")
@requires("viewer")
def role(reference: str) -> Response:
    after = request.args.get("after", "0")
    with auth.parts().store.read() as session:
        every = catalogue.roles(session, role_id=known) if (known := known_id(reference)) is not None else []
        line = next(iter(every), None) or next((one for one in catalogue.roles(session) if one.name == reference), None)
        line = found(line, f"role {reference[:100]}", "/roles")
        context: dict[str, Any] = {
            "role": line,
            "attributes": catalogue.attributes(session, role_id=line.id),
            "node_roles": node_pages.node_roles_page(session, role_id=line.id, after=known_id(after) or 0, limit=100),
        }
    return page("role.html", **context)


@ui.get("/barclamps")
@requires("viewer")
def barclamps() -> Response:
    with auth.parts().store.read() as session:
        context: dict[str, Any] = {
            "barclamps": catalogue.barclamps(session),
            "jigs": catalogue.jigs(session),
            "failures": catalogue.hook_failures(session, limit=20),
            "periodic": jobs.of(session),
        }
    return page("barclamps.html", **context)


@ui.get("/barclamps/<name>")
@requires("viewer")
def barclamp(name: str) -> Response:
    parts = auth.parts()
    with parts.store.read() as session:
        line = found(
            next((one for one in catalogue.barclamps(session) if one.name == name), None),
            f"barclamp {name[:100]}",
            "/barclamps",
        )
        context: dict[str, Any] = {
            "barclamp": line,
            "roles": catalogue.roles(session, barclamp_id=line.id),
            "attributes": catalogue.attributes(session, barclamp_id=line.id),
            "failures": catalogue.hook_failures(session, plugin=name, limit=20),
            "periodic": jobs.of(session, name),
        }
    loaded = next((one for one in parts.registry.barclamps if one.name == name), None)
    return page("barclamp.html", loaded=loaded, **context)


@ui.post("/barclamps/<name>/retry")
@requires("operator")
def retry_hooks(name: str) -> BaseResponse:
    return act(
        lambda: failed_hooks.retry_all(auth.parts(), actor(), name),
        lambda done: (
            f"Its hooks are called again; {done[0]} of those that had failed are tried again."
            + (f" {done[1]} are not: it has no such hook any more; dismiss them." if done[1] else "")
        ),
        "/barclamps",
    )


@ui.post("/barclamps/<name>/dismiss")
@requires("operator")
def dismiss_hooks(name: str) -> BaseResponse:
    return act(
        lambda: failed_hooks.dismiss_all(auth.parts(), actor(), name),
        lambda count: f"{count} failures of its hooks are dismissed.",
        "/barclamps",
    )
