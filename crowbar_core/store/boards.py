"""Counts, and grids of nodes and roles, as the pages show them: a constant number of statements each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import Label, and_, case, exists, false, func, or_, select
from sqlalchemy.orm import Session

from crowbar_core.domain.names import natural
from crowbar_core.domain.states import OPEN_RUN_STATES, RANKED, NodeState, RunState, State
from crowbar_core.store.listings.nodes import rank
from crowbar_core.store.models import (
    DeploymentRole,
    Node,
    NodeRole,
    RoleRow,
    Run,
)
from crowbar_core.store.node_pages import (
    NodeLine,
    node_lines,
    nodes_page,
)


@dataclass(frozen=True, kw_only=True)
class NodeCounts:
    states: Mapping[NodeState, int]
    total: int
    dead: int
    """Not alive, and not powered off by order."""
    unavailable: int


_is_off = and_(Node.switched_off, ~Node.alive)


def node_counts(session: Session) -> NodeCounts:
    """Nodes by state, without the deployments' system nodes."""
    ranks = (
        select(Node.id, Node.alive, Node.available, _is_off.label("is_off"), rank().label("rank"))
        .outerjoin(NodeRole, NodeRole.node_id == Node.id)
        .where(Node.system.is_(False))
        .group_by(Node.id, Node.alive, Node.alive_at, Node.available, Node.switched_off)
        .subquery()
    )
    each = (ranks.c.rank, ranks.c.alive, ranks.c.available, ranks.c.is_off)
    rows = session.execute(select(*each, func.count()).group_by(*each)).all()
    states: Counter[NodeState] = Counter()
    dead = unavailable = 0
    for highest, alive, available, is_off, count in rows:
        states[RANKED[highest]] += count
        dead += 0 if alive or is_off else count
        unavailable += 0 if available else count
    return NodeCounts(states=states, total=sum(states.values()), dead=dead, unavailable=unavailable)


def node_role_counts(session: Session, *, deployment_id: int | None = None) -> Mapping[State, int]:
    """Noderoles by state, of the whole cluster or of one deployment."""
    query = select(NodeRole.state, func.count()).group_by(NodeRole.state)
    if deployment_id is not None:
        query = query.where(NodeRole.deployment_id == deployment_id)
    return {State(state): count for state, count in session.execute(query)}


def open_run_counts(session: Session) -> Mapping[str, int]:
    query = select(Run.state, func.count()).where(Run.state.in_(OPEN_RUN_STATES)).group_by(Run.state)
    return dict(session.execute(query).all())


# ---------------------------------------------------------------- boards


@dataclass(frozen=True, kw_only=True)
class Column:
    """A role as a column of a grid."""

    role_id: int
    role: str
    cohort: int
    deployment_role_id: int | None = None


@dataclass(frozen=True, kw_only=True)
class Cell:
    id: int
    node_id: int
    role_id: int
    deployment_id: int
    state: State
    available: bool
    rerun: bool
    queued: bool
    run_count: int
    status: str


@dataclass(frozen=True, kw_only=True)
class Grid:
    nodes: Sequence[NodeLine]
    columns: Sequence[Column]
    cells: Mapping[tuple[int, int], Cell]
    more_after: str
    """The name to continue after; empty when this is all."""


def _queued() -> Label[bool]:
    """Whether a noderole in TRANSITION only waits for somebody to begin its run."""
    waits = exists().where(Run.node_role_id == NodeRole.id, Run.state == str(RunState.QUEUED)).correlate(NodeRole)
    return case((NodeRole.state == int(State.TRANSITION), waits), else_=false()).label("queued")


def _cells(session: Session, node_ids: Sequence[int]) -> tuple[dict[tuple[int, int], Cell], dict[int, int]]:
    cells: dict[tuple[int, int], Cell] = {}
    cohorts: dict[int, int] = {}
    if node_ids:
        query = select(
            NodeRole.id,
            NodeRole.node_id,
            NodeRole.role_id,
            NodeRole.deployment_id,
            NodeRole.state,
            NodeRole.available,
            NodeRole.rerun,
            _queued(),
            NodeRole.run_count,
            NodeRole.status,
            NodeRole.cohort,
        ).where(NodeRole.node_id.in_(node_ids))
        for row in session.execute(query):
            id_, node_id, role_id, deployment_id, state, available, rerun, waits, run_count, status, cohort = row
            cells[node_id, role_id] = Cell(
                id=id_,
                node_id=node_id,
                role_id=role_id,
                deployment_id=deployment_id,
                state=State(state),
                available=available,
                rerun=rerun,
                queued=bool(waits),
                run_count=run_count,
                status=status,
            )
            cohorts[role_id] = min(cohort, cohorts.get(role_id, cohort))
    return cells, cohorts


def _columns(session: Session, cohorts: Mapping[int, int], placed: Mapping[int, int]) -> list[Column]:
    wanted = set(cohorts) | set(placed)
    if not wanted:
        return []
    named = select(RoleRow.id, RoleRow.name).where(RoleRow.id.in_(wanted))
    names = dict(session.execute(named).all())
    columns = [
        Column(
            role_id=role_id, role=names[role_id], cohort=cohorts.get(role_id, 0), deployment_role_id=placed.get(role_id)
        )
        for role_id in wanted
    ]
    # A role that nothing runs yet comes last: its place in the order is not known before it is bound.
    return sorted(columns, key=lambda column: (column.cohort or 1_000_000, natural(column.role)))


def grid(
    session: Session, *, after: str = "", search: str = "", state: NodeState | None = None, limit: int = 500
) -> Grid:
    """Nodes x roles over the whole cluster, a page of nodes at a time; system nodes too, as work runs on them."""
    nodes = nodes_page(session, after=after, search=search, state=state, system=True, limit=limit + 1)
    more = nodes[limit - 1].name if len(nodes) > limit else ""
    nodes = nodes[:limit]
    cells, cohorts = _cells(session, [node.id for node in nodes])
    nodes = [node for node in nodes if not node.system or node.states]
    return Grid(nodes=nodes, columns=_columns(session, cohorts, {}), cells=cells, more_after=more)


def board(session: Session, deployment_id: int, *, after: str = "", limit: int = 200) -> Grid:
    """Nodes x roles of one deployment: nodes that live in it or carry its work, roles that were added to it."""
    carries = select(NodeRole.node_id).where(NodeRole.deployment_id == deployment_id)
    ids = select(Node.id).where(or_(Node.deployment_id == deployment_id, Node.id.in_(carries)))
    nodes = node_lines(session, where=(Node.id.in_(ids), Node.name_key > natural(after)), limit=limit + 1)
    more = nodes[limit - 1].name if len(nodes) > limit else ""
    nodes = nodes[:limit]
    cells, cohorts = _cells(session, [node.id for node in nodes])
    here = {cell.role_id for cell in cells.values() if cell.deployment_id == deployment_id}
    placed: dict[int, int] = {
        role_id: id_
        for id_, role_id in session.execute(
            select(DeploymentRole.id, DeploymentRole.role_id).where(DeploymentRole.deployment_id == deployment_id)
        )
    }
    columns = _columns(session, {role: cohort for role, cohort in cohorts.items() if role in here}, placed)
    nodes = [node for node in nodes if not node.system or any(cell.node_id == node.id for cell in cells.values())]
    return Grid(nodes=nodes, columns=columns, cells=cells, more_after=more)
