"""Deployment roles: a role in a deployment, with that deployment's values for it."""

from __future__ import annotations

from typing import Any

from crowbar_core.services.cluster import deployments as service
from crowbar_core.web.api.bodies import Reference, resolve
from crowbar_core.web.api.collection import created, reading, single, to_change
from crowbar_core.web.api.nouns import DEPLOYMENT_ROLES, DEPLOYMENTS, ROLES
from crowbar_core.web.api.operation import Answer, Body, api
from crowbar_core.web.api.routes import v2
from crowbar_core.web.auth import current_actor, parts


class NewDeploymentRole(Body):
    deployment_id: Reference
    role_id: Reference
    data: dict[str, Any] | None = None


class RoleData(Body):
    data: dict[str, Any]


reading(v2, DEPLOYMENT_ROLES, parameter="deployment_role")


@v2.post("/deployment_roles")
@api(
    permission="operator",
    summary="Add a role to a deployment",
    body=NewDeploymentRole,
    listing=DEPLOYMENT_ROLES,
    status=201,
)
def add_role(body: NewDeploymentRole) -> Answer:
    made = service.add_role(
        parts(),
        current_actor(),
        deployment_id=resolve(DEPLOYMENTS, body.deployment_id, "deployment_id"),
        role_id=resolve(ROLES, body.role_id, "role_id"),
        data=body.data,
    )
    return created(DEPLOYMENT_ROLES, made)


def _change(deployment_role: str, body: RoleData) -> Answer:
    key = to_change(DEPLOYMENT_ROLES, deployment_role)
    service.set_role_data(parts(), current_actor(), key, body.data)
    return single(DEPLOYMENT_ROLES, key)


@v2.put("/deployment_roles/<deployment_role>")
@api(permission="operator", summary="Set the proposed values", body=RoleData, listing=DEPLOYMENT_ROLES)
def put_deployment_role(deployment_role: str, body: RoleData) -> Answer:
    return _change(deployment_role, body)


@v2.patch("/deployment_roles/<deployment_role>")
@api(permission="operator", summary="Set the proposed values", body=RoleData, listing=DEPLOYMENT_ROLES)
def patch_deployment_role(deployment_role: str, body: RoleData) -> Answer:
    return _change(deployment_role, body)
