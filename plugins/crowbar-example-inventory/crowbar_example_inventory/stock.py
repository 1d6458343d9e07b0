"""Assets: their table, what one looks like, and changing them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import date
from typing import Any

from sqlalchemy import Boolean, Column, Date, Integer, String, Text, delete, insert, select, update

from crowbar_core import NodeView, NotFound, cluster
from crowbar_core.rest import NODES, Listing, field, fields, resolve
from crowbar_core.tables import Database

nodes = NODES.source
db = Database()
assets = db.Table(
    "inventory_assets",
    Column("id", Integer, primary_key=True),
    Column("name", String(64), nullable=False),
    Column("node_id", Integer),
    Column("place", Text, nullable=False),
    Column("warranty_until", Date),
    Column("covered", Boolean, nullable=False),
)

ASSETS = Listing(
    noun="asset",
    plural="assets",
    source=assets.outerjoin(nodes, nodes.c.id == assets.c.node_id),
    key=assets.c.id,
    name=assets.c.name,
    fields=(
        *fields(assets, "id", "name", "place", "node_id", filter=("name", "place", "node_id"), sort=("name",)),
        field(nodes.c.name, "node", filter=True, nullable=True, example="web1.rack2.example.com"),
        *fields(assets, "warranty_until", "covered", filter=("covered",)),
    ),
)


def values_of(given: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a body as columns: a node's name becomes its id. Raises ``BadInput`` when there is no such node."""
    values = dict(given)
    if values.get("node_id") is not None:
        values["node_id"] = resolve(NODES, values["node_id"], "node_id")
    return values


def create(given: Mapping[str, Any]) -> int:
    """Put an asset into the inventory; returns its id. A name that is there already is refused."""
    values = {"place": "", **values_of(given)}
    with cluster().change() as change:
        covered = _covered(values.get("warranty_until"), change.now.date())
        made: int = change.session.scalar(insert(assets).values(**values, covered=covered).returning(assets.c.id))
        change.audit("asset.create", f"asset {values['name']}")
    return made


def alter(key: int, given: Mapping[str, Any]) -> None:
    """Set these fields of an asset. Raises ``NotFound``."""
    values = values_of(given)
    with cluster().change() as change:
        change.audit("asset.change", f"asset {_called(change.session, key)}", fields=sorted(values))
        if "warranty_until" in values:
            values["covered"] = _covered(values["warranty_until"], change.now.date())
        if values:
            change.session.execute(update(assets).where(assets.c.id == key).values(**values))


def remove(key: int) -> None:
    with cluster().change() as change:
        change.audit("asset.delete", f"asset {_called(change.session, key)}")
        change.session.execute(delete(assets).where(assets.c.id == key))


def take_in(there: Iterable[NodeView]) -> None:
    """Make an asset of each machine that is none. Those whose node or name is known are left alone."""
    with cluster().change() as change:
        known = change.session.execute(select(assets.c.name, assets.c.node_id)).all()
        names, ids = {row.name for row in known}, {row.node_id for row in known}
        for node in there:
            name = f"node-{node.name.replace('.', '-')}"[:64]
            if not (node.system or node.id in ids or name in names):
                change.session.execute(insert(assets).values(name=name, node_id=node.id, place="", covered=True))
                change.audit("asset.create", f"asset {name}")
                names.add(name)


def note_expired() -> None:
    """Mark the assets whose warranty has ended. Called again and again: what is marked already is left alone."""
    with cluster().change() as change:
        ended = assets.c.warranty_until < change.now.date()
        marked = update(assets).where(assets.c.covered, ended).values(covered=False).returning(assets.c.name)
        for name in change.session.scalars(marked).all():
            change.audit("asset.expired", f"asset {name}")


def _covered(until: date | None, today: date) -> bool:
    return until is None or until >= today


def _called(session: Any, key: int) -> str:
    name: str | None = session.scalar(select(assets.c.name).where(assets.c.id == key))
    if name is None:
        raise NotFound(f"There is no asset {key}.")
    return name
