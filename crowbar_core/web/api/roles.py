"""Roles, as the installed barclamps declare them."""

from __future__ import annotations

from crowbar_core.store import relations
from crowbar_core.web.api.collection import found_id, listed, reading
from crowbar_core.web.api.nouns import ATTRIBS, NODE_ROLES, NODES, ROLES
from crowbar_core.web.api.operation import Answer, api
from crowbar_core.web.api.routes import v2

reading(v2, ROLES, parameter="role")


@v2.get("/roles/<role>/attribs")
@api(permission="viewer", summary="The attributes of a role", listing=ATTRIBS, many=True)
def attribs_of_role(role: str) -> Answer:
    return listed(ATTRIBS, filters={"role_id": str(found_id(ROLES, role))})


@v2.get("/roles/<role>/node_roles")
@api(permission="viewer", summary="The noderoles of a role", listing=NODE_ROLES, many=True)
def node_roles_of_role(role: str) -> Answer:
    return listed(NODE_ROLES, filters={"role_id": str(found_id(ROLES, role))})


@v2.get("/roles/<role>/nodes")
@api(permission="viewer", summary="The nodes that have a role", listing=NODES, many=True)
def nodes_of_role(role: str) -> Answer:
    return listed(NODES, where=(relations.nodes_of_role(found_id(ROLES, role)),))


@v2.get("/nodes/<node>/roles")
@api(permission="viewer", summary="The roles that a node has", listing=ROLES, many=True)
def roles_of_node(node: str) -> Answer:
    return listed(ROLES, where=(relations.roles_of_node(found_id(NODES, node)),))
