"""The calls that do something with an object: one for each verb."""

from __future__ import annotations

from typing import Any

from crowbar_core.web.api.collection import single, to_change
from crowbar_core.web.api.operation import Query, api
from crowbar_core.web.api.routes import v2
from crowbar_core.web.api.verbs import VERBS, Verb
from crowbar_core.web.auth import current_actor, parts


def _serve(verb: Verb) -> None:
    def view(query: Any = None, body: Any = None, **path: str) -> Any:
        key, taken = to_change(verb.of, path[verb.parameter]), query or body
        result = verb.act(parts(), current_actor(), key, **(taken.model_dump() if taken else {}))
        if verb.answer is not None:
            return verb.answer(result)
        return None if verb.removes else single(verb.of, key)

    by_query = verb.takes is not None and issubclass(verb.takes, Query)
    told = api(
        permission=verb.permission,
        summary=verb.summary,
        query=verb.takes if by_query else None,
        body=None if by_query else verb.takes,
        listing=None if verb.removes or verb.answer else verb.of,
        status=204 if verb.removes and verb.answer is None else 200,
        plans=f"{verb.label} {verb.of.noun} {{{verb.parameter}}}" if verb.plans else "",
    )(view)
    path = f"/{verb.noun}/<{verb.parameter}>" + ("" if verb.removes else f"/{verb.name}")
    v2.add_url_rule(path, f"{verb.name}_{verb.parameter}", told, methods=["DELETE" if verb.removes else "PUT"])


for _verb in VERBS:
    _serve(_verb)
