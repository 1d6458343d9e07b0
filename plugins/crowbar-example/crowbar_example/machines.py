"""Machines that are announced before they boot: each is registered once, and given a token for its next boot."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from flask import Blueprint, jsonify, request
from flask.typing import ResponseReturnValue
from sqlalchemy import select

from crowbar_core import (
    BadInput,
    Change,
    DeploymentView,
    Intent,
    Json,
    NodeRoleView,
    NodeView,
    Problem,
    ServedBootEnv,
    cluster,
    hookimpl,
    requires,
)
from crowbar_core.tables import nodes

machines = Blueprint("example-machines", __name__)

BOOT_SECONDS = 3600


@machines.post("/api/v2/example/machines")
@requires("operator")
def announce() -> ResponseReturnValue:
    """``{"name": ..., "serial": ...}``: the machine of that serial number, and the token for its next boot."""
    body = request.get_json()
    if not (isinstance(body, dict) and all(isinstance(body.get(key), str) for key in ("name", "serial"))):
        raise BadInput("A machine is announced with its name and its serial number, both text.")
    with cluster().change() as change:
        serial = nodes.c.discovery["serial"].as_string()
        known = change.session.scalar(select(nodes.c.name).where(serial == body["serial"]))
        name = known or change.create_node(body["name"], discovery={"serial": body["serial"]}).name
        token = change.node_token(name, purpose="boot", seconds=BOOT_SECONDS)
    return jsonify(node=name, token=token), 200 if known else 201


@machines.get("/api/v2/example/boot/<node>")
@requires("node")
def boot(node: str) -> ResponseReturnValue:
    """What the node should boot: all that barclamps say of it, put together."""
    said: dict[str, Any] = {}
    one = cluster().node(node)
    for _, answer in cluster().boots([one])[one.id]:
        said |= answer
    return jsonify(said)


@hookimpl
def node_boot(node: NodeView) -> Mapping[str, Json]:
    return {"bootenv": node.bootenv}


@hookimpl
def on_node_change(node: NodeView, changed: frozenset[str]) -> Iterable[Intent]:
    """What is wanted is what ``boot`` says from now on."""
    return [ServedBootEnv(node=node.name, bootenv=node.bootenv)] if "bootenv" in changed else []


@hookimpl
def check_delete(subject: NodeView | DeploymentView) -> Iterator[Problem]:
    """A node whose hint says why it is to be kept is kept."""
    if isinstance(subject, NodeView) and (reason := subject.hint.get("example-keep")):
        yield Problem(detail=f"{subject.name} is to be kept: {reason}. Take example-keep out of its hint first.")


@hookimpl(roles=("example-hello",))
def on_node_unbind(node_role: NodeRoleView, change: Change) -> None:
    """Who leaves is written down."""
    change.audit("example.farewell", f"node {node_role.node.name}", deployment=node_role.deployment)
