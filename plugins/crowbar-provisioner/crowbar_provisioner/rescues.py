"""Rescues as they are kept: which nodes are to boot the discovery image, are in it, or are on their way back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete, insert, select, update

from crowbar_core import Change
from crowbar_core.tables import nodes
from crowbar_provisioner.tables import rescues

WANTED, IN, LEAVING = "wanted", "in", "leaving"


@dataclass(frozen=True, kw_only=True)
class Rescue:
    """``bootenv``, ``host_keys`` and ``available`` are the node's from before, and come back. ``served``: whether what
    it is to boot is served.
    """

    node_id: int
    state: str
    bootenv: str
    host_keys: Sequence[str]
    available: bool
    served: bool


def of_node(session: Any, node_id: int) -> Rescue | None:
    asked = (
        select(rescues, (nodes.c.bootenv == nodes.c.served_bootenv).label("served"))
        .join(nodes, nodes.c.id == rescues.c.node_id)
        .where(rescues.c.node_id == node_id)
    )
    row = session.execute(asked).first()
    return None if row is None else Rescue(**{name: getattr(row, name) for name in Rescue.__dataclass_fields__})


def is_leaving(session: Any, node_id: int) -> bool:
    found = of_node(session, node_id)
    return found is not None and found.state == LEAVING


def begin(change: Change, node_id: int, **values: Any) -> None:
    change.session.execute(insert(rescues).values(node_id=node_id, state=WANTED, since=change.now, **values))


def keep(change: Change, node_id: int, state: str) -> None:
    change.session.execute(update(rescues).where(rescues.c.node_id == node_id).values(state=state, since=change.now))


def forget(change: Change, node_id: int) -> None:
    change.session.execute(delete(rescues).where(rescues.c.node_id == node_id))
