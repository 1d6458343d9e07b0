"""Many nodes, or noderoles, in one request and one transaction: all of it happens, or nothing."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import Field

from crowbar_core.services.cluster import binding, registering, steering
from crowbar_core.services.cluster import nodes as service
from crowbar_core.services.turns.parts import Parts
from crowbar_core.services.turns.turn import Actor
from crowbar_core.web.api.bodies import Reference, resolve, resolve_all
from crowbar_core.web.api.nodes import ChangedNode, NewNode, asked, registered
from crowbar_core.web.api.nouns import DEPLOYMENTS, NODE_ROLES, NODES, ROLES
from crowbar_core.web.api.operation import Body, Force, api
from crowbar_core.web.api.routes import v2
from crowbar_core.web.auth import current_actor, parts

MOST = 10_000


class NewNodes(Body):
    nodes: list[NewNode] = Field(min_length=1, max_length=MOST)


class Nodes(Body):
    nodes: list[Reference] = Field(min_length=1, max_length=MOST)


class ChangedNodes(Nodes):
    changes: ChangedNode


class NewNodeRoles(Body):
    nodes: list[Reference] = Field(min_length=1, max_length=MOST)
    roles: list[Reference] = Field(min_length=1, max_length=100)
    deployment_id: Reference | None = Field(None, description="In this deployment; without it, in each node's own.")


class NodeRoles(Body):
    node_roles: list[Reference] = Field(min_length=1, max_length=MOST)


class HeldNodeRoles(NodeRoles):
    reason: str = Field("", max_length=500, description="Why, for whoever finds them held.")


@v2.post("/nodes/bulk")
@api(permission="operator", summary="Register many nodes at once: all of them, or none", body=NewNodes, status=201)
def create_nodes(body: NewNodes) -> list[dict[str, Any]]:
    homes = {one.deployment_id for one in body.nodes if one.deployment_id is not None}
    ids = {home: resolve(DEPLOYMENTS, home, "nodes") for home in homes}
    new = [registered(one, None if one.deployment_id is None else ids[one.deployment_id]) for one in body.nodes]
    made = registering.create_nodes(parts(), current_actor(), new)
    return [{"id": ref, "name": one.name} for ref, one in zip(made, new, strict=True)]


@v2.patch("/nodes/bulk")
@api(
    permission="operator",
    summary="Change the same fields of many nodes",
    body=ChangedNodes,
    plans="Change nodes",
)
def change_nodes(body: ChangedNodes) -> dict[str, Any]:
    refs = resolve_all(NODES, body.nodes, "nodes")
    service.change_nodes(parts(), current_actor(), refs, asked(body.changes))
    return {"nodes": refs}


@v2.post("/nodes/bulk/commit")
@api(
    permission="operator",
    summary="Accept many nodes: commit their proposed noderoles and all drafts on them",
    body=Nodes,
    plans="Commit nodes",
)
def commit_nodes(body: Nodes) -> dict[str, Any]:
    return _on_nodes(body, service.commit_nodes)


@v2.post("/nodes/bulk/redeploy")
@api(
    permission="operator",
    summary="Do all of many nodes again, destructive roles too",
    body=Nodes,
    plans="Redeploy nodes",
)
def redeploy_nodes(body: Nodes) -> dict[str, Any]:
    return _on_nodes(body, service.redeploy_nodes)


@v2.post("/nodes/bulk/delete")
@api(
    permission="operator",
    summary="Remove many nodes; what runs on them is cancelled first, and what their roles made there is torn down",
    body=Nodes,
    query=Force,
    plans="Destroy nodes",
)
def delete_nodes(body: Nodes, query: Force) -> dict[str, Any]:
    return _on_nodes(body, functools.partial(service.delete_nodes, force=query.force))


def _on_nodes(body: Nodes, act: Callable[[Parts, Actor, Sequence[int]], object]) -> dict[str, Any]:
    refs = resolve_all(NODES, body.nodes, "nodes")
    act(parts(), current_actor(), refs)
    return {"nodes": refs}


@v2.post("/node_roles/bulk")
@api(
    permission="operator",
    summary="Bind each of these roles to each of these nodes, with all that they need",
    body=NewNodeRoles,
    status=201,
    plans="Bind roles to nodes, and commit them",
)
def bind_many(body: NewNodeRoles) -> dict[str, Any]:
    deployment = None if body.deployment_id is None else resolve(DEPLOYMENTS, body.deployment_id, "deployment_id")
    bound = binding.bind_many(
        parts(),
        current_actor(),
        node_ids=resolve_all(NODES, body.nodes, "nodes"),
        role_ids=resolve_all(ROLES, body.roles, "roles"),
        deployment_id=deployment,
    )
    return {"node_roles": list(bound.node_role_ids), "created": list(bound.created)}


@v2.post("/node_roles/bulk/unbind")
@api(
    permission="operator",
    summary="Unbind many noderoles, with what needs them on the same nodes",
    body=NodeRoles,
    query=Force,
    plans="Unbind noderoles",
)
def unbind_many(body: NodeRoles, query: Force) -> dict[str, Any]:
    refs = resolve_all(NODE_ROLES, body.node_roles, "node_roles")
    return {"node_roles": list(binding.unbind_many(parts(), current_actor(), refs, force=query.force))}


@v2.post("/node_roles/bulk/hold")
@api(permission="operator", summary="Keep many noderoles from being run", body=HeldNodeRoles)
def hold_many(body: HeldNodeRoles) -> dict[str, Any]:
    refs = resolve_all(NODE_ROLES, body.node_roles, "node_roles")
    steering.hold_many(parts(), current_actor(), refs, reason=body.reason)
    return {"node_roles": refs}


@v2.post("/node_roles/bulk/release")
@api(permission="operator", summary="Let many held noderoles run again", body=NodeRoles)
def release_many(body: NodeRoles) -> dict[str, Any]:
    refs = resolve_all(NODE_ROLES, body.node_roles, "node_roles")
    steering.release_many(parts(), current_actor(), refs)
    return {"node_roles": refs}
