"""Destroying asks first: one page that says what will be lost and wants the name typed, for all that destroys.

A form may be sent straight to where the work is done; what destroys and brings no name is led to the page. So no click
destroys anything by itself, with JavaScript or without.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import TypeVar
from urllib.parse import urlencode

from flask import Response, flash, redirect, request
from werkzeug.wrappers import Response as BaseResponse

from crowbar_core.barclamp import Permission, requires
from crowbar_core.errors import CrowbarError, Forbidden, NotFound
from crowbar_core.services.cluster import losses as service
from crowbar_core.services.cluster.losses import Loss
from crowbar_core.web import auth
from crowbar_core.web.ui.plans import act_planned
from crowbar_core.web.ui.shell import act, is_local, page, refuse, ui

T = TypeVar("T")

CARRIED = ("plan", "back")
"""Fields of a form that survive the way over the page."""


@dataclass(frozen=True, kw_only=True)
class Asked:
    """Where an act is done, in the pages, in the API and on the command line; ``{key}`` is the object's id."""

    label: str
    url: str
    leave: str
    api: str
    cli: str
    permission: Permission = "operator"


KEY = "{key}"
_NODE = "/nodes/{key}"
ASKED: dict[tuple[str, str], Asked] = {
    ("nodes", "destroy"): Asked(
        label="Destroy", url="/nodes/{key}/delete", leave=_NODE,
        api="DELETE /api/v2/nodes/{key}", cli="crowbar nodes destroy {key}",
    ),
    ("nodes", "redeploy"): Asked(
        label="Redeploy", url="/nodes/{key}/redeploy", leave=_NODE,
        api="PUT /api/v2/nodes/{key}/redeploy", cli="crowbar nodes redeploy {key}",
    ),
    ("nodes", "commit"): Asked(
        label="Commit", url="/nodes/{key}/commit", leave=_NODE,
        api="PUT /api/v2/nodes/{key}/commit", cli="crowbar nodes commit {key}",
    ),
    ("deployments", "destroy"): Asked(
        label="Destroy", url="/deployments/{key}/delete", leave="/deployments/{key}",
        api="DELETE /api/v2/deployments/{key}", cli="crowbar deployments destroy {key}",
    ),
    ("deployments", "commit"): Asked(
        label="Commit", url="/deployments/{key}/commit", leave="/deployments/{key}",
        api="PUT /api/v2/deployments/{key}/commit", cli="crowbar deployments commit {key}",
    ),
    ("node_roles", "unbind"): Asked(
        label="Unbind", url="/noderoles/{key}/unbind", leave="/noderoles/{key}",
        api="DELETE /api/v2/node_roles/{key}", cli="crowbar noderoles unbind {key}",
    ),
    ("node_roles", "commit"): Asked(
        label="Commit", url="/noderoles/{key}/commit", leave="/noderoles/{key}",
        api="PUT /api/v2/node_roles/{key}/commit", cli="crowbar noderoles commit {key}",
    ),
    ("users", "destroy"): Asked(
        label="Destroy", url="/users/{key}/delete", leave="/users",
        api="DELETE /api/v2/users/{key}", cli="crowbar users destroy {key}", permission="admin",
    ),
}  # fmt: skip


def power_of(action: str) -> Asked:
    return Asked(
        label=f"Power {action}", url="/nodes/{key}/power", leave=_NODE,
        api=f'PUT /api/v2/nodes/{KEY}/power {{"action": "{action}"}}', cli=f"crowbar nodes power {KEY} {action}",
    )  # fmt: skip


def ask_url(kind: str, key: int, what: str) -> str:
    return f"/ask/{kind}/{key}/{what}"


@ui.get("/ask/<any(nodes, deployments, node_roles, users):kind>/<int:key>/<what>")
@requires("viewer")
def ask(kind: str, key: int, what: str) -> Response:
    """What would be lost, before it is."""
    asked = ASKED.get((kind, what))
    if asked is None and kind != "nodes":
        raise NotFound("There is nothing of that name to be asked about.")
    asked = asked or power_of(what)
    if not auth.may(auth.current_identity(), asked.permission) and asked.permission == "admin":
        raise Forbidden("Only administrators may do that.")
    loss = service.losses(auth.parts(), kind, key, what)
    fields = {name: request.args[name] for name in CARRIED if request.args.get(name)}
    if kind == "nodes" and (kind, what) not in ASKED:
        fields["action"] = what
    back = fields.get("back", "")
    return page(
        "ask.html",
        loss=loss,
        asked=asked,
        fields=fields,
        url=asked.url.replace(KEY, str(key)),
        leave=back if is_local(back) else asked.leave.replace(KEY, str(key)),
        plans=kind != "users" and (kind, what) in ASKED,
        same=[{"label": asked.label, "api": asked.api.replace(KEY, str(key)), "cli": asked.cli.replace(KEY, str(key))}],
    )


def act_asked(
    kind: str, key: int, what: str, work: Callable[[], T], done: str | Callable[[T], str], to: str, *,
    plans: bool = True, insist: bool = False,
) -> BaseResponse:  # fmt: skip
    """As ``act``, once the name was typed of what destroys; else the way leads to the page that asks for it. A form
    with ``rehearse`` is answered with its plan, if the act ``plans``.
    """
    typed = request.form.get("typed", "")
    try:
        if plans and request.form.get("rehearse"):
            known = service.losses(auth.parts(), kind, key, what)
            title = f"{ASKED[kind, what].label} {known.subject}"
            return act_planned(work, done, to, title=title, loss=known, insist=insist)
        loss: Loss | None = service.confirm(auth.parts(), kind, key, what, typed)
    except CrowbarError as error:
        if error.status >= 500:
            raise
        refuse(error)
        return redirect(to, code=HTTPStatus.SEE_OTHER)
    if loss is None:
        return act(work, done, to)
    if typed:
        flash(f"Nothing was done: the name that you typed is not {loss.name}.", "refused")
    carried = {name: request.form[name] for name in CARRIED if request.form.get(name)}
    query = f"?{urlencode(carried)}" if carried else ""
    return redirect(ask_url(kind, key, what) + query, code=HTTPStatus.SEE_OTHER)
