"""The API's description in OpenAPI 3.1, made from what the views declare."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

from flask import Flask
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from werkzeug.routing import Rule

from crowbar_core.store.listing import LIMIT_DEFAULT, LIMIT_MAX, Field, Listing
from crowbar_core.web.api.operation import Operation

_PARAMETER: Final = re.compile(r"<(?:[^:<>]+:)?([^<>]+)>")
_METHODS: Final = ("GET", "POST", "PUT", "PATCH", "DELETE")
_REFS: Final = "#/components/schemas/{model}"
_TYPES: Final[Mapping[type, Mapping[str, Any]]] = {
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    str: {"type": "string"},
    datetime: {"type": "string", "format": "date-time"},
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


def document(app: Flask, version: str) -> dict[str, Any]:
    found = list(operations(app))
    models = {model for *_, operation in found for model in (operation.body, operation.query) if model is not None}
    _, definitions = models_json_schema(
        [(model, "validation") for model in sorted(models, key=lambda model: model.__name__)], ref_template=_REFS
    )
    schemas: dict[str, Any] = dict(definitions.get("$defs", {}))
    schemas["Problem"] = PROBLEM
    paths: dict[str, dict[str, Any]] = {}
    for path, method, rule, operation in found:
        if operation.listing is not None:
            schemas.setdefault(_name(operation.listing), _schema(operation.listing))
        paths.setdefault(path, {})[method.lower()] = _operation(rule, method, operation)
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


def _operation(rule: Rule, method: str, operation: Operation) -> dict[str, Any]:
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
        "responses": _responses(operation),
        "x-crowbar-permission": operation.permission,
    }
    if operation.permission == "public":
        described["security"] = []
    if operation.body is not None:
        schema: dict[str, Any] = {"$ref": _REFS.format(model=operation.body.__name__)}
        described["requestBody"] = {"content": {"application/json": {"schema": schema}}}
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
    if listing is not None and operation.many:
        limits = {"type": "integer", "minimum": 1, "maximum": LIMIT_MAX, "default": LIMIT_DEFAULT}
        found.append(_parameter("limit", limits))
        found.append(_parameter("after", {"type": "string"}, help_="Where to go on: take it from the Link header."))
        sorts = [sign + name for name in dict.fromkeys(("id", *listing.sorts)) for sign in ("", "-")]
        found.append(_parameter("sort", {"type": "string", "enum": sorts}))
        found.append(_parameter("count", {"type": "boolean"}, help_="Count all into the header X-Total-Count."))
        for item in listing.fields:
            if item.filter:
                found.append(_parameter(item.name, _TYPES[item.type]))
    if listing is not None and operation.query is None:
        found.append(_parameter("fields", {"type": "string"}, help_="Only these fields, separated by commas."))
    return found


def _properties(model: type[BaseModel]) -> dict[str, dict[str, Any]]:
    properties: dict[str, dict[str, Any]] = model.model_json_schema()["properties"]
    return properties


def _responses(operation: Operation) -> dict[str, Any]:
    content: dict[str, Any] = {}
    if operation.listing is not None:
        one: dict[str, Any] = {"$ref": _REFS.format(model=_name(operation.listing))}
        schema = {"type": "array", "items": one} if operation.many else one
        content = {"content": {"application/json": {"schema": schema}}}
    responses: dict[str, Any] = {}
    for status in (operation.status, *operation.statuses):
        responses[str(status)] = {"description": operation.summary, **(content if status != 204 else {})}
    if operation.body is None and operation.listing is None and operation.status == 200:
        responses.setdefault("204", {"description": "Done; there is nothing to show."})
    problem = {"application/problem+json": {"schema": {"$ref": _REFS.format(model="Problem")}}}
    responses["4XX"] = {"description": "Refused: the problem says why and what to do.", "content": problem}
    responses["503"] = {"description": "A part that is needed does not answer; see Retry-After.", "content": problem}
    return responses
