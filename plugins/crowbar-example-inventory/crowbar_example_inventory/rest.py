"""/api/v2/assets: list, show, create, change, delete."""

from __future__ import annotations

from datetime import date
from typing import Annotated

from flask import Blueprint

from crowbar_core.rest import Body, Description, Reference, changing, creating, deleting, formed, given, reading
from crowbar_example_inventory import stock
from crowbar_example_inventory.stock import ASSETS

rest = Blueprint("inventory_rest", __name__, url_prefix="/api/v2")

AssetName = Annotated[
    str, formed(r"[A-Za-z][A-Za-z0-9-]{0,63}", "A name is a letter, then letters, digits and hyphens.")
]


class NewAsset(Body):
    name: AssetName
    node_id: Reference | None = None
    place: Description = ""
    warranty_until: date | None = None


class ChangedAsset(NewAsset):
    name: AssetName = ""


reading(rest, ASSETS, parameter="asset")


@creating(rest, ASSETS, summary="Put an asset into the inventory", body=NewAsset)
def create(body: NewAsset) -> int:
    return stock.create(given(body))


@changing(rest, ASSETS, parameter="asset", summary="Change an asset", body=ChangedAsset)
def change(key: int, body: ChangedAsset) -> None:
    stock.alter(key, given(body))


@deleting(
    rest,
    ASSETS,
    parameter="asset",
    summary="Take an asset out of the inventory",
    asks="Its place and its warranty are forgotten.",
)
def delete(key: int) -> None:
    stock.remove(key)
