"""``Idempotency-Key``: the same POST sent twice is carried out once, and answered twice."""

from __future__ import annotations

import hashlib
import hmac
from typing import Final

from flask import Response, current_app, g, request

from crowbar_core.errors import BadInput, FieldError, Refused, Unavailable
from crowbar_core.store import idempotency
from crowbar_core.web import auth

KEY_MAX: Final = 255
RUNNING: Final = 0
"""The status of a request that is being carried out."""


def before() -> Response | None:
    """The kept answer when this POST was carried out before; else note that it is being carried out."""
    key = request.headers.get("Idempotency-Key")
    if key is None or request.method != "POST":
        return None
    if not key.strip() or len(key) > KEY_MAX or not key.isprintable():
        detail = f"Idempotency-Key is 1 to {KEY_MAX} printable characters, different for each thing to be done."
        raise BadInput(detail, errors=(FieldError(pointer="Idempotency-Key", detail=detail),))
    identity = auth.current_identity()
    actor = f"{identity.role}:{identity.user_id or identity.node_id}" if identity is not None else "public"
    digest = _digest()
    store = auth.parts().store
    with store.write(graph=False) as session:
        first = idempotency.note(session, store, actor, key, request=digest, status=RUNNING)
    if not first:
        return _again(actor, key, digest)
    g.crowbar_idempotency = (actor, key)
    return None


def _again(actor: str, key: str, digest: str) -> Response:
    with auth.parts().store.read() as session:
        row = idempotency.kept(session, actor, key)
    if row is None:
        raise Refused("The first request with this Idempotency-Key has just failed: send it again.")
    if not hmac.compare_digest(row.request, digest):
        detail = "This Idempotency-Key was used for another request: take a new one for each thing to be done."
        raise BadInput(detail, errors=(FieldError(pointer="Idempotency-Key", detail=detail),))
    if row.status == RUNNING:
        raise Refused(
            "The first request with this Idempotency-Key is still being carried out, or was interrupted: look at what "
            "it was to make, then repeat with a new key if need be."
        )
    if not row.body and row.status != 204:
        raise Refused("This was carried out already; its answer held a secret, which is shown only once.")
    answer = Response(row.body, status=row.status, mimetype="application/json")
    answer.headers["Idempotent-Replayed"] = "true"
    return answer


def after(answer: Response) -> None:
    """Keep the answer; forget requests that failed, so that they can be repeated."""
    held: tuple[str, str] | None = g.pop("crowbar_idempotency", None)
    if held is None:
        return
    actor, key = held
    try:
        _keep(actor, key, answer)
    except Unavailable:
        pass  # the request itself is answered; a repetition is told that its fate is unknown


def _keep(actor: str, key: str, answer: Response) -> None:
    with auth.parts().store.write(graph=False) as session:
        if answer.status_code >= 400:
            idempotency.forget(session, actor, key)
            return
        body = "" if _sensitive() or answer.is_streamed else answer.get_data(as_text=True)
        idempotency.keep(session, actor, key, status=answer.status_code, body=body)


def _sensitive() -> bool:
    view = current_app.view_functions.get(request.endpoint or "")
    operation = getattr(view, "crowbar_operation", None)
    return operation is None or bool(operation.sensitive)


def _digest() -> str:
    """A keyed digest of the request: bodies hold passwords, which a plain digest would expose to guessing."""
    key = current_app.secret_key
    assert isinstance(key, bytes)
    digest = hmac.new(key, digestmod=hashlib.sha256)
    for part in (request.method.encode(), request.full_path.encode(), request.get_data(cache=True)):
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.hexdigest()
