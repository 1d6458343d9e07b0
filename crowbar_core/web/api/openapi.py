"""The API's description in OpenAPI 3.1, made from what the views declare."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any, Final

from flask import Flask
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from werkzeug.routing import Rule

from crowbar_core.barclamp import Permission
from crowbar_core.store.listing import LIMIT_DEFAULT, LIMIT_MAX, Field, Listing
from crowbar_core.web.api.operation import DryRun, Operation

_OWN: Final = frozenset({"api", "outside", "ui"})
"""The core's own blueprints."""
_PARAMETER: Final = re.compile(r"<(?:[^:<>]+:)?([^<>]+)>")
_METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
_REFS: Final = "#/components/schemas/{model}"
_ANY: Final = "Given several times: any of them."
_TYPES: Final[Mapping[type, Mapping[str, Any]]] = {
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    datetime: {"type": "string", "format": "date-time"},
    date: {"type": "string", "format": "date"},
    list: {"type": "array", "items": {}},
    dict: {"type": "object"},
}
PROBLEM: Final = {
    "type": "object",
    "required": ["type", "title", "status", "code", "detail", "errors"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string"},
        "detail": {"type": "string"},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["pointer", "detail"],
                "properties": {"pointer": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
    },
}


def operations(app: Flask) -> Iterator[tuple[str, str, Rule, Operation]]:
    """Every operation: path, method, rule, what its view declares."""
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: rule.rule):
        operation = getattr(app.view_functions[rule.endpoint], "crowbar_operation", None)
        if isinstance(operation, Operation):
            for method in _METHODS:
                if method in (rule.methods or ()):
                    yield _PARAMETER.sub(r"{\1}", rule.rule), method, rule, operation


def routes_of_barclamps(app: Flask) -> Iterator[tuple[str, str, Rule, Permission, str]]:
    """Every route of a barclamp's blueprint that is no operation: path, method, rule, permission, what it is for."""
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: rule.rule):
        view = app.view_functions[rule.endpoint]
        permission: Permission | None = getattr(view, "crowbar_permission", None)
        blueprint = rule.endpoint.partition(".")[0]
        if permission is None or blueprint in _OWN or hasattr(view, "crowbar_operation") or "." not in rule.endpoint:
            continue
        words = (view.__doc__ or "").strip().partition("\n")[0] or f"A route of {blueprint}"
        for method in _METHODS:
            if method in (rule.methods or ()):
                yield _PARAMETER.sub(r"{\1}", rule.rule), method, rule, permission, words


@dataclass
class _Names:
    """The name of each schema: models of equal names get longer ones, and a listing never takes a model's."""

    models: Mapping[Any, Any]
    listings: dict[str, Listing] = field(default_factory=dict)
    taken: frozenset[str] = frozenset()

    @property
    def problem(self) -> str:
        return "Problem" if "Problem" not in self.taken else "ProblemShown"

    def model(self, model: type[BaseModel]) -> dict[str, Any]:
        return dict(self.models[model, "validation"])

    def listing(self, listing: Listing) -> dict[str, Any]:
        name = _name(listing)
        while name in self.taken or name == self.problem or self.listings.get(name, listing) is not listing:
            name += "Shown"
        self.listings[name] = listing
        return {"$ref": _REFS.format(model=name)}


def document(app: Flask, version: str) -> dict[str, Any]:
    found = list(operations(app))
    models = {operation.body for *_, operation in found if operation.body is not None}
    by_name = sorted(models, key=lambda model: (model.__name__, model.__module__, model.__qualname__))
    references, definitions = models_json_schema([(model, "validation") for model in by_name], ref_template=_REFS)
    schemas: dict[str, Any] = dict(definitions.get("$defs", {}))
    names = _Names(references, taken=frozenset(schemas))
    schemas[names.problem] = PROBLEM
    paths: dict[str, dict[str, Any]] = {}
    for path, method, rule, operation in found:
        paths.setdefault(path, {})[method.lower()] = _operation(rule, method, operation, names)
    for path, method, rule, permission, words in routes_of_barclamps(app):
        paths.setdefault(path, {}).setdefault(method.lower(), _route(rule, method, permission, words))
    schemas |= {name: _schema(listing) for name, listing in names.listings.items()}
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Crowbar",
            "version": version,
            "description": "Everything is found by id or by name. Lists are plain arrays, paged by the Link header.",
        },
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "basic": {"type": "http", "scheme": "basic"},
                "bearer": {"type": "http", "scheme": "bearer"},
                "session": {"type": "apiKey", "in": "cookie", "name": "crowbar"},
            },
        },
        "security": [{"basic": []}, {"bearer": []}, {"session": []}],
    }


def _name(listing: Listing) -> str:
    return "".join(word.capitalize() for word in re.split(r"[ _/]", listing.noun))


def _schema(listing: Listing) -> dict[str, Any]:
    properties = {}
    for item in listing.items:
        schema = dict(_TYPES[item.type])
        if item.name == "default":
            schema = {}  # any JSON value
        elif isinstance(item, Field) and item.nullable and "type" in schema:
            schema["type"] = [schema["type"], "null"]
        if item.help:
            schema["description"] = item.help
        properties[item.name] = schema
    return {"type": "object", "properties": properties}


def _route(rule: Rule, method: str, permission: Permission, words: str) -> dict[str, Any]:
    """A barclamp's route, of which no more is known than its address and who may call it."""
    described: dict[str, Any] = {
        "operationId": re.sub(r"\W+", "_", f"{method.lower()}_{rule.endpoint}_{rule.rule}").rstrip("_"),
        "summary": words,
        "tags": [rule.endpoint.partition(".")[0]],
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
            for name in sorted(rule.arguments)
        ],
        "responses": {"default": {"description": words}},
        "x-crowbar-permission": permission,
    }
    if permission == "public":
        described["security"] = []
    return described


def _operation(rule: Rule, method: str, operation: Operation, names: _Names) -> dict[str, Any]:
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}, "description": "An id or a name."}
        for name in sorted(rule.arguments)
    ]
    parameters += _query(operation)
    if method == "POST":
        parameters.append(_parameter("Idempotency-Key", {"type": "string"}, where="header"))
    described: dict[str, Any] = {
        "operationId": f"{method.lower()}_{rule.endpoint.replace('.', '_')}",
        "summary": operation.summary,
        "parameters": parameters,
        "responses": _responses(operation, names),
        "x-crowbar-permission": operation.permission,
    }
    if operation.permission == "public":
        described["security"] = []
    if operation.body is not None:
        described["requestBody"] = {"content": {"application/json": {"schema": names.model(operation.body)}}}
    elif operation.takes_match:
        described["requestBody"] = {"content": {"application/json": {"schema": {"type": "object"}}}}
    return described


def _parameter(name: str, schema: Mapping[str, Any], *, where: str = "query", help_: str = "") -> dict[str, Any]:
    made: dict[str, Any] = {"name": name, "in": where, "required": False, "schema": dict(schema)}
    if help_:
        made["description"] = help_
    return made


def _query(operation: Operation) -> list[dict[str, Any]]:
    found = []
    listing = operation.listing
    if operation.query is not None:
        found += [
            _parameter(name, schema, help_=schema.pop("description", ""))
            for name, schema in _properties(operation.query).items()
        ]
    if operation.plans:
        found += [
            _parameter(name, schema, help_=schema.pop("description", ""))
            for name, schema in _properties(DryRun).items()
        ]
    if listing is not None and operation.many:
        limits = {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT}
        found.append(_parameter("limit", limits))
        found.append(_parameter("after", {"type": "string"}, help_="Where to go on: take it from the Link header."))
        sorts = [sign + name for name in dict.fromkeys(("id", *listing.sorts)) for sign in ("", "-")]
        found.append(_parameter("sort", {"type": "string", "enum": sorts}))
        found.append(_parameter("count", {"type": "boolean"}, help_="Count all into the header X-Total-Count."))
        for name, schema, help_ in (
            *((item.name, _TYPES[item.type], item.help) for item in listing.fields if item.filter),
            *((item.name, {"type": "string"}, item.help) for item in listing.choices),
        ):
            found.append(_parameter(name, {"type": "array", "items": dict(schema)}, help_=f"{help_} {_ANY}".strip()))
    if listing is not None and operation.query is None:
        found.append(_parameter("fields", {"type": "string"}, help_="Only these fields, separated by commas."))
    return found


def _properties(model: type[BaseModel]) -> dict[str, dict[str, Any]]:
    whole = model.model_json_schema()
    properties: dict[str, dict[str, Any]] = _inline(whole["properties"], whole.get("$defs", {}))
    return properties


def _inline(schema: Any, definitions: Mapping[str, Any]) -> Any:
    """The schema of a parameter, which stands alone, with what it refers to in the place of the reference."""
    if isinstance(schema, list):
        return [_inline(item, definitions) for item in schema]
    if not isinstance(schema, dict):
        return schema
    reference = schema.get("$ref")
    if isinstance(reference, str) and (name := reference.rpartition("/")[2]) in definitions:
        return _inline({**definitions[name], **{key: schema[key] for key in schema if key != "$ref"}}, definitions)
    return {key: _inline(item, definitions) for key, item in schema.items()}


def _responses(operation: Operation, names: _Names) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if operation.listing is not None:
        one = names.listing(operation.listing)
        schema = {"type": "array", "items": one} if operation.many else one
        content = {"content": {"application/json": {"schema": schema}}}
    responses: dict[str, Any] = {}
    for status in (operation.status, *operation.statuses):
        responses[str(status)] = {"description": operation.summary, **(content if status != 204 else {})}
    if operation.body is None and operation.listing is None and operation.status == 200:
        responses.setdefault("204", {"description": "Done; there is nothing to show."})
    problem = {"application/problem+json": {"schema": {"$ref": _REFS.format(model=names.problem)}}}
    responses["4XX"] = {"description": "Refused: the problem says why and what to do.", "content": problem}
    responses["503"] = {"description": "A part that is needed does not answer; see Retry-After.", "content": problem}
    return responses
