"""The decorator of every API view: what it takes, gives and allows, said once, checked, and told in OpenAPI."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson
from flask import Response, request
from pydantic import BaseModel, ConfigDict, Field

from crowbar_core.barclamp import Permission
from crowbar_core.errors import BadInput, CrowbarError, FieldError
from crowbar_core.services.cluster.planning import rehearse
from crowbar_core.store.listing import Listing
from crowbar_core.web.api import strict
from crowbar_core.web.api.plans import shown
from crowbar_core.web.auth import parts

JSON_TYPES = ("application/json", "application/merge-patch+json")


class NotJson(CrowbarError):
    """The body is of a type that is not taken."""

    code = "unsupported-media-type"
    status = 415


class Body(BaseModel):
    """What request bodies have in common: no unknown fields, no conversions."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Query(BaseModel):
    """What query parameters have in common."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DryRun(Query):
    dry_run: bool = Field(False, description="Do nothing: answer with the plan of what would happen.")


class LossQuery(Query):
    act: str = Field(
        min_length=1,
        max_length=64,
        description="destroy, redeploy, unbind, commit, or what a hammer can do (off, cycle, reset).",
    )
    force: bool = Field(
        False, description="Of the act with force: without tearing down on nodes what roles made there."
    )


@dataclass(frozen=True, kw_only=True)
class Answer:
    """What a view gives back when it is more than a value with the declared status."""

    value: Any = None
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Operation:
    """What is known of one view. ``statuses`` are further ones that carry the same answer."""

    summary: str
    permission: Permission
    body: type[BaseModel] | None = None
    query: type[BaseModel] | None = None
    listing: Listing | None = None
    many: bool = False
    returns: Any = None
    status: int = 200
    statuses: tuple[int, ...] = ()
    sensitive: bool = False
    takes_match: bool = False
    """A POST /match: any field of the listing that can be filtered by is taken as body."""
    plans: str = ""
    """What ``?dry_run=true`` plans, with fields of path and body in braces; empty where it is not taken."""


View = Callable[..., Any]


def api(
    *,
    permission: Permission,
    summary: str,
    body: type[BaseModel] | None = None,
    query: type[BaseModel] | None = None,
    listing: Listing | None = None,
    many: bool = False,
    returns: Any = None,
    status: int = 200,
    statuses: tuple[int, ...] = (),
    sensitive: bool = False,
    takes_match: bool = False,
    plans: str = "",
) -> Callable[[View], View]:
    """Make a view of the API.

    The view gets its path parameters, ``body`` and ``query`` (if declared) by keyword, and returns a JSON value, an
    ``Answer``, or None (204). With ``listing`` it answers with objects of that noun, and with ``many`` it reads the
    query parameters of a list itself. The answer of a ``sensitive`` operation holds a secret and is kept nowhere.
    With ``plans`` the view takes ``?dry_run=true``: it is rehearsed, and the answer is the plan.
    """
    operation = Operation(
        summary=summary,
        permission=permission,
        body=body,
        query=query,
        listing=listing,
        many=many,
        returns=returns,
        status=status,
        statuses=statuses,
        sensitive=sensitive,
        takes_match=takes_match,
        plans=plans,
    )

    def decorate(view: View) -> View:
        @functools.wraps(view)
        def called(**path: Any) -> Response:
            given, asked = dict(path), {} if many and query is None else arguments()
            dry_run = bool(plans) and _dry_run(asked)
            if query is not None:
                given["query"] = strict.query(query, asked)
            elif not many:
                _check_arguments(listing, asked)
            with strict.room(request.content_length or 0):
                if takes_match:
                    given["body"] = json_object()
                elif body is not None:
                    given["body"] = strict.model(body, _json(or_empty=_all_optional(body)))
                else:
                    _check_no_body()
            if dry_run:
                title = plans.format_map({**path, **_fields(given.get("body"))})
                return respond(shown(rehearse(parts(), lambda: view(**given), title=title)))
            return respond(view(**given), status)

        called.crowbar_permission = permission  # type: ignore[attr-defined]
        called.crowbar_operation = operation  # type: ignore[attr-defined]
        return called

    return decorate


def respond(value: Any, status: int = 200) -> Response:
    """A view's result as an answer."""
    headers: Mapping[str, str] = {}
    if isinstance(value, Response):
        return value
    if isinstance(value, Answer):
        status, headers, value = value.status or status, value.headers, value.value
    if value is None and status in (200, 204, 304):
        answer = Response(status=304 if status == 304 else 204)
        del answer.headers["Content-Type"]
    else:
        answer = Response(dumps(value), status=status, mimetype="application/json")
    for name, text in headers.items():
        answer.headers[name] = text
    return answer


def dumps(value: Any) -> bytes:
    """A value as JSON, as every answer has it."""
    return orjson.dumps(value, default=_plain)


class Force(Query):
    force: bool = Field(False, description="Without tearing down on nodes what roles made there.")


def _dry_run(asked: dict[str, str]) -> bool:
    found = strict.query(DryRun, {"dry_run": asked.pop("dry_run", "false")})
    return isinstance(found, DryRun) and found.dry_run


def _fields(body: Any) -> dict[str, Any]:
    return body.model_dump() if isinstance(body, BaseModel) else {}


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset):
        return sorted(value)
    raise TypeError(f"{type(value).__name__} is no JSON value")


# ---------------------------------------------------------------- what came with the request


def arguments() -> dict[str, str]:
    """The query parameters, each given once. Raises ``BadInput`` for repeated ones and for NUL."""
    return strict.single(request.args.lists(), "query parameter")


def repeatable_arguments(once: Sequence[str]) -> dict[str, list[str]]:
    """The same for a list, where any filter may be given several times. Raises as ``arguments`` does."""
    given = list(request.args.lists())
    strict.single(((name, values if name in once else values[:1]) for name, values in given), "query parameter")
    for name, values in given:
        for value in values:
            strict.single([(name, [value])], "query parameter")
    return dict(given)


def _check_arguments(listing: Listing | None, given: Mapping[str, str]) -> None:
    allowed = {"fields"} if listing is not None else set()
    if set(given) - allowed:
        known = "fields" if allowed else "none"
        raise _refused(f"There is a query parameter that is not known here; known: {known}.")


def _refused(detail: str) -> BadInput:
    return BadInput(detail, errors=(FieldError(pointer="?", detail=detail),))


def _all_optional(model: type[BaseModel]) -> bool:
    return not any(item.is_required() for item in model.model_fields.values())


def _json(*, or_empty: bool = False) -> Any:
    if or_empty and not request.get_data(cache=True):
        return {}
    if request.mimetype not in JSON_TYPES:
        raise NotJson("The body must be JSON: send it with the header Content-Type: application/json.")
    return strict.parse(request.get_data(cache=True))


def json_object() -> dict[str, Any]:
    """The body, which must be a JSON object."""
    value = _json()
    if not isinstance(value, dict):
        raise BadInput("The body must be a JSON object.", errors=(FieldError(pointer="", detail="This is no object."),))
    return value


def _check_no_body() -> None:
    """Nothing, or an empty object (what many clients send with every PUT)."""
    if request.method in ("GET", "HEAD", "OPTIONS"):
        return
    raw = request.get_data(cache=True)
    # A page's own form carries its CSRF token and nothing else.
    if not raw.strip() or request.mimetype in ("application/x-www-form-urlencoded", "multipart/form-data"):
        return
    if _json() not in ({}, None):
        detail = "This takes no fields: send no body, or an empty object."
        raise BadInput(detail, errors=(FieldError(pointer="", detail=detail),))
