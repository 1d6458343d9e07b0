"""Hammers: ways to act on a node outside its roles. Secrets in their settings are never shown."""

from __future__ import annotations

from typing import Any

from pydantic import Field

from crowbar_core.services.cluster import hammers as service
from crowbar_core.web.api.bodies import Reference, Small, resolve
from crowbar_core.web.api.collection import changing, created, found_id, reading
from crowbar_core.web.api.nouns import HAMMERS, NODES
from crowbar_core.web.api.operation import Answer, Body, api
from crowbar_core.web.api.routes import v2
from crowbar_core.web.api.verbs import Power
from crowbar_core.web.auth import current_actor, parts


class NewHammer(Body):
    node_id: Reference
    name: str = Field(min_length=1, max_length=64, description="One of available_hammers.")
    priority: Small = 0
    config: dict[str, Any] = Field(default_factory=dict)


class ChangedHammer(Body):
    priority: Small | None = None
    config: dict[str, Any] | None = Field(
        None, description="The keys to change; null removes one. A secret that is sent as it is shown stays."
    )


reading(v2, HAMMERS, parameter="hammer")


@v2.get("/available_hammers")
@api(permission="viewer", summary="The kinds of hammers that installed packages bring")
def available_hammers() -> list[dict[str, Any]]:
    registry = parts().registry
    return [{"name": name, "schema": dict(registry.hammer_schema(name))} for name in registry.hammers]


@v2.post("/hammers")
@api(permission="operator", summary="Give a node a hammer", body=NewHammer, listing=HAMMERS, status=201)
def create_hammer(body: NewHammer) -> Answer:
    made = service.add_hammer(
        parts(),
        current_actor(),
        resolve(NODES, body.node_id, "node_id"),
        name=body.name,
        priority=body.priority,
        config=body.config,
    )
    return created(HAMMERS, made)


@changing(v2, HAMMERS, parameter="hammer", summary="Change a hammer's priority or configuration", body=ChangedHammer)
def change_hammer(key: int, body: ChangedHammer) -> None:
    service.change_hammer(parts(), current_actor(), key, priority=body.priority, config=body.config)


@v2.post("/hammers/<hammer>/perform")
@api(permission="operator", summary="Perform an action with this hammer", body=Power)
def perform(hammer: str, body: Power) -> dict[str, Any]:
    key = found_id(HAMMERS, hammer)
    return {"action": body.action, "result": service.perform(parts(), current_actor(), key, body.action)}
