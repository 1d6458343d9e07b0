"""Deployments: make, change, propose, plan, commit, recall, remove; and what is in them."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from crowbar_core.domain.states import State
from crowbar_core.errors import BadInput
from crowbar_core.services.cluster import deployments as service
from crowbar_core.store import deployments as store
from crowbar_core.store import relations
from crowbar_core.web.api.bodies import DeploymentName, Description, Reference, given, resolve
from crowbar_core.web.api.collection import changing, creating, found_id, listed, reading
from crowbar_core.web.api.nouns import ATTRIBS, DEPLOYMENT_ROLES, DEPLOYMENTS, NODE_ROLES, NODES, ROLES
from crowbar_core.web.api.operation import Answer, Body, api
from crowbar_core.web.api.plans import shown
from crowbar_core.web.api.routes import v2
from crowbar_core.web.auth import current_actor, parts

GRAPH_MAX = 20_000


class NewDeployment(Body):
    name: DeploymentName
    description: Description = ""
    parent_id: Reference | None = Field(None, description="The system deployment when left out.")


class ChangedDeployment(Body):
    name: DeploymentName = ""
    description: Description = ""
    parent_id: Reference | None = None


reading(v2, DEPLOYMENTS, parameter="deployment")


@creating(v2, DEPLOYMENTS, summary="Make a deployment", body=NewDeployment)
def create_deployment(body: NewDeployment) -> int:
    parent = None if body.parent_id is None else resolve(DEPLOYMENTS, body.parent_id, "parent_id")
    return service.create_deployment(
        parts(), current_actor(), name=body.name, description=body.description, parent_id=parent
    )


@changing(v2, DEPLOYMENTS, parameter="deployment", summary="Change a deployment", body=ChangedDeployment)
def change_deployment(key: int, body: ChangedDeployment) -> None:
    changes = given(body)
    if body.parent_id is not None:
        changes["parent_id"] = resolve(DEPLOYMENTS, body.parent_id, "parent_id")
    service.change_deployment(parts(), current_actor(), key, changes)


@v2.get("/deployments/<deployment>/plan")
@api(permission="viewer", summary="What a commit would do: summary, values, and each step in order")
def plan_deployment(deployment: str) -> Any:
    return shown(service.plan(parts(), found_id(DEPLOYMENTS, deployment)))


# ---------------------------------------------------------------- what is in a deployment


@v2.get("/deployments/<deployment>/node_roles")
@api(permission="viewer", summary="The noderoles of a deployment", listing=NODE_ROLES, many=True)
def node_roles_of_deployment(deployment: str) -> Answer:
    return listed(NODE_ROLES, filters={"deployment_id": str(found_id(DEPLOYMENTS, deployment))})


@v2.get("/deployments/<deployment>/deployment_roles")
@api(
    permission="viewer",
    summary="The roles of a deployment with its values for them",
    listing=DEPLOYMENT_ROLES,
    many=True,
)
def deployment_roles_of_deployment(deployment: str) -> Answer:
    return listed(DEPLOYMENT_ROLES, filters={"deployment_id": str(found_id(DEPLOYMENTS, deployment))})


@v2.get("/deployments/<deployment>/nodes")
@api(permission="viewer", summary="The nodes of a deployment, and those with noderoles in it", listing=NODES, many=True)
def nodes_of_deployment(deployment: str) -> Answer:
    return listed(NODES, where=(relations.nodes_of_deployment(found_id(DEPLOYMENTS, deployment)),))


@v2.get("/deployments/<deployment>/roles")
@api(permission="viewer", summary="The roles that were added to a deployment", listing=ROLES, many=True)
def roles_of_deployment(deployment: str) -> Answer:
    return listed(ROLES, where=(relations.roles_of_deployment(found_id(DEPLOYMENTS, deployment)),))


@v2.get("/deployments/<deployment>/attribs")
@api(permission="viewer", summary="The attributes of the roles of a deployment", listing=ATTRIBS, many=True)
def attribs_of_deployment(deployment: str) -> Answer:
    return listed(ATTRIBS, where=(relations.attribs_of_deployment(found_id(DEPLOYMENTS, deployment)),))


@v2.get("/deployments/<deployment>/graph")
@api(permission="viewer", summary="The noderoles of a deployment and the edges between them")
def graph_of_deployment(deployment: str) -> dict[str, Any]:
    key = found_id(DEPLOYMENTS, deployment)
    with parts().store.read() as session:
        rows = store.vertices(session, key, most=GRAPH_MAX + 1)
        if len(rows) > GRAPH_MAX:
            raise BadInput(f"The graph has more than {GRAPH_MAX} noderoles: read it in pages from node_roles instead.")
        links = store.edges_within(session, key)
    return {
        "vertices": [{**row._mapping, "state_name": State(row.state).name} for row in rows],
        "edges": [dict(link._mapping) for link in links],
    }
