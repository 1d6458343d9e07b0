"""Addresses and boot files over DHCP: servers that follow the cluster by themselves."""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType

from flask import Blueprint

from crowbar_core import Barclamp, Hint, NavItem, Panel, Periodic, Problem, Schema, hookimpl
from crowbar_dhcp import database, foreign, hooks
from crowbar_dhcp.events import data_of as data_of
from crowbar_dhcp.events import on_active as on_active
from crowbar_dhcp.events import on_install as on_install
from crowbar_dhcp.events import on_network_allocation_create as on_network_allocation_create
from crowbar_dhcp.events import on_network_allocation_delete as on_network_allocation_delete
from crowbar_dhcp.events import on_network_change as on_network_change
from crowbar_dhcp.events import on_network_create as on_network_create
from crowbar_dhcp.events import on_network_delete as on_network_delete
from crowbar_dhcp.events import on_node_change as on_node_change
from crowbar_dhcp.events import on_node_create as on_node_create
from crowbar_dhcp.events import on_node_delete as on_node_delete
from crowbar_dhcp.events import on_node_unbind as on_node_unbind
from crowbar_dhcp.first_questions import wizard_steps as wizard_steps
from crowbar_dhcp.pages import PANEL, pages
from crowbar_dhcp.rest import rest
from crowbar_dhcp.roles import CARDS, ROLES


@hookimpl
def register_barclamp() -> Barclamp:
    return Barclamp(
        name="dhcp",
        help="Addresses and boot files over DHCP: servers that follow the cluster by themselves.",
        requires=("jig-script",),
        after=("network",),
        roles=ROLES,
        attributes=(CARDS,),
        hints=(Hint(name=CARDS.name, of="macs"),),
    )


@hookimpl
def register_schema() -> Schema:
    return Schema(migrations="crowbar_dhcp.migrations")


@hookimpl
def register_blueprints() -> Iterable[Blueprint]:
    return [rest, pages]


@hookimpl
def register_nav() -> Iterable[NavItem]:
    return [NavItem(label="DHCP", url="/dhcp", order=120)]


@hookimpl
def register_panels() -> Iterable[Panel]:
    return [PANEL]


@hookimpl
def register_hookspecs() -> ModuleType:
    return hooks


@hookimpl
def register_periodic() -> Iterable[Periodic]:
    return [
        Periodic(name="dhcp-compare", seconds=300, run=database.compare_everything),
        Periodic(name="dhcp-foreign", seconds=foreign.EVERY, run=foreign.observe),
        Periodic(name="dhcp-watch", seconds=5, run=database.watch),
    ]


@hookimpl
def status_checks() -> Iterable[Problem]:
    yield from database.problems()
