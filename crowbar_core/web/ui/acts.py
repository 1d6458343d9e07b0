"""The forms that do something with an object, one for each verb; what destroys asks first, on a page of its own.

A form may be sent straight to where the work is done; what destroys and brings no name is led to the page that says
what will be lost and wants the name typed. So no click destroys anything by itself, with JavaScript or without.
"""

from __future__ import annotations

from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from flask import Response, flash, redirect, request
from werkzeug.wrappers import Response as BaseResponse

from crowbar_core.barclamp import requires
from crowbar_core.errors import CrowbarError, Forbidden, NotFound
from crowbar_core.services.cluster.losses import confirm, losses
from crowbar_core.store import listing as lists
from crowbar_core.web import auth
from crowbar_core.web.api.verbs import VERBS, Verb, find, power
from crowbar_core.web.ui.plans import act_planned
from crowbar_core.web.ui.shell import act, actor, form_body, is_local, page, refuse, ui

CARRIED = ("plan", "back")
"""Fields of a form that survive the way over the page."""


@ui.get("/ask/<noun>/<int:key>/<what>")
@requires("viewer")
def ask(noun: str, key: int, what: str) -> Response:
    """What would be lost, before it is."""
    verb = find(noun, what) or (power(what) if noun == "nodes" else None)
    if verb is None or not (verb.asks and verb.said):
        raise NotFound("There is nothing of that name to be asked about.")
    if verb.permission == "admin" and not auth.may(auth.current_identity(), "admin"):
        raise Forbidden("Only administrators may do that.")
    loss = losses(auth.parts(), noun, key, what)
    fields = {name: request.args[name] for name in CARRIED if request.args.get(name)}
    back = fields.get("back", "")
    return page(
        "ask.html",
        loss=loss,
        verb=verb,
        fields={**fields, **(verb.fields or {})},
        url=verb.url(key),
        leave=back if is_local(back) else verb.page_of(key),
        same=[verb.action(key)],
    )


def do(verb: Verb, key: int) -> BaseResponse:
    """Do it as the form says, once the name was typed of what destroys; else the way leads to the page that asks for
    it. A form with ``rehearse`` is answered with its plan, if it can be planned.
    """
    to, kind = verb.page_of(key), verb.noun
    takes_plan = verb.takes is not None and "plan" in verb.takes.model_fields

    def work() -> Any:
        taken = form_body(verb.takes).model_dump() if verb.takes is not None else {}
        return verb.act(auth.parts(), actor(), key, **taken)

    def done(result: Any) -> str:
        if verb.removes and not _is_gone(verb, key):
            return f"The {verb.of.noun} goes when what was made on the node is torn down."
        return verb.said(result) if callable(verb.said) else verb.said

    try:
        if verb.plans and request.form.get("rehearse"):
            forced = bool(request.form.get("force"))
            loss = losses(auth.parts(), kind, key, verb.name, force=forced) if verb.asks else None
            title = f"{verb.label} {loss.subject if loss else _subject(verb, key)}"
            return act_planned(work, done, to, title=title, loss=loss, insist=takes_plan)
        typed = request.form.get("typed", "")
        asked = confirm(auth.parts(), kind, key, verb.name, typed) if verb.asks else None
    except CrowbarError as error:
        if error.status >= 500:
            raise
        refuse(error)
        return redirect(to, code=HTTPStatus.SEE_OTHER)
    if asked is not None:
        if typed:
            flash(f"Nothing was done: the name that you typed is not {asked.name}.", "refused")
        way = verb.ask(key, **{name: request.form.get(name, "") for name in CARRIED})
        return redirect(way, code=HTTPStatus.SEE_OTHER)
    answer = act(work, done, to)
    if verb.removes and answer.location == to and _is_gone(verb, key):
        return redirect(verb.page, code=HTTPStatus.SEE_OTHER)
    return answer


def _subject(verb: Verb, key: int) -> str:
    with auth.parts().store.read() as session:
        fields = ("id",) if verb.of.name is None else ("name",)
        row = lists.one(session, verb.of, key, fields=fields)
    return f"{verb.of.noun} {row.get('name', key)}"


def _is_gone(verb: Verb, key: int) -> bool:
    try:
        with auth.parts().store.read() as session:
            lists.find_id(session, verb.of, key)
    except NotFound:
        return True
    return False


@ui.post("/nodes/<int:key>/power")
@requires("operator")
def switch(key: int) -> BaseResponse:
    return do(power(request.form.get("action", "").strip()), key)


def _form_of(verb: Verb) -> Callable[[int], BaseResponse]:
    def view(key: int) -> BaseResponse:
        return do(verb, key)

    return requires(verb.permission)(view)


for _verb in VERBS:
    if _verb.said:
        ui.add_url_rule(
            f"{_verb.page}/<int:key>/{_verb.name}",
            f"{_verb.name}_{_verb.noun}",
            _form_of(_verb),
            methods=["POST"],
        )
