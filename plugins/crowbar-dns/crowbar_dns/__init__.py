"""Names: zones, forward and reverse, that follow the cluster by themselves."""

from __future__ import annotations

from collections.abc import Iterable

from flask import Blueprint

from crowbar_core import Barclamp, NavItem, Panel, Periodic, Problem, Schema, hookimpl
from crowbar_dns import database
from crowbar_dns.answering import data_of as data_of
from crowbar_dns.answering import dhcp_resolvers as dhcp_resolvers
from crowbar_dns.declaring import register_declared as register_declared
from crowbar_dns.events import on_install as on_install
from crowbar_dns.events import on_network_allocation_create as on_network_allocation_create
from crowbar_dns.events import on_network_allocation_delete as on_network_allocation_delete
from crowbar_dns.events import on_network_change as on_network_change
from crowbar_dns.events import on_network_create as on_network_create
from crowbar_dns.events import on_network_delete as on_network_delete
from crowbar_dns.events import on_node_bind as on_node_bind
from crowbar_dns.events import on_node_change as on_node_change
from crowbar_dns.events import on_node_create as on_node_create
from crowbar_dns.events import on_node_delete as on_node_delete
from crowbar_dns.events import on_node_unbind as on_node_unbind
from crowbar_dns.first_questions import wizard_steps as wizard_steps
from crowbar_dns.pages import PANEL, pages
from crowbar_dns.rest import rest
from crowbar_dns.roles import ROLES, attributes


@hookimpl
def register_barclamp() -> Barclamp:
    return Barclamp(
        name="dns",
        help="Names: zones, forward and reverse, that follow the cluster by themselves.",
        requires=("jig-script",),
        after=("network",),
        roles=ROLES,
        attributes=attributes(),
    )


@hookimpl
def register_schema() -> Schema:
    return Schema(migrations="crowbar_dns.migrations")


@hookimpl
def register_blueprints() -> Iterable[Blueprint]:
    return [rest, pages]


@hookimpl
def register_nav() -> Iterable[NavItem]:
    return [NavItem(label="DNS", url="/dns", order=110)]


@hookimpl
def register_panels() -> Iterable[Panel]:
    return [PANEL]


@hookimpl
def register_periodic() -> Iterable[Periodic]:
    return [
        Periodic(name="dns-compare", seconds=300, run=database.compare_everything),
        Periodic(name="dns-watch", seconds=5, run=database.watch),
    ]


@hookimpl
def status_checks() -> Iterable[Problem]:
    yield from database.problems()
