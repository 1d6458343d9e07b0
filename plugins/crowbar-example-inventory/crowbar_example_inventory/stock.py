"""Assets: their table, the resource, whether a warranty holds, and a service that says where one stands."""

import socket
from contextlib import suppress
from dataclasses import dataclass
from datetime import date
from typing import Any

import sqlalchemy as sa
from flask import Blueprint

from crowbar_core import CancelFlag, Change, NotFound, cluster, differences, setting
from crowbar_core import rest as kit
from crowbar_core.tables import Database

rest = Blueprint("inventory_rest", __name__, url_prefix="/api/v2")
nodes = kit.NODES.source
assets = Database().Table(
    "inventory_assets",
    sa.Column("id", sa.Integer, primary_key=True),
    sa.Column("name", sa.String(64), nullable=False),
    sa.Column("node_id", sa.Integer),
    sa.Column("place", sa.Text, nullable=False),
    sa.Column("warranty_until", sa.Date),
    sa.Column("covered", sa.Boolean, nullable=False),
)
ASSETS = kit.Listing(
    noun="asset",
    plural="assets",
    source=assets.outerjoin(nodes, nodes.c.id == assets.c.node_id),
    key=assets.c.id,
    name=assets.c.name,
    fields=(
        *kit.fields(assets, "id", "name", "place", "node_id", filter=("name", "place", "node_id"), sort=("name",)),
        kit.field(nodes.c.name, "node", filter=True, nullable=True, example="web1.rack2.example.com"),
        *kit.fields(assets, "warranty_until", "covered", filter=("covered",)),
    ),
)


class NewAsset(kit.Body):
    name: kit.Name
    node_id: kit.Reference | None = None
    place: kit.Description = ""
    warranty_until: date | None = None


class ChangedAsset(NewAsset):
    name: kit.Name = ""


kit.reading(rest, ASSETS, parameter="asset")


@kit.creating(rest, ASSETS, summary="Put an asset into the inventory", body=NewAsset)
def create(body: NewAsset) -> int:
    with cluster().change() as change:
        made: int = change.session.scalar(sa.insert(assets).values(**columns(body)).returning(assets.c.id))
        change.audit("asset.create", f"asset {body.name}")
        settle(change)
    return made


@kit.changing(rest, ASSETS, parameter="asset", summary="Change an asset", body=ChangedAsset)
def alter(key: int, body: ChangedAsset) -> None:
    values = columns(body)
    with cluster().change() as change:
        was = found(change, key)
        change.audit("asset.change", f"asset {was.name}", changed=differences(was._mapping, values))
        if values:
            change.session.execute(sa.update(assets).where(assets.c.id == key).values(**values))
        settle(change)


@kit.deleting(rest, ASSETS, parameter="asset", summary="Remove an asset", asks="Its place and warranty are forgotten.")
def remove(key: int) -> None:
    with cluster().change() as change:
        change.audit("asset.delete", f"asset {found(change, key).name}")
        change.session.execute(sa.delete(assets).where(assets.c.id == key))


def columns(body: NewAsset) -> dict[str, Any]:
    node = {} if body.node_id is None else {"node_id": kit.resolve(kit.NODES, body.node_id, "node_id")}
    return {**kit.given(body), **node}


def found(change: Change, key: int) -> Any:
    if row := change.session.execute(sa.select(assets).where(assets.c.id == key)).first():
        return row
    raise NotFound(f"There is no asset {key}.")


def settle(change: Change) -> None:
    """Mark the assets whose warranty has ended, and those whose warranty holds again."""
    holds = sa.or_(assets.c.warranty_until.is_(None), assets.c.warranty_until >= change.now.date())
    marked = sa.update(assets).where(assets.c.covered != holds).values(covered=holds)
    for name, covered in change.session.execute(marked.returning(assets.c.name, assets.c.covered)).all():
        change.audit("asset.warranty", f"asset {name}", covered=covered)


def note_warranties() -> None:
    with cluster().change() as change:
        settle(change)


@dataclass(frozen=True, kw_only=True)
class Settings:
    port: int = setting(0, "The port of this machine where who sends an asset's name is told its place. 0: none.")
    seconds: float = setting(3600.0, "How long it is from one look at all warranties to the next, in seconds.")


def answer(stopped: CancelFlag) -> None:
    with socket.create_server(("127.0.0.1", cluster().settings(Settings).port)) as desk:
        desk.settimeout(0.2)
        while not stopped.is_set():
            with suppress(OSError), desk.accept()[0] as line:  # nobody asks, or who asked is gone
                line.settimeout(5)
                name = line.recv(80).decode(errors="replace").strip()
                with cluster().read() as session:
                    place = session.scalar(sa.select(assets.c.place).where(assets.c.name == name))
                line.sendall(f"{name}: {'no such asset' if place is None else place}\n".encode())
