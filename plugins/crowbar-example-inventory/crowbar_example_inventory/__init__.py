"""An inventory: which machine is which asset, where it stands, and how long it is under warranty."""

from collections.abc import Iterable

from flask import Blueprint

from crowbar_core import Barclamp, Declared, NavItem, Panel, Periodic, Schema, Service, cluster, hookimpl
from crowbar_example_inventory.pages import on_node, pages
from crowbar_example_inventory.stock import Settings, answer, note_warranties, rest


@hookimpl
def register_barclamp() -> Barclamp:
    return Barclamp(name="inventory", help="Which machine is which asset, and where it stands.", settings=Settings)


@hookimpl
def register_schema() -> Schema:
    return Schema(migrations="crowbar_example_inventory.migrations")


@hookimpl
def register_blueprints() -> Iterable[Blueprint]:
    return [rest, pages]


@hookimpl
def register_nav() -> Iterable[NavItem]:
    return [NavItem(label="Assets", url="/assets")]


@hookimpl
def register_panels() -> Iterable[Panel]:
    return [Panel(on="node", title="Asset", render=on_node)]


@hookimpl
def register_periodic() -> Iterable[Periodic]:
    return [Periodic(name="warranties", seconds=cluster().settings(Settings).seconds, run=note_warranties)]


@hookimpl
def register_services() -> Iterable[Service]:
    return [Service(name="asset-desk", run=answer, leader=True)] if cluster().settings(Settings).port else []


@hookimpl
def register_declared() -> Iterable[Declared]:
    yield Declared(noun="assets", order=60, fields=("node_id", "place", "warranty_until"), refers={"node_id": "nodes"})
