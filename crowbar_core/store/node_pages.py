"""Nodes and noderoles as the pages show them, read by the listings of the API: a constant number of statements."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select
from sqlalchemy.orm import Session, aliased

from crowbar_core.domain.names import natural
from crowbar_core.domain.states import NodeState, RunState, State
from crowbar_core.store.listing import lines
from crowbar_core.store.listings.noderoles import NODE_ROLES
from crowbar_core.store.listings.nodes import NODES
from crowbar_core.store.models import (
    Edge,
    Group,
    HammerRow,
    Node,
    NodeGroup,
    NodeRole,
    table,
)

_nodes, _rows = table(Node), table(NodeRole)

# ---------------------------------------------------------------- nodes


@dataclass(frozen=True, kw_only=True)
class NodeLine:
    id: int
    name: str
    description: str
    admin: bool
    system: bool
    alive: bool
    switched_off: bool
    available: bool
    bootenv: str
    status: str
    alive_at: datetime | None
    deployment_id: int
    deployment: str
    state: NodeState
    groups: Sequence[str]
    states: Mapping[State, int] = field(default_factory=dict)


def nodes_page(
    session: Session,
    *,
    after: str = "",
    search: str = "",
    state: NodeState | None = None,
    deployment_id: int | None = None,
    alive: bool | None = None,
    available: bool | None = None,
    system: bool = False,
    group: str = "",
    limit: int = 100,
) -> list[NodeLine]:
    """Nodes by name, those after the name ``after``. ``search`` is a part of name or description, or a pattern of
    the name with * or ?; ``group`` is a group's name.
    """
    filters = _given(
        system=None if system else False,
        group=group or None,
        deployment_id=deployment_id,
        alive=alive,
        available=available,
        state=state,
    )
    where: list[ColumnElement[bool]] = [Node.name_key > natural(after)] if after else []
    if "*" in search or "?" in search:
        filters["match"] = search
    elif search:
        where.append(
            or_(
                func.lower(Node.name).contains(search.lower(), autoescape=True),
                func.lower(Node.description).contains(search.lower(), autoescape=True),
            )
        )
    return node_lines(session, filters=filters, where=where, limit=limit)


def _given(**values: object) -> dict[str, str]:
    """Filters as the API takes them, of what was asked for."""
    return {name: str(value) for name, value in values.items() if value is not None}


def node_lines(
    session: Session,
    *,
    filters: Mapping[str, str] | None = None,
    where: Sequence[ColumnElement[bool]],
    limit: int,
) -> list[NodeLine]:
    """Nodes by name, each with its noderoles by state."""
    found = lines(session, NODES, NodeLine, filters=filters, where=where, order=(_nodes.c.name_key,), limit=limit)
    states = states_of_nodes(session, [one.id for one in found])
    return [replace(one, states=states[one.id]) for one in found]


def group_names(session: Session, *, limit: int = 500) -> list[str]:
    """The names of groups, for choosing one."""
    query = select(Group.name).group_by(Group.name, Group.name_key).order_by(Group.name_key).limit(limit)
    return list(session.scalars(query))


def states_of_nodes(session: Session, node_ids: Sequence[int]) -> Mapping[int, Mapping[State, int]]:
    found: dict[int, dict[State, int]] = defaultdict(dict)
    if node_ids:
        query = (
            select(NodeRole.node_id, NodeRole.state, func.count())
            .where(NodeRole.node_id.in_(node_ids))
            .group_by(NodeRole.node_id, NodeRole.state)
        )
        for node_id, state, count in session.execute(query):
            found[node_id][State(state)] = count
    return found


@dataclass(frozen=True, kw_only=True)
class NodePage:
    id: int
    name: str
    description: str
    admin: bool
    system: bool
    alive: bool
    switched_off: bool
    available: bool
    allocated: bool
    bootenv: str
    status: str
    probed_at: datetime | None
    alive_at: datetime | None
    state: NodeState
    host_keys: Sequence[str]
    discovery: Mapping[str, Any]
    hint: Mapping[str, Any]
    deployment_id: int
    deployment: str
    created_at: datetime
    updated_at: datetime
    tags: Sequence[tuple[str, str]] = ()
    """Its groups: category and name."""
    hammers: Sequence[tuple[int, str, int]] = ()
    """Id, name, priority."""


def node_page(session: Session, node_id: int) -> NodePage | None:
    found = lines(session, NODES, NodePage, where=(_nodes.c.id == node_id,))
    if not found:
        return None
    tags = session.execute(
        select(Group.category, Group.name)
        .join(NodeGroup, NodeGroup.group_id == Group.id)
        .where(NodeGroup.node_id == node_id)
        .order_by(Group.category, Group.name_key)
    )
    hammers = session.execute(
        select(HammerRow.id, HammerRow.name, HammerRow.priority)
        .where(HammerRow.node_id == node_id)
        .order_by(HammerRow.priority.desc(), HammerRow.id)
    )
    return replace(found[0], tags=tags.all(), hammers=hammers.all())


def node_id_named(session: Session, name: str) -> int | None:
    return session.execute(select(Node.id).where(func.lower(Node.name) == name.lower())).scalar_one_or_none()


def node_names(session: Session, *, limit: int = 500) -> list[tuple[int, str]]:
    """For choosing one of them; beyond ``limit`` the name is typed."""
    query = select(Node.id, Node.name).where(Node.system.is_(False)).order_by(Node.name_key).limit(limit)
    return [(id_, name) for id_, name in session.execute(query)]


# ---------------------------------------------------------------- noderoles


@dataclass(frozen=True, kw_only=True)
class NodeRoleLine:
    id: int
    node_id: int
    node: str
    role_id: int
    role: str
    jig: str
    deployment_id: int
    deployment: str
    state: State
    cohort: int
    available: bool
    rerun: bool
    run_state: str | None
    held_by: str
    held_reason: str
    held_at: datetime | None
    blockers: int
    run_count: int
    status: str
    updated_at: datetime

    @property
    def queued(self) -> bool:
        """It has a run, and nobody has begun it."""
        return self.state == State.TRANSITION and self.run_state == RunState.QUEUED


def node_role_line(session: Session, node_role_id: int) -> NodeRoleLine | None:
    return next(iter(_node_roles(session, _rows.c.id == node_role_id)), None)


def node_roles_of_node(session: Session, node_id: int) -> list[NodeRoleLine]:
    return _node_roles(session, _rows.c.node_id == node_id)


def node_roles_page(
    session: Session,
    *,
    after: int = 0,
    state: State | None = None,
    node: str = "",
    role: str = "",
    role_id: int | None = None,
    deployment_id: int | None = None,
    limit: int = 100,
) -> list[NodeRoleLine]:
    """By id, those after ``after``. ``node`` is a node's name, its part before a dot, or a pattern of either."""
    filters = _given(
        state=state, match=node or None, role=role.lower() or None, role_id=role_id, deployment_id=deployment_id
    )
    return lines(session, NODE_ROLES, NodeRoleLine, filters=filters, where=(_rows.c.id > after,), limit=limit)


def parents(session: Session, node_role_id: int, *, limit: int = 200) -> list[NodeRoleLine]:
    above = select(Edge.parent_id).where(Edge.child_id == node_role_id)
    return _node_roles(session, _rows.c.id.in_(above), limit=limit)


def children(session: Session, node_role_id: int, *, limit: int = 200) -> list[NodeRoleLine]:
    below = select(Edge.child_id).where(Edge.parent_id == node_role_id)
    return _node_roles(session, _rows.c.id.in_(below), limit=limit)


def blocked_by(session: Session, node_role_id: int, *, limit: int = 200) -> list[NodeRoleLine]:
    """All that waits, directly or through others, for this noderole; nearest first."""
    waiting = aliased(NodeRole)
    reach = select(Edge.child_id.label("id")).where(Edge.parent_id == node_role_id).cte("reach", recursive=True)
    reach = reach.union(  # not union_all: in a graph with diamonds each noderole is visited once
        select(Edge.child_id)
        .join(reach, Edge.parent_id == reach.c.id)
        .join(waiting, and_(waiting.id == Edge.child_id, waiting.state == int(State.BLOCKED)))
    )
    blocked = _rows.c.state == int(State.BLOCKED)
    return _node_roles(session, _rows.c.id.in_(select(reach.c.id)), blocked, limit=limit)


def _node_roles(session: Session, *where: ColumnElement[bool], limit: int | None = None) -> list[NodeRoleLine]:
    """In the order in which the annealer works on them."""
    order = (_rows.c.cohort, _rows.c.id)
    return lines(session, NODE_ROLES, NodeRoleLine, where=where, order=order, limit=limit)
