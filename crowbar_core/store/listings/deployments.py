"""Deployments, and the roles in them."""

from __future__ import annotations

from typing import Final

from sqlalchemy import ColumnElement, case, exists, literal, select

from crowbar_core.domain.states import DeploymentState
from crowbar_core.store.listing import Listing
from crowbar_core.store.listings.fields import derived, field, fields
from crowbar_core.store.models import (
    Deployment,
    DeploymentRole,
    NodeRole,
    RoleRow,
    table,
)

_deployments, _deployment_roles = table(Deployment), table(DeploymentRole)
_roles, _node_roles = table(RoleRow), table(NodeRole)
_of_deployment = _node_roles.alias("of_deployment")


def _any_state(condition: ColumnElement[bool]) -> ColumnElement[bool]:
    return exists(
        select(literal(1))
        .select_from(_of_deployment)
        .where(_of_deployment.c.deployment_id == _deployments.c.id, condition)
    )


_deployment_state = case(
    (_deployments.c.committed.is_(False), int(DeploymentState.PROPOSED)),
    (_any_state(_of_deployment.c.state < 0), int(DeploymentState.ERROR)),
    (_any_state(_of_deployment.c.state > 0), int(DeploymentState.COMMITTED)),
    else_=int(DeploymentState.ACTIVE),
)

DEPLOYMENTS: Final = Listing(
    noun="deployment",
    plural="deployments",
    source=_deployments,
    key=_deployments.c.id,
    name=_deployments.c.name,
    fields=(
        field(_deployments.c.id, example=2),
        field(_deployments.c.name, filter=True, sort=True, example="web"),
        *fields(
            Deployment, "description", "system", "committed", "parent_id", filter=("system", "committed", "parent_id")
        ),
        derived(
            "state", _deployment_state, int, filter=True, example=2, help="ERROR -1, PROPOSED 0, COMMITTED 1, ACTIVE 2."
        ),
        derived(
            "state_name",
            _deployment_state,
            str,
            words={int(state): state.name for state in DeploymentState},
            example="ACTIVE",
        ),
        *fields(Deployment, "created_at", "updated_at", sort=("created_at", "updated_at")),
    ),
)

DEPLOYMENT_ROLES: Final = Listing(
    noun="deployment role",
    plural="deployment_roles",
    source=_deployment_roles.join(_deployments, _deployments.c.id == _deployment_roles.c.deployment_id).join(
        _roles, _roles.c.id == _deployment_roles.c.role_id
    ),
    key=_deployment_roles.c.id,
    fields=(
        *fields(DeploymentRole, "id", "deployment_id", "role_id", filter=("deployment_id", "role_id")),
        field(_deployments.c.name, "deployment", filter=True, example="web"),
        field(_roles.c.name, "role", filter=True, example="web-server"),
        *fields(DeploymentRole, "proposed_data", "committed_data", "wall", "created_at", "updated_at"),
    ),
)
