"""Groups of nodes, and hammers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from crowbar_core.store.listing import Later, Listing
from crowbar_core.store.listings.fields import field, fields, of_node
from crowbar_core.store.models import (
    Group,
    HammerRow,
    Node,
    NodeGroup,
    table,
)

_nodes, _groups, _node_groups, _hammers = table(Node), table(Group), table(NodeGroup), table(HammerRow)


def _members(session: Session, ids: Sequence[int]) -> Mapping[int, Any]:
    rows = session.execute(
        select(_node_groups.c.group_id, func.count())
        .where(_node_groups.c.group_id.in_(ids))
        .group_by(_node_groups.c.group_id)
    )
    return dict(rows.all())


def _names(session: Session, ids: Sequence[int]) -> Mapping[int, Any]:
    rows = session.execute(
        select(_node_groups.c.group_id, _nodes.c.name)
        .join(_nodes, _nodes.c.id == _node_groups.c.node_id)
        .where(_node_groups.c.group_id.in_(ids))
        .order_by(_nodes.c.name_key)
    )
    found: dict[int, list[str]] = {}
    for group_id, name in rows:
        found.setdefault(group_id, []).append(name)
    return found


GROUPS: Final = Listing(
    noun="group",
    plural="groups",
    source=_groups,
    key=_groups.c.id,
    name=_groups.c.name,
    fields=fields(
        Group, "id", "name", "category", "description", filter=("name", "category"), sort=("name", "category")
    ),
    later=(
        Later(name="node_count", type=int, fetch=_members, missing=0, only_on_request=False),
        Later(
            name="nodes", type=list, fetch=_names, missing=[], example=["web1.rack2.example.com"], help="Who is in it."
        ),
    ),
)

HAMMERS: Final = Listing(
    noun="hammer",
    plural="hammers",
    source=_hammers.join(_nodes, _nodes.c.id == _hammers.c.node_id),
    key=_hammers.c.id,
    choices=of_node(_nodes.c.id, _nodes.c.name),
    fields=(
        *fields(HammerRow, "id", "node_id", filter=("node_id",)),
        field(_nodes.c.name, "node", filter=True, example="web1.rack2.example.com"),
        *fields(HammerRow, "name", "priority", filter=("name",), sort=("name", "priority")),
    ),
)
