"""Nodes: register, change, remove, commit, power, liveness."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, Field

from crowbar_core.domain.addresses import parse_mac, parse_own_interface
from crowbar_core.services.cluster import hammers, liveness, registering, steering
from crowbar_core.services.cluster import nodes as service
from crowbar_core.services.data import addresses
from crowbar_core.web.api.bodies import BootEnv, Description, NodeName, Reference, Small, formed, given, resolve
from crowbar_core.web.api.collection import changing, creating, found_id, listed, reading, single, to_change
from crowbar_core.web.api.nouns import DEPLOYMENTS, HAMMERS, NODE_ROLES, NODES, ROLES, RUNS
from crowbar_core.web.api.operation import Answer, Body, api
from crowbar_core.web.api.routes import v2
from crowbar_core.web.api.verbs import Power
from crowbar_core.web.auth import current_actor, current_identity, parts

HostKey = Annotated[
    str,
    Field(max_length=4096, description='"ssh-ed25519 AAAA..."'),
    formed(r"[a-z0-9@.-]+ [A-Za-z0-9+/=]+", 'A host key is its type and its text, like "ssh-ed25519 AAAA...".'),
]
NetworkName = Annotated[
    str,
    formed(
        r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}",
        "A network's name has at most 64 letters, digits, - and _, and begins with a letter or a digit.",
    ),
]


class HammerBody(Body):
    name: str = Field(max_length=64)
    priority: Small = 0
    config: dict[str, Any] = Field(default_factory=dict)


class NodeFields(Body):
    description: Description = ""
    deployment_id: Reference | None = None
    available: bool = False
    alive: bool = False
    bootenv: BootEnv = "local"
    order: Small = 1000
    hint: dict[str, Any] = Field(default_factory=dict)
    discovery: dict[str, Any] = Field(default_factory=dict)
    host_keys: list[HostKey] = Field(default_factory=list, max_length=32)


class NewNode(NodeFields):
    name: NodeName
    admin: bool = False
    ip: Annotated[str, AfterValidator(parse_own_interface)] | None = Field(
        None, description="Short for a hint: its address."
    )
    mac: Annotated[str, AfterValidator(parse_mac)] | None = Field(
        None, description="Short for a hint: its MAC address."
    )
    network: NetworkName = Field("admin", description="The network of ip.")
    hammers: list[HammerBody] = Field(default_factory=list, max_length=32)


class ChangedNode(NodeFields):
    name: NodeName = ""
    target_role_id: Reference | None = None
    allocated: bool = False


class Alive(Body):
    alive: bool


class Discovery(Body):
    discovery: dict[str, Any]


class HostKeys(Body):
    host_keys: list[HostKey] = Field(min_length=1, max_length=32)


reading(v2, NODES, parameter="node", own=True)


@creating(v2, NODES, summary="Register a node", body=NewNode)
def create_node(body: NewNode) -> int:
    deployment = None if body.deployment_id is None else resolve(DEPLOYMENTS, body.deployment_id, "deployment_id")
    (made,) = registering.create_nodes(parts(), current_actor(), [registered(body, deployment)])
    return made


def registered(body: NewNode, deployment_id: int | None) -> registering.NewNode:
    """What a body says of a node to be registered."""
    hint, hints = dict(body.hint), parts().registry.hints
    if body.ip is not None:
        hint |= hints.of_address(body.ip, network=body.network)
    if body.mac is not None:
        hint |= hints.of_mac(body.mac)
    return registering.NewNode(
        name=body.name,
        description=body.description,
        admin=body.admin,
        deployment_id=deployment_id,
        hint=hint,
        discovery=body.discovery,
        host_keys=tuple(body.host_keys),
        bootenv=body.bootenv,
        alive=body.alive,
        available=body.available,
        order=body.order,
        hammers=tuple((hammer.name, hammer.priority, hammer.config) for hammer in body.hammers),
    )


@changing(v2, NODES, parameter="node", summary="Change fields of a node", body=ChangedNode, plans="Change node {node}")
def change_node(key: int, body: ChangedNode) -> None:
    service.change_node(parts(), current_actor(), key, asked(body))


def asked(body: ChangedNode) -> dict[str, Any]:
    """The fields that a body would change, with ids for names."""
    changes = given(body)
    if changes.get("deployment_id") is not None:
        changes["deployment_id"] = resolve(DEPLOYMENTS, changes["deployment_id"], "deployment_id")
    if changes.get("target_role_id") is not None:
        changes["target_role_id"] = resolve(ROLES, changes["target_role_id"], "target_role_id")
    return changes


@v2.put("/nodes/<node>/alive")
@api(permission="node", summary="A node says that it is up, or about to go down", body=Alive, listing=NODES)
def report_alive(node: str, body: Alive) -> Answer:
    key = to_change(NODES, node)
    service.change_node(parts(), current_actor(), key, {"alive": body.alive})
    return single(NODES, key)


@v2.put("/nodes/<node>/discovery")
@api(permission="node", summary="A node reports what it found in itself", body=Discovery, listing=NODES)
def report_discovery(node: str, body: Discovery) -> Answer:
    key = to_change(NODES, node)
    service.change_node(parts(), current_actor(), key, {"discovery": body.discovery})
    return single(NODES, key)


@v2.delete("/nodes/<node>/discovery")
@api(permission="operator", summary="Forget all that a node reported of itself", status=204)
def forget_discovery(node: str) -> None:
    service.change_node(parts(), current_actor(), to_change(NODES, node), {"discovery": None})


@v2.put("/nodes/<node>/host_keys")
@api(
    permission="node",
    summary="A node brings its SSH host keys: as long as none are known, or with a token for this boot",
    body=HostKeys,
    listing=NODES,
)
def report_host_keys(node: str, body: HostKeys) -> Answer:
    key = found_id(NODES, node)
    identity = current_identity()
    vouched = identity is not None and identity.purpose == "boot"
    service.bring_host_keys(parts(), current_actor(), key, body.host_keys, vouched=vouched)
    return single(NODES, key)


@v2.get("/nodes/<node>/power")
@api(permission="viewer", summary="What can be done with a node's power")
def power_actions(node: str) -> dict[str, Any]:
    return {"actions": list(hammers.power_actions(parts(), found_id(NODES, node)))}


@v2.put("/nodes/<node>/power")
@api(permission="operator", summary="Switch a node on or off, or reset it", body=Power)
def power(node: str, body: Power) -> dict[str, Any]:
    key = found_id(NODES, node)
    return {"action": body.action, "result": hammers.power(parts(), current_actor(), key, body.action)}


@v2.get("/nodes/<node>/why")
@api(permission="node", summary="Why a node is not working")
def why_node(node: str) -> Any:
    return steering.why_node(parts(), found_id(NODES, node))


# ---------------------------------------------------------------- what belongs to a node


@v2.get("/nodes/<node>/node_roles")
@api(permission="viewer", summary="The noderoles of a node", listing=NODE_ROLES, many=True)
def node_roles_of_node(node: str) -> Answer:
    return listed(NODE_ROLES, filters={"node_id": str(found_id(NODES, node))})


@v2.get("/nodes/<node>/runs")
@api(permission="viewer", summary="The runs of a node, newest first", listing=RUNS, many=True)
def runs_of_node(node: str) -> Answer:
    return listed(RUNS, filters={"node_id": str(found_id(NODES, node))})


@v2.get("/nodes/<node>/hammers")
@api(permission="viewer", summary="The hammers of a node", listing=HAMMERS, many=True)
def hammers_of_node(node: str) -> Answer:
    return listed(HAMMERS, filters={"node_id": str(found_id(NODES, node))})


@v2.get("/nodes/<node>/addresses")
@api(permission="viewer", summary="A node's addresses on the admin network, best first")
def addresses_of_node(node: str) -> list[str]:
    return list(liveness.addresses(parts(), found_id(NODES, node)))


@v2.get("/nodes/<node>/address_claims")
@api(permission="viewer", summary="The addresses that were given for a node or that it reported, and which count")
def address_claims_of_node(node: str) -> list[dict[str, Any]]:
    return [
        {"address": one.address, "source": one.source, "since": one.since, "holder": one.holder, "refused": one.refused}
        for one in addresses.claims_of_node(parts(), found_id(NODES, node))
    ]
