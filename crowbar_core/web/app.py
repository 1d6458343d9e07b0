"""The composition root: one Flask application made of the parts, with its guards in front of every route."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from datetime import timedelta
from typing import Any, Final

import orjson
from flask import Blueprint, Flask, Response, current_app, g, request
from flask.json.provider import JSONProvider
from flask_wtf.csrf import CSRFProtect
from werkzeug.exceptions import MethodNotAllowed, NotFound
from werkzeug.routing import AnyConverter, Map, RequestRedirect, Rule

from crowbar_core.barclamp import Permission, serving
from crowbar_core.errors import BarclampError, ConfigError, CrowbarError, Forbidden
from crowbar_core.errors import NotFound as NotFoundHere
from crowbar_core.services.build import build_parts
from crowbar_core.services.engine.seat import LiveCluster
from crowbar_core.services.turns.parts import Parts
from crowbar_core.settings import Settings
from crowbar_core.store.db import expect
from crowbar_core.store.listing import ID_MAX
from crowbar_core.web import auth, idempotency, origin, problems
from crowbar_core.web.api import outside, owner_of, strict, v2, waiting
from crowbar_core.web.api.operation import NotJson
from crowbar_core.web.api.waiting import Waiting
from crowbar_core.web.door import Door
from crowbar_core.web.proxy import BehindProxy
from crowbar_core.web.ui import ui

BODY_MAX: Final = 2 * 1024 * 1024
PERMISSIONS: Final = ("public", "viewer", "operator", "admin", "node")
OWNED_BY: Final = ("node", "node_role", "run")
"""Path parameters that lead to a node: a route with the permission ``node`` has one of them."""
SECURITY_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'self'; img-src 'self' data:; object-src 'none'; base-uri 'none'; "
    "form-action 'self'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class OrjsonProvider(JSONProvider):
    """JSON for Flask's own helpers, with the same encoder as everything else."""

    def dumps(self, obj: Any, **kwargs: Any) -> str:
        return orjson.dumps(obj).decode()

    def loads(self, s: str | bytes, **kwargs: Any) -> Any:
        return orjson.loads(s)


def create_app(settings: Settings, *, parts: Parts | None = None, barclamps: bool = True) -> Flask:
    """The web application. ``parts`` are built from the settings unless the caller has them already.

    Without ``barclamps``, their blueprints are left out.

    The pages of a barclamp whose routes cannot be are left out, and ``Registry.problems`` says why. Raises
    ``ConfigError`` for a route of the core without a permission.
    """
    built = parts if parts is not None else build_parts(settings)
    app = Flask(__name__, static_folder=None, template_folder="templates")
    app.json = OrjsonProvider(app)
    app.session_interface = auth.CookieSessions()
    app.config.update(
        SECRET_KEY=session_key(built),
        MAX_CONTENT_LENGTH=BODY_MAX,
        MAX_FORM_MEMORY_SIZE=BODY_MAX,
        PERMANENT_SESSION_LIFETIME=timedelta(hours=settings.session_hours),
        SESSION_REFRESH_EACH_REQUEST=False,
        SESSION_COOKIE_NAME="crowbar",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_SECURE=settings.cookie_secure,
        WTF_CSRF_CHECK_DEFAULT=False,  # we ask for it ourselves, once we know how the request was authenticated
        WTF_CSRF_TIME_LIMIT=None,  # as long as the session
    )
    app.extensions["crowbar"] = built
    built.store.carried_by(app)
    app.extensions["crowbar-door"] = Door()
    app.extensions["crowbar-waiting"] = Waiting(places=max(1, settings.http_threads // 2))
    CSRFProtect(app)
    problems.register(app)
    app.before_request(_guard)
    app.after_request(_after)
    app.teardown_request(_leave)
    _register(app, built, barclamps=barclamps)
    app.wsgi_app = BehindProxy(app.wsgi_app, settings.trusted_proxies)  # type: ignore[method-assign]
    app.extensions["crowbar-permissions"] = permissions(app)
    return app


def session_key(parts: Parts) -> bytes:
    """The key that signs session cookies, derived from the installation's own: every process of it has the same."""
    key = parts.cipher._signing_key + parts.cipher._encryption_key
    return hmac.new(key, b"crowbar session cookies", hashlib.sha256).digest()


# ---------------------------------------------------------------- routes


def _register(app: Flask, parts: Parts, *, barclamps: bool) -> None:
    for blueprint in (v2, outside, ui):
        app.register_blueprint(blueprint)
    taken = Taken(list(app.url_map.iter_rules()))
    for barclamp, blueprints in parts.registry.blueprints() if barclamps else ():
        try:
            trial = tried(barclamp.name, blueprints, taken)
            permissions(trial)
            for blueprint in blueprints:
                _add(app, barclamp.name, blueprint)
                app.extensions.setdefault("crowbar-brought", {})[blueprint.name] = barclamp.name
            taken.add(f"barclamp {barclamp.name}", list(trial.url_map.iter_rules()))
        except CrowbarError as error:
            parts.registry.note_unregistered(barclamp.name, "register_blueprints", error.detail)
        except (Exception, SystemExit) as error:  # noqa: BLE001  adding a blueprint runs a barclamp's code
            said = f"{type(error).__name__}: {error}"
            parts.registry.note_unregistered(barclamp.name, "register_blueprints", said)


class Taken:
    """The addresses that somebody answers for already: the core, and barclamps that were added before."""

    def __init__(self, core: Sequence[Rule]) -> None:
        self._map = Map()
        self._examples: list[tuple[str, str]] = []
        self._owners: dict[str, str] = {}
        self.add("the core", core)

    def add(self, owner: str, rules: Sequence[Rule]) -> None:
        for rule in rules:
            self._map.add(rule.empty())
            self._examples.append((rule.rule, _example(rule)))
            self._owners.setdefault(rule.rule, owner)

    def met_by(self, rules: Sequence[Rule]) -> tuple[str, str, str] | None:
        """The first of these rules that would answer for an address that is taken, or the other way round, that which
        it meets, and whose that is.
        """
        for rule in rules:
            if (met := _matching(self._map, _example(rule))) is not None:
                return rule.rule, met, self._owners.get(met, "another")
        theirs = _map_of(rules)
        for known, example in self._examples:
            if (met := _matching(theirs, example)) is not None:
                return met, known, self._owners[known]
        return None


def tried(barclamp: str, blueprints: Iterable[Any], taken: Taken) -> Flask:
    """An application that nobody asks, with these blueprints of a barclamp alone: what cannot be must not be on the
    real one by half. Raises as ``add_blueprint``.
    """
    trial = Flask(__name__, static_folder=None, template_folder=None)
    for blueprint in blueprints:
        add_blueprint(trial, barclamp, blueprint, taken)
    return trial


def add_blueprint(app: Flask, barclamp: str, blueprint: Any, taken: Taken) -> None:
    """Add a barclamp's blueprint. Raises ``BarclampError`` when it is none, or answers for what is another's."""
    if not isinstance(blueprint, Blueprint):
        raise BarclampError(
            f"register_blueprints of barclamp {barclamp} returned something that is no Flask Blueprint."
        )
    known = {id(rule) for rule in app.url_map.iter_rules()}
    _add(app, barclamp, blueprint)
    met = taken.met_by([rule for rule in app.url_map.iter_rules() if id(rule) not in known])
    if met is not None:
        raise BarclampError(
            f"Barclamp {barclamp} has a route {met[0]}, which overlaps with {met[2]}'s {met[1]}: give its blueprint "
            f"another url_prefix, or its resource another plural, for example /{barclamp} or /api/v2/{barclamp}."
        )


def _add(app: Flask, barclamp: str, blueprint: Blueprint) -> None:
    try:
        app.register_blueprint(blueprint)
    except (ValueError, AssertionError, TypeError) as error:
        raise BarclampError(f"The pages of barclamp {barclamp} cannot be added: {error}") from error


def _map_of(rules: Iterable[Rule]) -> Map:
    made = Map()
    for rule in rules:
        made.add(rule.empty())
    return made


def _example(rule: Rule) -> str:
    """An address that the rule matches."""
    values: dict[str, Any] = {}
    for name, converter in rule._converters.items():
        kind = type(converter).__name__
        if isinstance(converter, AnyConverter):
            values[name] = next(iter(converter.items))
        else:
            values[name] = {
                "IntegerConverter": 7,
                "FloatConverter": 7.5,
                "UUIDConverter": "00000000-0000-4000-8000-000000000000",
            }.get(kind, "x-example")
    built = rule.build(values)
    if built is None:
        return rule.rule
    return built[1]


def _matching(rules: Map, path: str) -> str | None:
    """The rule that would answer for ``path``, with any method."""
    adapter = rules.bind("crowbar.invalid")
    for method in ("GET", "POST", "PUT", "PATCH", "DELETE"):
        try:
            found, _ = adapter.match(path, method=method, return_rule=True)
        except RequestRedirect:
            return path if path.endswith("/") else _matching(rules, f"{path}/")
        except MethodNotAllowed:
            continue
        except NotFound:
            return None
        return found.rule
    return None


def permissions(app: Flask, *, only: str | None = None) -> dict[str, Permission]:
    """The permission of every endpoint, or of ``only`` one. Raises ``ConfigError`` for one without, or with one that
    cannot be checked.
    """
    found: dict[str, Permission] = {}
    for rule in app.url_map.iter_rules(only):
        view = app.view_functions[rule.endpoint]
        permission: Permission | None = (
            "public" if _is_static(rule.endpoint) else getattr(view, "crowbar_permission", None)
        )
        if permission is None or permission not in PERMISSIONS:
            said = "no permission" if permission is None else f"the permission {permission!r}, which there is not"
            raise ConfigError(
                f"The route {rule.rule} ({rule.endpoint}) declares {said}: mark its view with @requires(...), "
                f"one of {', '.join(PERMISSIONS)}, below the route decorator."
            )
        if permission == "node" and not set(OWNED_BY) & rule.arguments:
            raise ConfigError(
                f"The route {rule.rule} ({rule.endpoint}) is for nodes, but not for which: its path needs <node>."
            )
        found[rule.endpoint] = permission
    return found


# ---------------------------------------------------------------- in front of every request


def _guard() -> Response | None:
    """Who is it, may they, and did they mean it? In this order, before any view runs."""
    if request.routing_exception is not None:
        raise request.routing_exception
    assert request.endpoint is not None
    permission: Permission = current_app.extensions["crowbar-permissions"][request.endpoint]
    origin.check()
    if problems.is_api() and origin.is_form_post() and "Authorization" in request.headers:
        raise NotJson("A POST with an Authorization header must be JSON: send it with Content-Type: application/json.")
    if not _is_static(request.endpoint):
        auth.identify()  # who asks has the roles known that other processes have defined since
    auth.demand(permission, method=request.method)
    if permission == "node":
        _check_own_node()
    via = auth.current_via()
    if origin.is_change() and (via == "session" or (not via and not problems.is_api())):
        # Whoever has proved nothing, like a machine that boots, has nothing that another site could misuse.
        _csrf().protect()
    if not problems.is_api():
        _check_input()
    _enter()
    return idempotency.before()


def _is_static(endpoint: str) -> bool:
    return endpoint == "static" or endpoint.endswith(".static")


def _csrf() -> CSRFProtect:
    found = current_app.extensions["csrf"]
    assert isinstance(found, CSRFProtect)
    return found


def _check_input() -> None:
    """Pages read their input through the same strict code as the API, a barclamp's pages too."""
    strict.single(request.args.lists(), "parameter")
    strict.single(request.form.lists(), "field")
    for name, value in (request.view_args or {}).items():
        if isinstance(value, int) and value > ID_MAX:
            raise NotFoundHere(f"There is no {name.removesuffix('_id')} with that number.")
        if isinstance(value, str) and any(letter < " " or letter == "\x7f" for letter in value):
            raise NotFoundHere(f"There is no {name} of that name.")


def _check_own_node() -> None:
    """A node's token reaches what belongs to its node; whether anything else exists, it does not learn."""
    identity = auth.current_identity()
    if identity is None or identity.node_id is None:
        return
    try:
        owner = owner_of(request.view_args or {})
    except CrowbarError:
        owner = None
    if owner != identity.node_id:
        raise Forbidden("A node's token reaches only the endpoints of its own node.")


def _enter() -> None:
    """Barclamps' views find the cluster by ``crowbar_core.cluster()``."""
    context: AbstractContextManager[Any] = serving(LiveCluster(auth.parts(), auth.current_actor()))
    context.__enter__()
    g.crowbar_leave = context


def _leave(error: BaseException | None) -> None:
    if error is not None:
        waiting.broken()
    expect(None)
    context: AbstractContextManager[Any] | None = g.pop("crowbar_leave", None)
    if context is not None:
        context.__exit__(None, None, None)


def _after(answer: Response) -> Response:
    idempotency.after(answer)
    for name, value in SECURITY_HEADERS.items():
        answer.headers.setdefault(name, value)
    if request.endpoint is None or not _is_static(request.endpoint):
        answer.headers.setdefault("Cache-Control", "no-store")
    return answer
