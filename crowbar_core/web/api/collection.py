"""Lists and objects over HTTP: paging with Link headers, chosen fields, ETags, and the routes every noun has."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, date, datetime
from typing import Any
from urllib.parse import urlencode

import orjson
from flask import Blueprint, request
from pydantic import BaseModel
from sqlalchemy.orm import Session

from crowbar_core.barclamp import Permission
from crowbar_core.errors import BadInput, FieldError, PreconditionFailed
from crowbar_core.store import listing as lists
from crowbar_core.store.db import expect
from crowbar_core.store.listing import Field, Later, Listing, Where
from crowbar_core.web.api.operation import Answer, LossQuery, Query, api, dumps, repeatable_arguments
from crowbar_core.web.auth import parts

OWN = ("limit", "after", "sort", "fields", "count")
EXAMPLE_TIME = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def listed(listing: Listing, *, where: Where = (), filters: Mapping[str, str] | None = None) -> Answer:
    """One page of a list, as the query parameters ask for it. ``filters`` are not the client's to change."""
    several = repeatable_arguments(OWN)
    given = {name: values[0] for name, values in several.items() if name in OWN}
    limit = _limit(given.get("limit"))
    assumed = listing.unless_asked if request.method == "GET" else {}
    asked: dict[str, str | Sequence[str]] = {**assumed, **{n: v for n, v in several.items() if n not in OWN}}
    asked.update(filters or {})
    with parts().store.read() as session:
        found = lists.page(
            session,
            listing,
            filters=asked,
            where=where,
            sort=given.get("sort", ""),
            after=given.get("after", ""),
            limit=limit,
            fields=chosen_fields(),
            count=given.get("count", "").lower() in ("true", "1"),
            dumps=dumps,
        )
    headers = {}
    if found.after is not None:
        query = urlencode({**several, "limit": str(limit), "after": found.after}, doseq=True)
        headers["Link"] = f'<{request.path}?{query}>; rel="next"'
    if found.total is not None:
        headers["X-Total-Count"] = str(found.total)
    return Answer(value=orjson.Fragment(found.text), headers=headers)


def single(listing: Listing, ref: str | int, *, where: Where = (), status: int = 200) -> Answer:
    """One object with its ETag; 304 when the client has it already."""
    whole = _whole(listing, ref, where)
    tag = _tag(whole)
    headers = {"ETag": tag}
    if request.method == "GET" and request.if_none_match.contains_weak(tag.strip('"')):
        return Answer(status=304, headers=headers)
    fields = [name for name in chosen_fields() if name != "*"]
    for name in fields:
        if listing.field(name) is None:
            raise _refused("fields", f"A {listing.noun} has no such field; it has {', '.join(listing.names)}.")
    value = {name: whole[name] for name in fields} if fields else whole
    return Answer(value=value, status=status, headers=headers)


def created(listing: Listing, key: int, *, extra: Mapping[str, Any] | None = None) -> Answer:
    """The answer to a POST that made an object: 201, where it is, and the object."""
    answer = single(listing, key)
    value = {**answer.value, **extra} if extra else answer.value
    return Answer(value=value, status=201, headers={**answer.headers, "Location": f"/api/v2/{listing.plural}/{key}"})


def found_id(listing: Listing, ref: str | int, *, where: Where = ()) -> int:
    """The id behind an id or a name in the path. Raises ``NotFound``."""
    with parts().store.read() as session:
        return lists.find_id(session, listing, ref, where=where)


def to_change(listing: Listing, ref: str | int, *, where: Where = ()) -> int:
    """The id of the object about to be changed.

    If-Match (if given) is looked at here, to refuse early, and once more in the transaction that makes the change: of
    several who have read the same, one changes it.
    """
    key = found_id(listing, ref, where=where)
    wanted = request.if_match
    if not wanted:
        return key

    def check(session: Session) -> None:
        tag = _tag(lists.one(session, listing, key, where=where))
        if not (wanted.star_tag or tag.strip('"') in wanted):
            raise PreconditionFailed(
                f"The {listing.noun} has changed since you read it (If-Match does not hold): read it again, then "
                "repeat."
            )

    def check_locked(session: Session) -> None:
        lists.lock(session, listing, key)
        check(session)

    with parts().store.read() as session:
        check(session)
    expect(check_locked)
    return key


def chosen_fields() -> list[str]:
    """The fields asked for by ``?fields=a,b``, or by the ancestor's header ``x-return-attributes`` (a list or JSON)."""
    text = request.args.get("fields", "")
    if not text:
        text = request.headers.get("x-return-attributes", "")
        if text.startswith("{"):
            try:
                held = orjson.loads(text)["attributes"]
                text = ",".join(name for name in held if isinstance(name, str))
            except (ValueError, KeyError, TypeError):
                raise _refused(
                    "x-return-attributes", 'x-return-attributes is a list, or {"attributes": [...]}.'
                ) from None
    return [name.strip() for name in text.split(",") if name.strip()][:100]


def _limit(text: str | None) -> int:
    if text is None:
        return lists.LIMIT_DEFAULT
    if not (text.isascii() and text.isdigit()) or len(text) > 5 or not 1 <= int(text) <= lists.LIMIT_MAX:
        raise _refused("limit", f"limit is a whole number from 1 to {lists.LIMIT_MAX}.")
    return int(text)


def _refused(parameter: str, detail: str) -> BadInput:
    return BadInput(detail, errors=(FieldError(pointer=f"?{parameter}", detail=detail),))


def _whole(listing: Listing, ref: str | int, where: Where) -> dict[str, Any]:
    with parts().store.read() as session:
        return lists.one(session, listing, ref, where=where)


def _tag(value: Mapping[str, Any]) -> str:
    return f'"{hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()[:32]}"'


# ---------------------------------------------------------------- the routes that every noun has


def sample(listing: Listing) -> dict[str, Any]:
    """An object as it could be: what to expect in the answers, and which fields there are."""
    found = {item.name: _example(item) for item in listing.items}
    return found | {"name": "first"} if found.get("name") == "" else found


def _example(item: Field | Later) -> Any:
    if item.example is not None:
        return item.example
    if item.type in (date, datetime):
        return EXAMPLE_TIME if item.type is datetime else EXAMPLE_TIME.date()
    return {bool: False, int: 1, float: 1.0, str: "", dict: {}, list: []}.get(item.type)


def match(listing: Listing, body: Mapping[str, Any], *, where: Where = ()) -> Answer:
    """All objects whose fields equal the given ones."""
    filters = {}
    for name, value in body.items():
        if value is None:
            filters[name] = "null"
        elif isinstance(value, bool):
            filters[name] = "true" if value else "false"
        elif isinstance(value, int | str):
            filters[name] = str(value)
        else:
            detail = "Only text, whole numbers, true, false and null can be matched."
            raise BadInput(
                detail, errors=(FieldError(pointer="/" + (name if listing.field(name) else "…"), detail=detail),)
            )
    return listed(listing, where=where, filters=filters)


def reading(
    blueprint: Blueprint, listing: Listing, *, parameter: str, permission: Permission = "viewer", own: bool = False
) -> None:
    """Add the list, one object, the sample and the match of a noun. ``own``: a node's token may read its own object."""
    base = f"/{listing.plural}"

    def rows() -> Answer:
        return listed(listing)

    def example() -> dict[str, Any]:
        return sample(listing)

    def matching(body: Mapping[str, Any]) -> Answer:
        return match(listing, body)

    def row(**path: str) -> Answer:
        return single(listing, path[parameter])

    noun, plural = listing.noun, listing.plural
    many = api(permission=permission, summary=f"List the {plural}", listing=listing, many=True)
    like = api(permission=permission, summary=f"What {_a(noun)} looks like", listing=listing)
    same = api(
        permission=permission,
        summary=f"The {plural} with these field values",
        listing=listing,
        many=True,
        takes_match=True,
    )
    one = api(permission="node" if own else permission, summary=f"Show one {noun}", listing=listing)
    routes: tuple[tuple[str, str, str, Callable[..., Any]], ...] = (
        ("GET", base, "list", many(rows)),
        ("GET", f"{base}/sample", "sample", like(example)),
        ("POST", f"{base}/match", "match", same(matching)),
        ("GET", f"{base}/<{parameter}>", "show", one(row)),
    )
    for method, path, verb, view in routes:
        blueprint.add_url_rule(path, f"{verb}_{plural.replace('/', '_')}", view, methods=[method])


def creating(
    blueprint: Blueprint, listing: Listing, *, summary: str, body: type[BaseModel],
    permission: Permission = "operator", plans: str = "",
) -> Callable[[Callable[..., int]], Callable[..., int]]:  # fmt: skip
    """Add the POST that makes an object. The view is given ``body`` and returns the new object's id. ``plans``: as for
    ``api``.
    """

    def add(make: Callable[..., int]) -> Callable[..., int]:
        @api(permission=permission, summary=summary, body=body, listing=listing, status=201, plans=plans)
        def create(body: Any) -> Answer:
            return created(listing, make(body=body))

        blueprint.add_url_rule(f"/{listing.plural}", f"create_{_word(listing)}", create, methods=["POST"])
        return make

    return add


def changing(
    blueprint: Blueprint, listing: Listing, *, parameter: str, summary: str, body: type[BaseModel],
    permission: Permission = "operator", plans: str = "",
) -> Callable[[Callable[..., None]], Callable[..., None]]:  # fmt: skip
    """Add the PUT and the PATCH that change an object, under If-Match. The view is given its ``key`` (the id) and
    ``body``; ``given(body)`` are the fields that were sent. ``plans``: as for ``api``.
    """

    def add(work: Callable[..., None]) -> Callable[..., None]:
        @api(permission=permission, summary=summary, body=body, listing=listing, plans=plans)
        def change(body: Any, **path: str) -> Answer:
            key = to_change(listing, path[parameter])
            work(key=key, body=body)
            return single(listing, key)

        for method in ("PUT", "PATCH"):
            endpoint = f"{method.lower()}_{_word(listing)}"
            blueprint.add_url_rule(f"/{listing.plural}/<{parameter}>", endpoint, change, methods=[method])
        return work

    return add


def deleting(
    blueprint: Blueprint, listing: Listing, *, parameter: str, summary: str, permission: Permission = "operator",
    plans: str = "", query: type[Query] | None = None, asks: str = "",
) -> Callable[[Callable[..., None]], Callable[..., None]]:  # fmt: skip
    """Add the DELETE that removes an object, under If-Match. The view is given its ``key`` (the id), and the ``query``
    if there is one. ``asks``: what is lost with it, in a sentence, which the command line shows before it wants the
    name typed; without it, that it goes for good.
    """

    def add(work: Callable[..., None]) -> Callable[..., None]:
        @api(permission=permission, summary=summary, status=204, plans=plans, query=query)
        def delete(**path: Any) -> None:
            asked = {} if query is None else {"query": path["query"]}
            work(key=to_change(listing, path[parameter]), **asked)

        @api(permission=permission, summary=f"What would be lost with {_a(listing.noun)}", query=LossQuery)
        def losses(query: LossQuery, **path: str) -> dict[str, Any]:
            name = str(_whole(listing, path[parameter], ()).get("name", path[parameter]))
            subject = f"{listing.noun} {name}"
            return {
                "subject": subject,
                "name": name,
                "asks": True,
                "summary": asks or f"The {subject} goes for good.",
                "sections": [],
            }

        one, word = f"/{listing.plural}/<{parameter}>", _word(listing)
        blueprint.add_url_rule(one, f"delete_{word}", delete, methods=["DELETE"])
        blueprint.add_url_rule(f"{one}/losses", f"losses_{word}", losses, methods=["GET"])
        return work

    return add


def _a(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def _word(listing: Listing) -> str:
    return listing.noun.replace(" ", "_").replace("/", "_")
