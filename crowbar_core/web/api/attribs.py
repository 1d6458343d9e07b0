"""Attributes: what is declared; and their values on nodes, noderoles and deployment roles, set, unset and explained."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from pydantic import Field

from crowbar_core.errors import Forbidden, NotFound
from crowbar_core.services import attributes as service
from crowbar_core.services.attributes import Value
from crowbar_core.web.api.collection import found_id, reading, to_change
from crowbar_core.web.api.nouns import ATTRIBS, DEPLOYMENT_ROLES, NODE_ROLES, NODES
from crowbar_core.web.api.operation import Body, Query, api
from crowbar_core.web.api.routes import v2
from crowbar_core.web.auth import current_actor, current_identity, may, parts


class NewValue(Body):
    value: Any


class ValuesQuery(Query):
    reveal: bool = Field(False, description="Show secret values; for administrators.")


class ValueQuery(ValuesQuery):
    explain: bool = Field(False, description="Show every source of the value, by whom and since when.")


reading(v2, ATTRIBS, parameter="attrib")


def _reveal(wanted: bool) -> bool:
    if wanted and not may(current_identity(), "admin"):
        raise Forbidden("Only administrators may see secret values: leave reveal out.")
    return wanted


def _shown(value: Value) -> dict[str, Any]:
    attribute = value.attribute
    return {
        "name": attribute.name,
        "value": value.value,
        "set": value.is_set,
        "source": value.source,
        "subject": value.subject,
        "description": attribute.description,
        "map": attribute.map or attribute.name,
        "schema": dict(attribute.schema),
        "writable": attribute.writable,
        "secret": attribute.secret,
        "order": attribute.order,
        "role": value.role,
        "barclamp": value.barclamp,
    }


def _one(values: list[Value], attrib: str, what: str) -> dict[str, Any]:
    for value in values:
        if value.attribute.name == attrib:
            return _shown(value)
    known = ", ".join(value.attribute.name for value in values[:20]) or "none"
    raise NotFound(f"{what} has no attribute of that name; it has {known}.")


def _explained(layers: list[service.LayerValue]) -> list[dict[str, Any]]:
    shown = []
    for layer in layers:
        fields = asdict(layer)
        shown.append({"source": fields.pop("source"), "set": fields.pop("is_set"), **fields})
    return shown


# ---------------------------------------------------------------- of a node


@v2.get("/nodes/<node>/attribs")
@api(permission="node", summary="The values of a node's attributes", query=ValuesQuery)
def node_attribs(node: str, query: ValuesQuery) -> list[dict[str, Any]]:
    values = service.node_values(parts(), found_id(NODES, node), reveal=_reveal(query.reveal))
    return [_shown(value) for value in values]


@v2.get("/nodes/<node>/attribs/<attrib>")
@api(permission="node", summary="The value of one attribute of a node", query=ValueQuery)
def node_attrib(node: str, attrib: str, query: ValueQuery) -> dict[str, Any]:
    key, reveal = found_id(NODES, node), _reveal(query.reveal)
    shown = _one(service.node_values(parts(), key, reveal=reveal), attrib, "The node")
    if query.explain:
        shown["layers"] = _explained(service.explain(parts(), attribute=attrib, node_id=key, reveal=reveal))
    return shown


@v2.put("/nodes/<node>/attribs/<attrib>")
@api(permission="operator", summary="Set an attribute of a node (its hint)", body=NewValue)
def set_node_attrib(node: str, attrib: str, body: NewValue) -> dict[str, Any]:
    key = to_change(NODES, node)
    service.set_value(parts(), current_actor(), attribute=attrib, value=body.value, node_id=key)
    return _one(service.node_values(parts(), key), attrib, "The node")


@v2.delete("/nodes/<node>/attribs/<attrib>")
@api(permission="operator", summary="Unset an attribute of a node: the next source shows through", status=204)
def unset_node_attrib(node: str, attrib: str) -> None:
    service.unset_value(parts(), current_actor(), attribute=attrib, node_id=to_change(NODES, node))


# ---------------------------------------------------------------- of a noderole


@v2.get("/node_roles/<node_role>/attribs")
@api(permission="viewer", summary="The values of a noderole's attributes", query=ValuesQuery)
def node_role_attribs(node_role: str, query: ValuesQuery) -> list[dict[str, Any]]:
    values = service.node_role_values(parts(), found_id(NODE_ROLES, node_role), reveal=_reveal(query.reveal))
    return [_shown(value) for value in values]


@v2.get("/node_roles/<node_role>/attribs/<attrib>")
@api(permission="viewer", summary="The value of one attribute of a noderole", query=ValueQuery)
def node_role_attrib(node_role: str, attrib: str, query: ValueQuery) -> dict[str, Any]:
    key, reveal = found_id(NODE_ROLES, node_role), _reveal(query.reveal)
    shown = _one(service.node_role_values(parts(), key, reveal=reveal), attrib, "The noderole")
    if query.explain:
        shown["layers"] = _explained(service.explain(parts(), attribute=attrib, node_role_id=key, reveal=reveal))
    return shown


@v2.put("/node_roles/<node_role>/attribs/<attrib>")
@api(permission="operator", summary="Set an attribute of a noderole", body=NewValue)
def set_node_role_attrib(node_role: str, attrib: str, body: NewValue) -> dict[str, Any]:
    key = to_change(NODE_ROLES, node_role)
    service.set_value(parts(), current_actor(), attribute=attrib, value=body.value, node_role_id=key)
    return _one(service.node_role_values(parts(), key), attrib, "The noderole")


@v2.delete("/node_roles/<node_role>/attribs/<attrib>")
@api(permission="operator", summary="Unset an attribute of a noderole: the next source shows through", status=204)
def unset_node_role_attrib(node_role: str, attrib: str) -> None:
    key = to_change(NODE_ROLES, node_role)
    service.unset_value(parts(), current_actor(), attribute=attrib, node_role_id=key)


# ---------------------------------------------------------------- of a role in a deployment


@v2.get("/deployment_roles/<deployment_role>/attribs")
@api(permission="viewer", summary="The values of a deployment role's attributes", query=ValuesQuery)
def deployment_role_attribs(deployment_role: str, query: ValuesQuery) -> list[dict[str, Any]]:
    key = found_id(DEPLOYMENT_ROLES, deployment_role)
    values = service.deployment_role_values(parts(), key, reveal=_reveal(query.reveal))
    return [_shown(value) for value in values]


@v2.get("/deployment_roles/<deployment_role>/attribs/<attrib>")
@api(permission="viewer", summary="The value of one attribute of a deployment role", query=ValuesQuery)
def deployment_role_attrib(deployment_role: str, attrib: str, query: ValuesQuery) -> dict[str, Any]:
    key = found_id(DEPLOYMENT_ROLES, deployment_role)
    return _one(
        service.deployment_role_values(parts(), key, reveal=_reveal(query.reveal)), attrib, "The deployment role"
    )


@v2.put("/deployment_roles/<deployment_role>/attribs/<attrib>")
@api(permission="operator", summary="Set an attribute for a whole deployment", body=NewValue)
def set_deployment_role_attrib(deployment_role: str, attrib: str, body: NewValue) -> dict[str, Any]:
    key = to_change(DEPLOYMENT_ROLES, deployment_role)
    service.set_value(parts(), current_actor(), attribute=attrib, value=body.value, deployment_role_id=key)
    return _one(service.deployment_role_values(parts(), key), attrib, "The deployment role")


@v2.delete("/deployment_roles/<deployment_role>/attribs/<attrib>")
@api(permission="operator", summary="Unset an attribute of a deployment role", status=204)
def unset_deployment_role_attrib(deployment_role: str, attrib: str) -> None:
    key = to_change(DEPLOYMENT_ROLES, deployment_role)
    service.unset_value(parts(), current_actor(), attribute=attrib, deployment_role_id=key)
