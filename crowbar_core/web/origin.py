"""Did they mean it? What another site's page makes a browser send, told from what our pages and scripts send.

A browser adds what it knows to such a request: the session cookie, and also the name and password that it was once
asked for by Basic authentication. What it does not let another site do, without asking us first (CORS, which we do not
answer): other methods than GET and POST, other content types than those of forms, a header of its own.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urlsplit

from flask import request

from crowbar_core.errors import Forbidden

SAFE_METHODS: Final = ("GET", "HEAD", "OPTIONS")
FORMS: Final = ("", "application/x-www-form-urlencoded", "multipart/form-data", "text/plain")
"""The content types that any page may send anywhere; a body without one is among them."""
PORTS: Final = {"http": 80, "https": 443}


def is_change() -> bool:
    return request.method not in SAFE_METHODS


def is_form_post() -> bool:
    """Whether the request could be a form's. Then a name and password, or a token, prove nothing about who meant it."""
    return request.method == "POST" and request.mimetype in FORMS


def is_of_a_browser() -> bool:
    return "Sec-Fetch-Mode" in request.headers or "Sec-Fetch-Site" in request.headers


def check() -> None:
    """Raise ``Forbidden`` for a change that a page of another origin asks for."""
    if not is_change():
        return
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    if site not in (None, "same-origin", "none") or (origin is not None and not _is_ours(origin)):
        raise Forbidden(
            "A page of another origin asked for this. If it was one of Crowbar's own, the proxy in front does not pass "
            "on the header Host (with its port) or X-Forwarded-Proto."
        )


def _is_ours(origin: str) -> bool:
    try:
        theirs, ours = urlsplit(origin), urlsplit(request.host_url)
        same_place = (theirs.hostname, theirs.port or PORTS.get(theirs.scheme)) == (
            ours.hostname,
            # A proxy that does not say that it does TLS leaves us with a Host without a port, and the wrong default.
            ours.port or PORTS.get(theirs.scheme),
        )
    except ValueError:
        return False
    return same_place and theirs.scheme in PORTS and not (theirs.scheme == "http" and request.is_secure)
