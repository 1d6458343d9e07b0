"""The API's own description: as OpenAPI, and as a page that needs nothing from elsewhere."""

from __future__ import annotations

from importlib import metadata
from typing import Any

from flask import Response, current_app, render_template

from crowbar_core.web.api.openapi import document, operations
from crowbar_core.web.api.operation import api
from crowbar_core.web.api.routes import outside, v2


def version() -> str:
    try:
        return metadata.version("crowbar-core")
    except metadata.PackageNotFoundError:
        return "0"


@v2.get("/openapi.json")
@api(permission="viewer", summary="This API in OpenAPI 3.1")
def openapi() -> dict[str, Any]:
    return document(current_app, version())


@outside.get("/api/docs")
@api(permission="viewer", summary="This API as a page")
def page() -> Response:
    listed = [
        {
            "path": path,
            "method": method,
            "summary": operation.summary,
            "permission": operation.permission,
            "body": _fields(operation.body),
            "query": _fields(operation.query),
            "filters": operation.listing.filters if operation.listing is not None and operation.many else (),
        }
        for path, method, _, operation in operations(current_app)
    ]
    return Response(render_template("crowbar_api.html", operations=listed, version=version()), mimetype="text/html")


def _fields(model: Any) -> list[dict[str, Any]]:
    if model is None:
        return []
    return [
        {"name": name, "required": item.is_required(), "help": item.description or ""}
        for name, item in model.model_fields.items()
    ]
