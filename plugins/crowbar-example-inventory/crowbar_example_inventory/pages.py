"""/assets, and what a node's page says of its asset."""

from collections.abc import Mapping

from flask import Blueprint, Response
from sqlalchemy import select
from werkzeug.wrappers import Response as Answer

from crowbar_core import Json, NodeView, cluster, requires
from crowbar_core.pages import Column, Form, Input, act, form_body, list_page, rows
from crowbar_example_inventory.stock import ASSETS, NewAsset, assets, create

pages = Blueprint("inventory", __name__)
COLUMNS = (
    Column(name="name", label="Asset"),
    Column(name="node", label="Node", href="/nodes/{node_id}"),
    Column(name="place", label="Place"),
    Column(name="warranty_until", label="Warranty until"),
    Column(name="covered", label="Covered"),
)
INPUTS = (
    Input(name="name", label="Asset", required=True),
    Input(name="place", label="Place"),
    Input(name="node_id", label="Node", placeholder="web1.rack2.example.com"),
    Input(name="warranty_until", label="Warranty until", kind="date"),
)


@pages.get("/assets")
@requires("viewer")
def listed() -> Response:
    add = Form(title="New asset", url="/assets", inputs=INPUTS, api="POST /api/v2/assets", cli="crowbar assets create")
    return list_page("Assets", rows(ASSETS, filters=("name", "place")), COLUMNS, filters=INPUTS[:2], forms=(add,))


@pages.post("/assets")
@requires("operator")
def add() -> Answer:
    return act(lambda: create(form_body(NewAsset)), "The asset is in the inventory.", "/assets")


def on_node(node: NodeView) -> Mapping[str, Json] | None:
    with cluster().read() as session:
        found = session.execute(select(assets).where(assets.c.node_id == node.id).order_by(assets.c.id)).first()
    return found and {"Name": found.name, "Place": found.place, "Warranty until": str(found.warranty_until or "–")}
