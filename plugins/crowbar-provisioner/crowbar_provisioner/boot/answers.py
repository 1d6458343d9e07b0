"""What endpoints of the boot service have in common: who asks, and answers in the forms that machines understand."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from werkzeug.wrappers import Request, Response

from crowbar_core import CrowbarError, cluster
from crowbar_provisioner import boots
from crowbar_provisioner.boots import Boot
from crowbar_provisioner.scripts import BASE, TOKEN

_BEARER = re.compile(r"Bearer ([A-Za-z0-9_-]{43})")
POLL = 5


class Unauthorized(CrowbarError):
    """The token is none, or no longer."""


class NotHere(CrowbarError):
    """Nothing is at that address for whoever asks."""


def script(text: str) -> Response:
    return Response(text, mimetype="text/plain", headers={"Cache-Control": "no-store"})


def answer(value: Mapping[str, Any], status: int = 200) -> Response:
    body = json.dumps(value)
    return Response(body, status=status, mimetype="application/json", headers={"Cache-Control": "no-store"})


def base_of(request: Request) -> str:
    """Where the machine has found the service: it goes on there. Raises ``NotHere`` for a Host that is none."""
    base = f"{request.scheme}://{request.environ.get('HTTP_HOST', '')}"
    if not BASE.fullmatch(base):
        raise NotHere("The request names no host.")
    return base


def source_of(request: Request) -> str:
    return str(request.environ.get("REMOTE_ADDR", ""))


def token_of(request: Request) -> str:
    """The one that was shown; ''."""
    hit = _BEARER.fullmatch(request.headers.get("Authorization", ""))
    return hit[1] if hit else ""


def authorized(request: Request) -> Boot:
    """Raises ``Unauthorized``."""
    found = boot_of(token_of(request))
    if found is None:
        raise Unauthorized(
            "The token is not valid (any more): another boot of this machine has begun, or it was refused."
        )
    return found


def boot_of(token: str) -> Boot | None:
    if not TOKEN.fullmatch(token):
        return None
    with cluster().read() as session:
        return boots.of_token(session, token)
