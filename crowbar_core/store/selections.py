"""Which nodes are meant: by a group they are in, by a pattern of their names. For every list that has a node."""

from __future__ import annotations

from sqlalchemy import ColumnElement, func, or_, select

from crowbar_core.domain.names import pattern
from crowbar_core.errors import BadInput, FieldError
from crowbar_core.store.models import Group, NodeGroup, table

groups, members = table(Group), table(NodeGroup)


def in_group(node_id: ColumnElement[int], reference: str) -> ColumnElement[bool]:
    """Whether the node is in the group of this name or id. A group that does not exist has no nodes."""
    if not 0 < len(reference) <= 255 or "\x00" in reference:
        detail = "group is the name or the id of a group."
        raise BadInput(detail, errors=(FieldError(pointer="?group", detail=detail),))
    held = members.alias()
    same = func.lower(groups.c.name) == reference.lower()
    if reference.isascii() and reference.isdigit() and len(reference) < 10:
        same = groups.c.id == int(reference)
    return node_id.in_(select(held.c.node_id).join(groups, groups.c.id == held.c.group_id).where(same))


def named_like(name: ColumnElement[str], text: str) -> ColumnElement[bool]:
    """Whether a name, or its part before a dot, is like the pattern: ``web-*``, ``web-?.rack1.example.com``."""
    like = pattern(text, pointer="?match")
    lower = func.lower(name)
    return or_(lower.like(like, escape="\\"), lower.like(f"{like}.%", escape="\\"))
