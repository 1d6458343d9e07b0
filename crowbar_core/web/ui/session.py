"""Logging in and out of the pages."""

from __future__ import annotations

from http import HTTPStatus

from flask import flash, make_response, redirect, render_template, request
from werkzeug.wrappers import Response

from crowbar_core.barclamp import requires
from crowbar_core.errors import CrowbarError, Unauthenticated
from crowbar_core.web import auth
from crowbar_core.web.ui.shell import back, is_local, ui


@ui.errorhandler(Unauthenticated)
def ask_to_log_in(error: Unauthenticated) -> Response:
    """Someone's session has ended: to the log-in page, and afterwards back to where they were."""
    asked = request.full_path.rstrip("?") if request.method == "GET" else ""
    to = f"/login?next={asked}" if is_local(asked) and asked != "/" else "/login"
    if request.headers.get("HX-Request"):
        answer = make_response("", HTTPStatus.UNAUTHORIZED)
        answer.headers["HX-Redirect"] = to
        return answer
    return redirect(to, code=HTTPStatus.SEE_OTHER)


@ui.get("/login")
@requires("public")
def login() -> Response:
    if auth.current_identity() is not None:
        return redirect(back("/"))
    return _form(200)


def _form(status: int) -> Response:
    wanted = request.values.get("next") or request.values.get("back", "")
    text = render_template(
        "crowbar/login.html", next=wanted if is_local(wanted) else "/", name=request.form.get("name", "")[:200]
    )
    answer = make_response(text, status)
    answer.headers["Cache-Control"] = "no-store"
    return answer


@ui.post("/login")
@requires("public")
def log_in() -> Response:
    try:
        auth.sign_in(request.form.get("name", "").strip(), request.form.get("password", ""))
    except CrowbarError as error:
        if error.status >= 500:
            raise
        flash(error.detail, "refused")
        return _form(error.status)
    return redirect(back("/"), code=HTTPStatus.SEE_OTHER)


@ui.post("/logout")
@requires("public")
def log_out() -> Response:
    auth.logout()
    flash("You are logged out.", "ok")
    return redirect("/login", code=HTTPStatus.SEE_OTHER)
