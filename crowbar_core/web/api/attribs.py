"""Attributes: what is declared; and their values on nodes, noderoles and deployment roles, set, unset and explained."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from pydantic import Field

from crowbar_core.errors import Forbidden, NotFound
from crowbar_core.services.turns.turn import rehearsing
from crowbar_core.services.values import attributes as service
from crowbar_core.services.values.attributes import Value
from crowbar_core.web.api.collection import found_id, reading, to_change
from crowbar_core.web.api.nouns import ATTRIBS, DEPLOYMENT_ROLES, DEPLOYMENTS, NODE_ROLES, NODES
from crowbar_core.web.api.operation import Body, Query, api
from crowbar_core.web.api.routes import v2
from crowbar_core.web.auth import current_actor, current_identity, may, parts


class NewValue(Body):
    value: Any


class ValuesQuery(Query):
    reveal: bool = Field(False, description="Show secret values; for administrators.")


class NodeRoleValuesQuery(ValuesQuery):
    wanted: bool = Field(False, description="Also those of others that its role wants, as its run is given them.")


class ValueQuery(ValuesQuery):
    explain: bool = Field(False, description="Show every source of the value, by whom and since when.")


class NowQuery(Query):
    now: bool = Field(False, description="Commit just this value at once; else it is a draft until it is committed.")

    @property
    def at_once(self) -> bool:
        """A plan of a value is what happens when it counts, not that it is kept as a draft."""
        return self.now or rehearsing.get() is not None


class WideQuery(NowQuery):
    role: str | None = Field(None, max_length=255, description="Of this role alone.")


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
        "required": attribute.required,
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
@api(
    permission="operator",
    summary="Set an attribute of a node (its hint), as a draft or now",
    body=NewValue,
    query=NowQuery,
    plans="Set {attrib} on node {node}",
)
def set_node_attrib(node: str, attrib: str, body: NewValue, query: NowQuery) -> dict[str, Any]:
    key = to_change(NODES, node)
    service.set_value(parts(), current_actor(), attribute=attrib, value=body.value, node_id=key, now=query.at_once)
    return _one(service.node_values(parts(), key), attrib, "The node")


@v2.delete("/nodes/<node>/attribs/<attrib>")
@api(
    permission="operator",
    summary="Unset an attribute of a node: the next source shows through",
    status=204,
    query=NowQuery,
    plans="Unset {attrib} on node {node}",
)
def unset_node_attrib(node: str, attrib: str, query: NowQuery) -> None:
    service.unset_value(parts(), current_actor(), attribute=attrib, node_id=to_change(NODES, node), now=query.at_once)


# ---------------------------------------------------------------- of a noderole


@v2.get("/node_roles/<node_role>/attribs")
@api(permission="viewer", summary="The values of a noderole's attributes", query=NodeRoleValuesQuery)
def node_role_attribs(node_role: str, query: NodeRoleValuesQuery) -> list[dict[str, Any]]:
    key, reveal = found_id(NODE_ROLES, node_role), _reveal(query.reveal)
    values = service.node_role_values(parts(), key, reveal=reveal)
    if query.wanted:
        values += service.wanted_values(parts(), key, reveal=reveal)
    return [_shown(value) for value in values]


@v2.get("/node_roles/<node_role>/attribs/<attrib>")
@api(permission="viewer", summary="The value of one attribute of a noderole", query=ValueQuery)
def node_role_attrib(node_role: str, attrib: str, query: ValueQuery) -> dict[str, Any]:
    key, reveal = found_id(NODE_ROLES, node_role), _reveal(query.reveal)
    values = service.node_role_values(parts(), key, reveal=reveal)
    if all(one.attribute.name != attrib for one in values):
        values = service.wanted_values(parts(), key, reveal=reveal)
    shown = _one(values, attrib, "The noderole")
    if query.explain:
        shown["layers"] = _explained(service.explain(parts(), attribute=attrib, node_role_id=key, reveal=reveal))
    return shown


@v2.put("/node_roles/<node_role>/attribs/<attrib>")
@api(
    permission="operator",
    summary="Set an attribute of a noderole, as a draft or now",
    body=NewValue,
    query=NowQuery,
    plans="Set {attrib} on noderole {node_role}",
)
def set_node_role_attrib(node_role: str, attrib: str, body: NewValue, query: NowQuery) -> dict[str, Any]:
    key = to_change(NODE_ROLES, node_role)
    service.set_value(parts(), current_actor(), attribute=attrib, value=body.value, node_role_id=key, now=query.at_once)
    return _one(service.node_role_values(parts(), key), attrib, "The noderole")


@v2.delete("/node_roles/<node_role>/attribs/<attrib>")
@api(
    permission="operator",
    summary="Unset an attribute of a noderole: the next source shows through",
    status=204,
    query=NowQuery,
    plans="Unset {attrib} on noderole {node_role}",
)
def unset_node_role_attrib(node_role: str, attrib: str, query: NowQuery) -> None:
    key = to_change(NODE_ROLES, node_role)
    service.unset_value(parts(), current_actor(), attribute=attrib, node_role_id=key, now=query.at_once)


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
@api(
    permission="operator",
    summary="Set an attribute of a deployment role, as a draft or now",
    body=NewValue,
    query=NowQuery,
    plans="Set {attrib} on deployment role {deployment_role}",
)
def set_deployment_role_attrib(deployment_role: str, attrib: str, body: NewValue, query: NowQuery) -> dict[str, Any]:
    key = to_change(DEPLOYMENT_ROLES, deployment_role)
    service.set_value(
        parts(), current_actor(), attribute=attrib, value=body.value, deployment_role_id=key, now=query.at_once
    )
    return _one(service.deployment_role_values(parts(), key), attrib, "The deployment role")


@v2.delete("/deployment_roles/<deployment_role>/attribs/<attrib>")
@api(
    permission="operator",
    summary="Unset an attribute of a deployment role",
    status=204,
    query=NowQuery,
    plans="Unset {attrib} on deployment role {deployment_role}",
)
def unset_deployment_role_attrib(deployment_role: str, attrib: str, query: NowQuery) -> None:
    key = to_change(DEPLOYMENT_ROLES, deployment_role)
    service.unset_value(parts(), current_actor(), attribute=attrib, deployment_role_id=key, now=query.at_once)


# ---------------------------------------------------------------- for a whole deployment


@v2.put("/deployments/<deployment>/attribs/<attrib>")
@api(
    permission="operator",
    summary="Set an attribute for all roles of a deployment that have or want it, as a draft or now",
    body=NewValue,
    query=WideQuery,
    plans="Set {attrib} for deployment {deployment}",
)
def set_deployment_attrib(deployment: str, attrib: str, body: NewValue, query: WideQuery) -> dict[str, Any]:
    key = to_change(DEPLOYMENTS, deployment)
    chosen = service.set_for_deployment(
        parts(), current_actor(), deployment_id=key, attribute=attrib, value=body.value, role=query.role,
        now=query.at_once,
    )  # fmt: skip
    return {"attribute": attrib, "roles": chosen}


@v2.delete("/deployments/<deployment>/attribs/<attrib>")
@api(
    permission="operator",
    summary="Unset an attribute on the roles of a deployment, as a draft or now",
    query=WideQuery,
    plans="Unset {attrib} for deployment {deployment}",
)
def unset_deployment_attrib(deployment: str, attrib: str, query: WideQuery) -> dict[str, Any]:
    key = to_change(DEPLOYMENTS, deployment)
    chosen = service.unset_for_deployment(
        parts(), current_actor(), deployment_id=key, attribute=attrib, role=query.role, now=query.at_once
    )
    return {"attribute": attrib, "roles": chosen}
