"""Networks: addresses for nodes, conduits, and real interfaces on real nodes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import ModuleType
from typing import Any

from flask import Blueprint

from crowbar_core import (
    Attribute,
    Barclamp,
    Json,
    NavItem,
    NodeRoleView,
    Panel,
    Periodic,
    Problem,
    Role,
    Schema,
    cluster,
    hookimpl,
)
from crowbar_network import checking, draft_pages, drift, hints, hooks, listening, map_forms, networks, plans, serving
from crowbar_network.answering import network_addresses as network_addresses
from crowbar_network.answering import network_subnets as network_subnets
from crowbar_network.declaring import register_declared as register_declared
from crowbar_network.first_questions import wizard_steps as wizard_steps
from crowbar_network.having import addresses_of as addresses_of
from crowbar_network.having import check_delete as check_delete
from crowbar_network.having import on_deployment_commit as on_deployment_commit
from crowbar_network.having import on_deployment_discard as on_deployment_discard
from crowbar_network.having import on_node_leave as on_node_leave
from crowbar_network.having import on_node_unbind as on_node_unbind
from crowbar_network.having import on_nodes_bind as on_nodes_bind
from crowbar_network.jig import INVENTORY
from crowbar_network.map_pages import overviews
from crowbar_network.networks import BASE_ROLE
from crowbar_network.pages import PANEL, pages
from crowbar_network.rest import rest
from crowbar_network.rest_allocations import rest as rest_allocations
from crowbar_network.rest_wires import rest as rest_wires
from crowbar_network.serving import SERVER
from crowbar_network.serving import on_network_create as on_network_create
from crowbar_network.serving import on_node_bind as on_node_bind
from crowbar_network.settings import Settings
from crowbar_network.telling import OWN_ROLES
from crowbar_network.wanted import wanted_of
from crowbar_network.wire_pages import WIRES, wire_pages

BASE = Role(
    name=BASE_ROLE,
    description="What the roles of networks are like.",
    jig="network",
    abstract=True,
    requires=(INVENTORY,),
)
NICS = Role(
    name=INVENTORY,
    description="Tells what network cards a node has.",
    implicit=True,
    jig="network",
    attributes=(
        Attribute(
            name="network-nics",
            description="The node's network cards: name, mac, path on the bus, speed in Mb/s (or 0), driver, altnames.",
            map="network/nics",
            schema={"type": "array", "items": {"type": "object"}},
            writable=False,
        ),
        Attribute(
            name="network-product",
            description="The machine's product name, which interface maps are matched with.",
            map="network/product",
            schema={"type": "string"},
            writable=False,
        ),
    ),
)


@hookimpl
def register_barclamp() -> Barclamp:
    return Barclamp(
        name="network",
        help="Networks: addresses for nodes, conduits, and real interfaces on real nodes.",
        requires=("jig-script",),
        roles=(BASE, NICS, SERVER, listening.ROLE),
        defines=("network-*",),
        hints=hints.DECLARED,
        settings=Settings,
    )


@hookimpl
def register_schema() -> Schema:
    return Schema(migrations="crowbar_network.migrations")


@hookimpl
def register_blueprints() -> Iterable[Blueprint]:
    return [rest, rest_allocations, rest_wires, pages, draft_pages.pages, overviews, wire_pages, map_forms.pages]


@hookimpl
def register_nav() -> Iterable[NavItem]:
    return [NavItem(label="Networks", url="/networks", order=100)]


@hookimpl
def register_panels() -> Iterable[Panel]:
    return [PANEL, draft_pages.PANEL, WIRES]


@hookimpl(roles=("network-*",))
def data_of(node_roles: Sequence[NodeRoleView], session: Any) -> Mapping[int, Mapping[str, Json]]:
    servers = [one for one in node_roles if one.role == SERVER.name]
    others = [one for one in node_roles if one.role not in OWN_ROLES]
    return {**wanted_of(others, session, peers=True), **serving.data_of(servers, session)}


@hookimpl(roles=("network-*",))
def plan_lines(node_roles: Sequence[NodeRoleView], session: Any) -> Iterable[str]:
    return plans.lines(node_roles, session)


@hookimpl
def register_periodic() -> Iterable[Periodic]:
    return [
        Periodic(name="network-drift", seconds=drift.EVERY, run=drift.observe),
        Periodic(name="network-wires", seconds=listening.EVERY, run=listening.observe),
        Periodic(name="network-check", seconds=checking.EVERY, run=checking.work),
    ]


@hookimpl
def defined_roles(session: Any) -> Iterable[Role]:
    return networks.roles(session)


@hookimpl
def status_checks() -> Iterable[Problem]:
    with cluster().read() as session:
        yield from drift.problems(session)


@hookimpl
def register_hookspecs() -> ModuleType:
    return hooks
