"""An inventory: which machine is which asset, where it stands, and how long it is under warranty."""

from __future__ import annotations

from collections.abc import Iterable

from flask import Blueprint
from sqlalchemy import func, select

from crowbar_core import Barclamp, Cluster, Declared, NavItem, Panel, Periodic, Problem, Schema, cluster, hookimpl
from crowbar_example_inventory.pages import PANEL, pages
from crowbar_example_inventory.rest import rest
from crowbar_example_inventory.stock import assets, note_expired, take_in


@hookimpl
def register_barclamp() -> Barclamp:
    return Barclamp(name="inventory", help="Which machine is which asset, and how long it is under warranty.")


@hookimpl
def register_schema() -> Schema:
    return Schema(migrations="crowbar_example_inventory.migrations")


@hookimpl
def on_install(cluster: Cluster) -> None:
    """The machines that were there before the inventory was are in it, too."""
    take_in(cluster.nodes())


@hookimpl
def register_blueprints() -> Iterable[Blueprint]:
    return [rest, pages]


@hookimpl
def register_nav() -> Iterable[NavItem]:
    return [NavItem(label="Assets", url="/assets")]


@hookimpl
def register_panels() -> Iterable[Panel]:
    return [PANEL]


@hookimpl
def register_periodic() -> Iterable[Periodic]:
    return [Periodic(name="warranties", seconds=3600, run=note_expired)]


@hookimpl
def register_declared() -> Iterable[Declared]:
    carried = ("node_id", "place", "warranty_until")
    return [Declared(noun="assets", order=60, fields=carried, refers={"node_id": "nodes"})]


@hookimpl
def status_checks() -> Iterable[Problem]:
    """The dashboard says how many assets are out of warranty."""
    with cluster().read() as session:
        count = session.scalar(select(func.count()).select_from(assets).where(assets.c.covered.is_(False)))
    if count:
        said = f"{count} asset{' is' if count == 1 else 's are'} out of warranty: see /assets?covered=false."
        yield Problem(detail=said, severity="warning")
