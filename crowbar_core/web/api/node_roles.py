"""Noderoles: bind a role to a node, watch it, steer it, unbind it."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from pydantic import Field

from crowbar_core.services.cluster import binding, steering
from crowbar_core.store import relations
from crowbar_core.web.api.bodies import Reference, resolve
from crowbar_core.web.api.collection import created, found_id, listed, reading, single, to_change
from crowbar_core.web.api.nouns import DEPLOYMENTS, NODE_ROLES, NODES, ROLES, RUNS
from crowbar_core.web.api.operation import Answer, Body, Force, api
from crowbar_core.web.api.routes import v2
from crowbar_core.web.auth import current_actor, parts


class NewNodeRole(Body):
    node_id: Reference
    role_id: Reference
    deployment_id: Reference | None = None


class Hold(Body):
    reason: str = Field("", max_length=500, description="Why, for whoever finds it held.")


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
    )
    return created(NODE_ROLES, bound.node_role_id, extra={"created": list(bound.created)})


@v2.delete("/node_roles/<node_role>")
@api(
    permission="operator",
    summary="Unbind a role from a node, with what needs it there, once what it made is torn down",
    query=Force,
    plans="Unbind noderole {node_role}",
)
def unbind(node_role: str, query: Force) -> dict[str, Any]:
    key = to_change(NODE_ROLES, node_role)
    return {"node_roles": list(binding.unbind(parts(), current_actor(), key, force=query.force))}


def _act(node_role: str, act: Callable[..., Any]) -> Answer:
    key = to_change(NODE_ROLES, node_role)
    act(parts(), current_actor(), key)
    return single(NODE_ROLES, key)


@v2.put("/node_roles/<node_role>/retry")
@api(
    permission="operator", summary="Try a failed noderole again", listing=NODE_ROLES, plans="Retry noderole {node_role}"
)
def retry(node_role: str) -> Answer:
    return _act(node_role, steering.retry)


@v2.put("/node_roles/<node_role>/propose")
@api(
    permission="operator",
    summary="Take a noderole back to PROPOSED",
    listing=NODE_ROLES,
    plans="Propose noderole {node_role}",
)
def propose_node_role(node_role: str) -> Answer:
    return _act(node_role, steering.propose)


@v2.put("/node_roles/<node_role>/commit")
@api(
    permission="operator",
    summary="Commit one noderole, or its drafts",
    listing=NODE_ROLES,
    plans="Commit noderole {node_role}",
)
def commit_node_role(node_role: str) -> Answer:
    return _act(node_role, steering.commit)


@v2.put("/node_roles/<node_role>/hold")
@api(permission="operator", summary="Keep a noderole from being run", body=Hold, listing=NODE_ROLES)
def hold(node_role: str, body: Hold) -> Answer:
    return _act(node_role, functools.partial(steering.hold, reason=body.reason))


@v2.put("/node_roles/<node_role>/release")
@api(permission="operator", summary="Let a held noderole run again", listing=NODE_ROLES)
def release(node_role: str) -> Answer:
    return _act(node_role, steering.release)


@v2.put("/node_roles/<node_role>/rerun")
@api(
    permission="operator",
    summary="Run an ACTIVE noderole again; its children wait",
    listing=NODE_ROLES,
    plans="Run again noderole {node_role}",
)
def rerun(node_role: str) -> Answer:
    return _act(node_role, steering.rerun)


@v2.put("/node_roles/<node_role>/refresh")
@api(
    permission="operator",
    summary="Run an ACTIVE noderole again; its children are not disturbed",
    listing=NODE_ROLES,
    plans="Refresh noderole {node_role}",
)
def refresh(node_role: str) -> Answer:
    return _act(node_role, steering.refresh)


@v2.put("/node_roles/<node_role>/error")
@api(permission="operator", summary="Put a noderole into ERROR by hand", listing=NODE_ROLES)
def force_error(node_role: str) -> Answer:
    return _act(node_role, steering.force_error)


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
