"""/assets, an asset's own page, and what a node's page says of its asset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flask import Blueprint, Response
from sqlalchemy import select
from werkzeug.wrappers import Response as Answer

from crowbar_core import Json, NodeView, Panel, cluster, requires
from crowbar_core.pages import Action, Column, Form, Input, act, form_body, list_page, object_page, row, rows
from crowbar_example_inventory import stock
from crowbar_example_inventory.rest import NewAsset
from crowbar_example_inventory.stock import ASSETS

pages = Blueprint("inventory", __name__)

COLUMNS = (
    Column(name="name", label="Asset", href="/assets/{id}"),
    Column(name="node", label="Node", href="/nodes/{node_id}"),
    Column(name="place", label="Place"),
    Column(name="warranty_until", label="Warranty until"),
    Column(name="covered", label="Covered"),
)
FILTERS = (
    Input(name="name", label="Asset"),
    Input(name="place", label="Place"),
    Input(name="covered", label="Covered", choices=(("", "any"), ("true", "yes"), ("false", "no"))),
)


@pages.get("/assets")
@requires("viewer")
def listed() -> Response:
    shown = rows(ASSETS, filters=[one.name for one in FILTERS], sort="name")
    api, cli = 'POST /api/v2/assets {"name": "S-1"}', "crowbar assets create S-1"
    add = Form(title="Add an asset", url="/assets", inputs=_inputs({}), label="Add", api=api, cli=cli)
    return list_page("Assets", shown, COLUMNS, filters=FILTERS, forms=(add,), empty="No asset is like that.")


@pages.get("/assets/<asset>")
@requires("viewer")
def show(asset: str) -> Response:
    one = row(ASSETS, asset)
    url, api, name = f"/assets/{one['id']}", f"/api/v2/assets/{one['id']}", one["name"]
    change = Form(title="Change", url=url, inputs=_inputs(one), api=f"PATCH {api}", cli=f"crowbar assets update {name}")
    remove = Action(
        label="Remove", url=f"{url}/remove", api=f"DELETE {api}", cli=f"crowbar assets destroy {name}", kind="danger"
    )
    return object_page(name, one, COLUMNS, above=("Assets", "/assets"), actions=[remove], forms=[change])


@pages.post("/assets")
@requires("operator")
def create() -> Answer:
    return act(lambda: stock.create(form_body(NewAsset).model_dump()), "The asset is in the inventory.", "/assets")


@pages.post("/assets/<int:asset>")
@requires("operator")
def change(asset: int) -> Answer:
    to = f"/assets/{asset}"
    return act(lambda: stock.alter(asset, form_body(NewAsset).model_dump()), "The asset is changed.", to)


@pages.post("/assets/<int:asset>/remove")
@requires("operator")
def remove(asset: int) -> Answer:
    return act(lambda: stock.remove(asset), "The asset is gone.", "/assets")


def _inputs(held: Mapping[str, Any]) -> tuple[Input, ...]:
    return (
        Input(name="name", label="Asset", value=held.get("name", ""), required=True),
        Input(name="node_id", label="Node", value=held.get("node") or "", placeholder="web1.rack2.example.com"),
        Input(name="place", label="Place", value=held.get("place", "")),
        Input(name="warranty_until", label="Warranty until", kind="date", value=str(held.get("warranty_until") or "")),
    )


def _on_node(node: NodeView) -> Mapping[str, Json] | None:
    with cluster().read() as session:
        table = stock.assets
        found = session.execute(select(table).where(table.c.node_id == node.id).order_by(table.c.id)).first()
    if found is None:
        return None
    return {
        "Name": found.name,
        "Place": found.place or "unknown",
        "Warranty": f"until {found.warranty_until}" if found.covered else f"ended on {found.warranty_until}",
    }


PANEL = Panel(on="node", title="Asset", render=_on_node)
