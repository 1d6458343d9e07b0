"""Who is asking: Basic, bearer token or session cookie; what they may do; and signing in and out of the pages."""

from __future__ import annotations

from typing import Literal

from flask import Flask, current_app, g, request, session
from flask.sessions import SecureCookieSessionInterface

from crowbar_core.barclamp import Permission
from crowbar_core.errors import Forbidden, Unauthenticated, Unavailable
from crowbar_core.services.people import sessions, users
from crowbar_core.services.people.users import Identity
from crowbar_core.services.turns.parts import Parts
from crowbar_core.services.turns.turn import Actor
from crowbar_core.web import origin
from crowbar_core.web.door import Door

Via = Literal["", "basic", "bearer", "session"]

RANKS = {"viewer": 1, "operator": 2, "admin": 3}


class CookieSessions(SecureCookieSessionInterface):
    """Flask's signed cookies, marked Secure whenever the request came over TLS."""

    def get_cookie_secure(self, app: Flask) -> bool:
        return request.is_secure or super().get_cookie_secure(app)


def parts() -> Parts:
    """The parts of the running application."""
    found = current_app.extensions["crowbar"]
    assert isinstance(found, Parts)
    return found


def _door() -> Door:
    found = current_app.extensions["crowbar-door"]
    assert isinstance(found, Door)
    return found


# ---------------------------------------------------------------- who is asking


def identify() -> None:
    """Find out who sent the current request; called once, before anything else looks at it.

    Wrong credentials are an error even where none are needed: a client that thinks it is someone should know it is not.
    For what could be a form, only the session counts: a browser sends a password that it knows with other sites' forms.
    """
    g.crowbar_identity, g.crowbar_via = _identify()


def _identify() -> tuple[Identity | None, Via]:
    header = request.headers.get("Authorization", "")
    if header and not origin.is_form_post():
        scheme, _, rest = header.partition(" ")
        if scheme.lower() == "bearer":
            return users.identity_of_token(parts(), rest.strip()), "bearer"
        given = request.authorization
        if given is not None and given.type == "basic" and given.username is not None:
            return check_password(given.username, given.password or ""), "basic"
        raise Unauthenticated("The Authorization header is neither Basic nor Bearer; use one of these.")
    key = session.get("key")
    if isinstance(key, str):
        identity = sessions.identity(parts(), key)
        if identity is not None:
            return identity, "session"
        session.clear()
    return None, ""


def check_password(name: str, password: str) -> Identity:
    """Whose name and password these are. Raises ``Unauthenticated``, or ``TooManyAttempts`` after many wrong ones."""
    door = _door()
    digest = door.digest(name, password)
    with door.one_at_a_time(digest):
        known = door.remembered(digest)
        if known is not None:
            identity = users.identity_of_session(parts(), user_id=known[0], epoch=known[1])
            if identity is not None:
                return identity
        attempt = door.knock(name, request.remote_addr or "")
        try:
            identity = users.authenticate(parts(), name, password)
        except Unavailable:
            attempt.take_back()
            raise
        attempt.succeed()
        door.remember(digest, identity)
        return identity


def current_identity() -> Identity | None:
    """Who sent the current request; None for someone who did not sign in."""
    found = g.get("crowbar_identity")
    return found if isinstance(found, Identity) else None


def current_via() -> Via:
    """How they proved it."""
    via: Via = g.get("crowbar_via", "")
    return via


def current_actor() -> Actor:
    """The current request's sender, as the audit trail names them."""
    identity = current_identity()
    if identity is None:
        return Actor(name="anonymous", remote=request.remote_addr or "", role="")
    return Actor(name=identity.name, remote=request.remote_addr or "", role=identity.role)


# ---------------------------------------------------------------- what they may do


def may(identity: Identity | None, permission: Permission, *, method: str = "GET") -> bool:
    """Whether someone may call a route that declares ``permission``.

    Routes with ``node`` are for the node's own token; of people, viewers may read there and operators may change.
    """
    if permission == "public":
        return True
    if identity is None:
        return False
    if permission == "node":
        if identity.node_id is not None:
            return True
        permission = "viewer" if method in {"GET", "HEAD", "OPTIONS"} else "operator"
    return RANKS.get(identity.role, 0) >= RANKS[permission]


def demand(permission: Permission, *, method: str = "GET") -> None:
    """Raise ``Unauthenticated`` or ``Forbidden`` unless the current request may do this."""
    identity = current_identity()
    if may(identity, permission, method=method):
        return
    if identity is None:
        raise Unauthenticated("Sign in first: with Basic authentication, a bearer token, or on the login page.")
    if identity.node_id is not None:
        raise Forbidden("A node's token reaches only the endpoints of its own node.")
    needed = permission if permission != "node" else "operator"
    raise Forbidden(f"This needs the role {needed}; {identity.name} is {identity.role} here.")


# ---------------------------------------------------------------- sessions of the pages


def login(identity: Identity) -> None:
    """Begin a session for this user. Whatever the cookie held before is gone, the CSRF token too."""
    if identity.user_id is None:
        raise Forbidden("Only people have sessions; a node uses its token.")
    key = sessions.begin(parts(), identity)
    _forget()
    session.permanent = True
    session["key"] = key
    g.crowbar_identity, g.crowbar_via = identity, "session"


def logout() -> None:
    """End the session of the current request, also for whoever has a copy of its cookie."""
    _forget()
    g.crowbar_identity, g.crowbar_via = None, ""


def _forget() -> None:
    before = session.get("key")
    if isinstance(before, str):
        sessions.end(parts(), before)
    session.clear()
    g.pop("csrf_token", None)  # Flask-WTF keeps the old one here for the rest of the request


def sign_in(name: str, password: str) -> Identity:
    """What the login form does: check the password (bounded in rate), then begin a session."""
    identity = check_password(name, password)
    login(identity)
    return identity
