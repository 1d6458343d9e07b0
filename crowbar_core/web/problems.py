"""Errors as answers: problem+json below the API, a small page elsewhere; never a traceback or the rejected input."""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson
import structlog
from flask import Flask, Response, current_app, redirect, request, url_for
from flask_wtf.csrf import CSRFError
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response as WerkzeugResponse

from crowbar_core.errors import ConfigError, CrowbarError, FieldError, Unauthenticated, Unavailable
from crowbar_core.services.turns import conflicts
from crowbar_core.web import origin
from crowbar_core.web.auth import parts
from crowbar_core.web.door import TooManyAttempts
from crowbar_core.web.ui import error_page

log = structlog.get_logger(__name__)

RETRY_AFTER_SECONDS = 5
API_PREFIXES = ("/api/", "/healthz", "/readyz", "/metrics")

CODES = {
    400: "bad-request",
    403: "forbidden",
    404: "not-found",
    405: "method-not-allowed",
    406: "not-acceptable",
    408: "timeout",
    413: "too-large",
    414: "too-long",
    415: "unsupported-media-type",
    431: "too-large",
}
DETAILS = {
    400: "The request is not valid HTTP for this address.",
    404: "There is nothing at this address; the API is described at /api/docs.",
    413: "The request is too large: at most 2 MB are taken.",
    415: "The body must be JSON: send it with the header Content-Type: application/json.",
    431: "The header of the request is too large: at most 64 KB are taken.",
}


def is_api() -> bool:
    return request.path.startswith(API_PREFIXES) or request.path == "/api"


def problem(
    status: int,
    *,
    code: str,
    detail: str,
    errors: tuple[FieldError, ...] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    """An RFC 9457 answer."""
    body: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
        "errors": [{"pointer": error.pointer, "detail": error.detail} for error in errors],
    }
    # A detail may quote what a client sent (a path): text that is not valid Unicode must not break the answer.
    for key in ("detail", "code"):
        body[key] = body[key].encode("utf-8", "replace").decode()
    answer = Response(orjson.dumps(body), status=status, mimetype="application/problem+json")
    for name, value in (headers or {}).items():
        answer.headers[name] = value
    return answer


def refusal(status: int) -> Response:
    """The answer to a request that the server did not even hand to the application."""
    code = CODES.get(status, "error")
    return problem(status, code=code, detail=DETAILS.get(status) or f"{HTTPStatus(status).phrase}.")


def _page(status: int, *, detail: str, errors: Sequence[FieldError], headers: Mapping[str, str]) -> Response:
    answer = error_page(status, HTTPStatus(status).phrase, detail, [error.detail for error in errors])
    for name, value in headers.items():
        answer.headers[name] = value
    return answer


def _answer(
    status: int,
    *,
    code: str,
    detail: str,
    errors: tuple[FieldError, ...] = (),
    headers: Mapping[str, str] | None = None,
) -> Response:
    if is_api():
        return problem(status, code=code, detail=detail, errors=errors, headers=headers)
    return _page(status, detail=detail, errors=errors, headers=headers or {})


def _crowbar(error: CrowbarError) -> Response | WerkzeugResponse:
    headers: dict[str, str] = {}
    if isinstance(error, Unauthenticated):
        if not is_api() and request.method == "GET" and "ui.login" in current_app.view_functions:
            return redirect(url_for("ui.login", next=request.full_path.rstrip("?")))
        # Not Basic for a browser: it would ask for a password, and from then on send it with every request by itself.
        headers["WWW-Authenticate"] = (
            'Bearer realm="Crowbar"' if origin.is_of_a_browser() else 'Basic realm="Crowbar", charset="UTF-8"'
        )
    if isinstance(error, TooManyAttempts):
        headers["Retry-After"] = str(math.ceil(error.retry_after))
    if isinstance(error, Unavailable):
        headers["Retry-After"] = str(RETRY_AFTER_SECONDS)
    status = error.status
    if status >= 500 and not isinstance(error, Unavailable):
        # A wrong setting or a jig's failure that nobody turned into an answer: ours to explain, with the words it has.
        log.error("request failed", path=request.path, error=error.detail, exc_info=not isinstance(error, ConfigError))
    return _answer(status, code=error.code, detail=error.detail, errors=error.errors, headers=headers)


def _csrf(error: CSRFError) -> Response:
    return _answer(
        400,
        code="csrf",
        detail="The form's CSRF token is missing, old or of another session: load the page again and repeat.",
    )


def _http(error: HTTPException) -> Response | WerkzeugResponse:
    status = error.code or 500
    if status < 400:  # a redirect to the canonical address
        answer = error.get_response()
        assert isinstance(answer, WerkzeugResponse)
        return answer
    headers = {
        name: value
        for name, value in error.get_headers()
        if name.lower() in {"allow", "retry-after", "www-authenticate"}
    }
    detail = DETAILS.get(status) or f"{HTTPStatus(status).phrase}."
    if status == 405:
        detail = f"This address does not take {request.method}; it takes {headers.get('Allow', 'nothing')}."
    return _answer(status, code=CODES.get(status, "error"), detail=detail, headers=headers)


def _database(error: Exception) -> Response:
    if isinstance(error, OperationalError) and conflicts.lacking(parts().registry, error):
        return _unexpected(error)
    log.warning("database unavailable", path=request.path, error=str(error).splitlines()[0])
    return _answer(
        503,
        code="unavailable",
        detail="The database does not answer, or cannot write. Try again in a moment; /readyz tells more.",
        headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
    )


def _constraint(error: IntegrityError) -> Response:
    """Two requests at once, of which the schema let one through; or a barclamp's view that broke a rule of a table."""
    built = parts()
    said = conflicts.refusal(built.store, built.registry, error)
    log.warning("constraint", path=request.path, error=said.detail)
    return _answer(409, code=said.code, detail=f"{said.detail} It may have changed just now: read again.")


def _range(error: DataError) -> Response:
    said = conflicts.unfitting(parts().registry, error)
    log.warning("value does not fit", path=request.path, error=said)
    return _answer(422, code="invalid", detail=said)


def _unexpected(error: Exception) -> Response:
    mark = secrets.token_hex(4)
    owner = _barclamp()
    whose = {"barclamp": owner} if owner else {}
    log.exception("unexpected error", mark=mark, method=request.method, path=request.path, exc_info=error, **whose)
    said = conflicts.lacking(parts().registry, error) if isinstance(error, DBAPIError) else ""
    if not said and owner:
        said = f"The code of barclamp {owner} made a mistake here."
    to = f" to the author of barclamp {owner}" if owner else ""
    return _answer(
        500,
        code="internal",
        detail=f"{said or 'Crowbar made a mistake here.'} The log has it under {mark}; please report it{to} with those "
        "lines.",
    )


def _barclamp() -> str:
    """Whose the blueprint is that answers this request; '' of the core's own."""
    brought: Mapping[str, str] = current_app.extensions.get("crowbar-brought", {})
    return next((brought[name] for name in request.blueprints if name in brought), "")


def register(app: Flask) -> None:
    app.register_error_handler(CrowbarError, _crowbar)
    app.register_error_handler(CSRFError, _csrf)
    app.register_error_handler(HTTPException, _http)
    for unavailable in (OperationalError, InterfaceError, PoolTimeout):
        app.register_error_handler(unavailable, _database)
    app.register_error_handler(IntegrityError, _constraint)
    app.register_error_handler(DataError, _range)
    app.register_error_handler(Exception, _unexpected)
