"""Noderoles: bind a role to a node, watch it, steer it, unbind it."""

from __future__ import annotations

from typing import Any

from crowbar_core.services.cluster import binding, steering
from crowbar_core.services.values import whole
from crowbar_core.store import relations
from crowbar_core.web.api.bodies import Reference, resolve
from crowbar_core.web.api.collection import created, found_id, listed, reading, single, to_change
from crowbar_core.web.api.nouns import DEPLOYMENTS, NODE_ROLES, NODES, ROLES, RUNS
from crowbar_core.web.api.operation import Answer, Body, api
from crowbar_core.web.api.routes import v2
from crowbar_core.web.auth import current_actor, parts


class NewNodeRole(Body):
    node_id: Reference
    role_id: Reference
    deployment_id: Reference | None = None
    data: dict[str, Any] | None = None


class NodeRoleData(Body):
    data: dict[str, Any]


reading(v2, NODE_ROLES, parameter="node_role")


@v2.post("/node_roles")
@api(
    permission="operator",
    summary="Bind a role to a node, with all that it needs",
    body=NewNodeRole,
    listing=NODE_ROLES,
    status=201,
    plans="Bind {role_id} to {node_id}, and commit it",
)
def bind(body: NewNodeRole) -> Answer:
    deployment = None if body.deployment_id is None else resolve(DEPLOYMENTS, body.deployment_id, "deployment_id")
    bound = binding.bind(
        parts(),
        current_actor(),
        node_id=resolve(NODES, body.node_id, "node_id"),
        role_id=resolve(ROLES, body.role_id, "role_id"),
        deployment_id=deployment,
        data=body.data,
    )
    return created(NODE_ROLES, bound.node_role_id, extra={"created": list(bound.created)})


@v2.patch("/node_roles/<node_role>")
@api(
    permission="operator",
    summary="Set the proposed values of a noderole, but for secrets that are not named",
    body=NodeRoleData,
    listing=NODE_ROLES,
)
def patch_node_role(node_role: str, body: NodeRoleData) -> Answer:
    key = to_change(NODE_ROLES, node_role)
    whole.set_data(parts(), current_actor(), key, body.data)
    return single(NODE_ROLES, key)


@v2.get("/node_roles/<node_role>/why")
@api(permission="viewer", summary="Why a noderole is not running")
def why_node_role(node_role: str) -> Any:
    return steering.why_node_role(parts(), found_id(NODE_ROLES, node_role))


@v2.get("/node_roles/<node_role>/runs")
@api(permission="viewer", summary="The runs of a noderole, newest first", listing=RUNS, many=True)
def runs_of_node_role(node_role: str) -> Answer:
    return listed(RUNS, filters={"node_role_id": str(found_id(NODE_ROLES, node_role))})


@v2.get("/node_roles/<node_role>/parents")
@api(permission="viewer", summary="What a noderole waits for", listing=NODE_ROLES, many=True)
def parents(node_role: str) -> Answer:
    return listed(NODE_ROLES, where=(relations.parents_of(found_id(NODE_ROLES, node_role)),))


@v2.get("/node_roles/<node_role>/children")
@api(permission="viewer", summary="What waits for a noderole", listing=NODE_ROLES, many=True)
def children(node_role: str) -> Answer:
    return listed(NODE_ROLES, where=(relations.children_of(found_id(NODE_ROLES, node_role)),))
