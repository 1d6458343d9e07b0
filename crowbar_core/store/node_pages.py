"""Nodes and noderoles as the pages list and show them: explicit columns, a constant number of statements."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import Label, Select, and_, case, exists, false, func, or_, select
from sqlalchemy.orm import Session, aliased

from crowbar_core.domain.names import natural
from crowbar_core.domain.states import RANKED, NodeState, RunState, State, node_state
from crowbar_core.store.listings.nodes import rank_of_node
from crowbar_core.store.models import (
    Deployment,
    Edge,
    Group,
    HammerRow,
    Node,
    NodeGroup,
    NodeRole,
    RoleRow,
    Run,
    table,
)
from crowbar_core.store.selections import in_group, named_like

_nodes = table(Node)

# ---------------------------------------------------------------- nodes


@dataclass(frozen=True, kw_only=True)
class NodeLine:
    id: int
    name: str
    description: str
    admin: bool
    system: bool
    alive: bool
    available: bool
    bootenv: str
    status: str
    alive_at: datetime | None
    deployment_id: int
    deployment: str
    state: NodeState
    states: Mapping[State, int]
    groups: Sequence[str] = ()


def node_lines() -> Select[*tuple[Any, ...]]:
    """The columns of a ``NodeLine`` that are a node's own."""
    return select(
        Node.id,
        Node.name,
        Node.description,
        Node.admin,
        Node.system,
        Node.alive,
        Node.available,
        Node.bootenv,
        Node.status,
        Node.alive_at,
        Node.deployment_id,
        Deployment.name.label("deployment"),
    ).join(Deployment, Deployment.id == Node.deployment_id)


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
    query = node_lines().order_by(Node.name_key).limit(limit)
    if not system:
        query = query.where(Node.system.is_(False))
    if after:
        query = query.where(Node.name_key > natural(after))
    if group:
        query = query.where(in_group(_nodes.c.id, group))
    if "*" in search or "?" in search:
        query = query.where(named_like(_nodes.c.name, search))
    elif search:
        query = query.where(
            or_(
                func.lower(Node.name).contains(search.lower(), autoescape=True),
                func.lower(Node.description).contains(search.lower(), autoescape=True),
            )
        )
    if deployment_id is not None:
        query = query.where(Node.deployment_id == deployment_id)
    if alive is not None:
        query = query.where(Node.alive.is_(alive))
    if available is not None:
        query = query.where(Node.available.is_(available))
    if state is not None:
        query = query.where(rank_of_node() == RANKED.index(state))
    rows = session.execute(query).all()
    ids = [row.id for row in rows]
    states, groups = states_of_nodes(session, ids), groups_of_nodes(session, ids)
    return [replace(node_line(row, states[row.id]), groups=groups[row.id]) for row in rows]


def groups_of_nodes(session: Session, node_ids: Sequence[int]) -> Mapping[int, list[str]]:
    found: dict[int, list[str]] = defaultdict(list)
    if node_ids:
        query = (
            select(NodeGroup.node_id, Group.name)
            .join(Group, Group.id == NodeGroup.group_id)
            .where(NodeGroup.node_id.in_(node_ids))
            .order_by(Group.name_key)
        )
        for node_id, name in session.execute(query):
            found[node_id].append(name)
    return found


def group_names(session: Session, *, limit: int = 500) -> list[str]:
    """The names of groups, for choosing one."""
    query = select(Group.name).group_by(Group.name, Group.name_key).order_by(Group.name_key).limit(limit)
    return list(session.scalars(query))


def node_line(row: Any, states: Mapping[State, int]) -> NodeLine:
    """A row of ``node_lines``, with what its noderoles say."""
    state = node_state(states, alive=row.alive, was_alive=row.alive_at is not None)
    return NodeLine(**row._mapping, states=states, state=state)


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
    available: bool
    allocated: bool
    bootenv: str
    status: str
    probed_at: datetime | None
    alive_at: datetime | None
    host_keys: Sequence[str]
    discovery: Mapping[str, Any]
    hint: Mapping[str, Any]
    deployment_id: int
    deployment: str
    created_at: datetime
    updated_at: datetime
    groups: Sequence[tuple[str, str]]
    hammers: Sequence[tuple[int, str, int]]


def node_page(session: Session, node_id: int) -> NodePage | None:
    row = session.execute(
        select(
            Node.id,
            Node.name,
            Node.description,
            Node.admin,
            Node.system,
            Node.alive,
            Node.available,
            Node.allocated,
            Node.bootenv,
            Node.status,
            Node.probed_at,
            Node.alive_at,
            Node.host_keys,
            Node.discovery,
            Node.hint,
            Node.deployment_id,
            Deployment.name.label("deployment"),
            Node.created_at,
            Node.updated_at,
        )
        .join(Deployment, Deployment.id == Node.deployment_id)
        .where(Node.id == node_id)
    ).one_or_none()
    if row is None:
        return None
    groups = session.execute(
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
    return NodePage(**row._mapping, groups=groups.all(), hammers=hammers.all())


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
    queued: bool
    """It has a run, and nobody has begun it."""
    held_by: str
    held_reason: str
    held_at: datetime | None
    blockers: int
    run_count: int
    status: str
    updated_at: datetime


def queued() -> Label[bool]:
    """Whether a noderole in TRANSITION only waits for somebody to begin its run."""
    waits = exists().where(Run.node_role_id == NodeRole.id, Run.state == str(RunState.QUEUED)).correlate(NodeRole)
    return case((NodeRole.state == int(State.TRANSITION), waits), else_=false()).label("queued")


def _node_roles() -> Select[*tuple[Any, ...]]:
    return (
        select(
            NodeRole.id,
            NodeRole.node_id,
            Node.name.label("node"),
            NodeRole.role_id,
            RoleRow.name.label("role"),
            RoleRow.jig_name.label("jig"),
            NodeRole.deployment_id,
            Deployment.name.label("deployment"),
            NodeRole.state,
            NodeRole.cohort,
            NodeRole.available,
            NodeRole.rerun,
            queued(),
            NodeRole.held_by,
            NodeRole.held_reason,
            NodeRole.held_at,
            NodeRole.blockers,
            NodeRole.run_count,
            NodeRole.status,
            NodeRole.updated_at,
        )
        .join(Node, Node.id == NodeRole.node_id)
        .join(RoleRow, RoleRow.id == NodeRole.role_id)
        .join(Deployment, Deployment.id == NodeRole.deployment_id)
    )


def _node_role_lines(session: Session, query: Select[*tuple[Any, ...]]) -> list[NodeRoleLine]:
    return [
        NodeRoleLine(**{**row._mapping, "state": State(row.state), "queued": bool(row.queued)})
        for row in session.execute(query)
    ]


def node_role_line(session: Session, node_role_id: int) -> NodeRoleLine | None:
    found = _node_role_lines(session, _node_roles().where(NodeRole.id == node_role_id))
    return found[0] if found else None


def node_role_lines(session: Session, node_role_ids: Sequence[int]) -> list[NodeRoleLine]:
    return _node_role_lines(
        session, _node_roles().where(NodeRole.id.in_(node_role_ids)).order_by(NodeRole.cohort, NodeRole.id)
    )


def node_roles_of_node(session: Session, node_id: int) -> list[NodeRoleLine]:
    """In the order in which the annealer works on them."""
    return _node_role_lines(
        session, _node_roles().where(NodeRole.node_id == node_id).order_by(NodeRole.cohort, NodeRole.id)
    )


def node_roles_page(
    session: Session,
    *,
    after: int = 0,
    state: State | None = None,
    role_id: int | None = None,
    deployment_id: int | None = None,
    limit: int = 100,
) -> list[NodeRoleLine]:
    query = _node_roles().where(NodeRole.id > after).order_by(NodeRole.id).limit(limit)
    if state is not None:
        query = query.where(NodeRole.state == int(state))
    if role_id is not None:
        query = query.where(NodeRole.role_id == role_id)
    if deployment_id is not None:
        query = query.where(NodeRole.deployment_id == deployment_id)
    return _node_role_lines(session, query)


def parents(session: Session, node_role_id: int, *, limit: int = 200) -> list[NodeRoleLine]:
    query = (
        _node_roles()
        .join(Edge, Edge.parent_id == NodeRole.id)
        .where(Edge.child_id == node_role_id)
        .order_by(NodeRole.cohort, NodeRole.id)
        .limit(limit)
    )
    return _node_role_lines(session, query)


def children(session: Session, node_role_id: int, *, limit: int = 200) -> list[NodeRoleLine]:
    query = (
        _node_roles()
        .join(Edge, Edge.child_id == NodeRole.id)
        .where(Edge.parent_id == node_role_id)
        .order_by(NodeRole.cohort, NodeRole.id)
        .limit(limit)
    )
    return _node_role_lines(session, query)


def blocked_by(session: Session, node_role_id: int, *, limit: int = 200) -> list[NodeRoleLine]:
    """All that waits, directly or through others, for this noderole; nearest first."""
    waiting = aliased(NodeRole)
    reach = select(Edge.child_id.label("id")).where(Edge.parent_id == node_role_id).cte("reach", recursive=True)
    reach = reach.union(  # not union_all: in a graph with diamonds each noderole is visited once
        select(Edge.child_id)
        .join(reach, Edge.parent_id == reach.c.id)
        .join(waiting, and_(waiting.id == Edge.child_id, waiting.state == int(State.BLOCKED)))
    )
    query = (
        _node_roles()
        .where(NodeRole.id.in_(select(reach.c.id)), NodeRole.state == int(State.BLOCKED))
        .order_by(NodeRole.cohort, NodeRole.id)
        .limit(limit)
    )
    return _node_role_lines(session, query)
