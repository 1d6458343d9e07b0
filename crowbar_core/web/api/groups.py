"""Groups of nodes, and who is in them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from crowbar_core.services.cluster import groups as service
from crowbar_core.store import relations
from crowbar_core.web.api.bodies import Description, GroupName, Reference, given, resolve_all
from crowbar_core.web.api.collection import changing, creating, found_id, listed, reading, single, to_change
from crowbar_core.web.api.nouns import GROUPS, NODES
from crowbar_core.web.api.operation import Answer, Body, api
from crowbar_core.web.api.routes import v2
from crowbar_core.web.auth import current_actor, parts

Category = Literal["class", "rack", "tag", "ui"]


class NewGroup(Body):
    name: GroupName
    category: Category = "tag"
    description: Description = ""
    nodes: list[Reference] = Field(default_factory=list, max_length=10_000, description="Who is in it.")


class ChangedGroup(Body):
    name: GroupName = ""
    category: Category = "tag"
    description: Description = ""
    nodes: list[Reference] = Field(default_factory=list, max_length=10_000, description="Who is in it, from now on.")


reading(v2, GROUPS, parameter="group")


@creating(v2, GROUPS, summary="Make a group", body=NewGroup)
def create_group(body: NewGroup) -> int:
    return service.create_group(
        parts(),
        current_actor(),
        name=body.name,
        category=body.category,
        description=body.description,
        nodes=resolve_all(NODES, body.nodes, "nodes"),
    )


@changing(v2, GROUPS, parameter="group", summary="Change a group", body=ChangedGroup)
def change_group(key: int, body: ChangedGroup) -> None:
    changes = given(body)
    if "nodes" in changes:
        changes["nodes"] = resolve_all(NODES, body.nodes, "nodes")
    service.change_group(parts(), current_actor(), key, changes)


@v2.get("/groups/<group>/nodes")
@api(permission="viewer", summary="The nodes of a group", listing=NODES, many=True)
def nodes_of_group(group: str) -> Answer:
    return listed(NODES, where=(relations.nodes_of_group(found_id(GROUPS, group)),))


@v2.put("/groups/<group>/nodes/<node>")
@api(permission="operator", summary="Put a node into a group", listing=GROUPS)
def add_node(group: str, node: str) -> Answer:
    key = to_change(GROUPS, group)
    service.add_node(parts(), current_actor(), key, found_id(NODES, node))
    return single(GROUPS, key)


@v2.delete("/groups/<group>/nodes/<node>")
@api(permission="operator", summary="Take a node out of a group", status=204)
def remove_node(group: str, node: str) -> None:
    service.remove_node(parts(), current_actor(), to_change(GROUPS, group), found_id(NODES, node))


@v2.get("/nodes/<node>/groups")
@api(permission="viewer", summary="The groups of a node", listing=GROUPS, many=True)
def groups_of_node(node: str) -> Answer:
    return listed(GROUPS, where=(relations.groups_of_node(found_id(NODES, node)),))
