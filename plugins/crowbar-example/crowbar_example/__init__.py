"""An example: nodes that know each other, and one that reports on all of them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from flask import Blueprint

from crowbar_core import (
    Attribute,
    Barclamp,
    Intent,
    Json,
    NavItem,
    NodeRoleView,
    Panel,
    Role,
    SetAttribute,
    Want,
    hookimpl,
)
from crowbar_example.machines import check_delete as check_delete
from crowbar_example.machines import machines
from crowbar_example.machines import node_boot as node_boot
from crowbar_example.machines import on_node_change as on_node_change
from crowbar_example.machines import on_node_unbind as on_node_unbind
from crowbar_example.pages import MEMBERSHIP, pages
from crowbar_example.parties import on_deployment_create, on_deployment_delete, register_hookspecs  # noqa: F401  hooks

GREETING = Attribute(
    name="example-greeting",
    description="What the members say to each other.",
    schema={"type": "string", "minLength": 1, "maxLength": 200},
    map="example/greeting",
    default="Hello",
)
SUMMARY = Attribute(
    name="example-summary",
    description="What is known of the node as a member; set when it has become one.",
    schema={"type": "string"},
    map="example/summary",
    writable=False,
)
MEMBERS = Attribute(
    name="example-members",
    description="All members of the deployment, by name, each with its first address.",
    schema={
        "type": "array",
        "items": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "address": {"type": "string"}},
            "required": ["name", "address"],
        },
    },
    map="example/members",
    default=[],
    writable=False,
)
KERNEL = Attribute(
    name="example-kernel",
    description="The kernel that the member runs, as it reported.",
    schema={"type": "string"},
    map="example/kernel",
    writable=False,
)
COUNT = Attribute(
    name="example-count",
    description="How many members the report lists.",
    schema={"type": "integer", "minimum": 0},
    map="example/count",
    writable=False,
)

HELLO = Role(
    name="example-hello",
    description="A member: knows all other members of its deployment, and greets them.",
    jig="script",
    wants=("example-greeting",),
    attributes=(MEMBERS, KERNEL),
    cluster=True,
    implicit=True,
    on_change="refresh",
    timeout=60,
)
REPORT = Role(
    name="example-report",
    description="Lists all members, when each of them is ready.",
    jig="script",
    requires=("example-hello",),
    wants=("example-greeting", "example-members", Want("example-kernel", gather=True)),
    attributes=(COUNT,),
    timeout=60,
)


@hookimpl
def register_barclamp() -> Barclamp:
    return Barclamp(
        name="example",
        help="An example: nodes that know each other, and one that reports on all of them.",
        roles=(HELLO, REPORT),
        attributes=(GREETING, SUMMARY),
    )


@hookimpl(roles=("example-hello",))
def node_role_data(node_role: NodeRoleView) -> Mapping[str, Json]:
    """Every member is told of all members; who joins or leaves changes it, and the others hear of it."""
    members = [{"name": peer.name, "address": next(iter(peer.addresses), "")} for peer in node_role.peers]
    return {"example": {"members": members}}


@hookimpl(roles=("example-hello",))
def plan_lines(node_roles: Sequence[NodeRoleView]) -> Iterable[str]:
    """Who will hear of whom, beside the runs that a plan lists anyway."""
    yield f"{len(node_roles)} members will be told of {max(len(one.peers) for one in node_roles)}."


@hookimpl(roles=("example-hello",))
def on_active(node_role: NodeRoleView) -> Iterable[Intent]:
    """What a member reported is put down on its node, where everyone can see it."""
    kernel = node_role.data["example"].get("kernel", "unknown")
    summary = f"a member in {node_role.deployment}, on kernel {kernel}"
    return [SetAttribute(node=node_role.node.name, attribute="example-summary", value=summary)]


@hookimpl
def register_blueprints() -> Iterable[Blueprint]:
    return [pages, machines]


@hookimpl
def register_nav() -> Iterable[NavItem]:
    return [NavItem(label="Example", url="/example")]


@hookimpl
def register_panels() -> Iterable[Panel]:
    return [MEMBERSHIP]
