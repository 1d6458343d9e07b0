"""The part of the cluster that has or may get work to do, as the pure functions see it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from sqlalchemy import ColumnElement, or_, select, true
from sqlalchemy.orm import Session

from crowbar_core.domain import annealing
from crowbar_core.domain.states import ACTIVE, BLOCKED, PROPOSED, TODO, RunState, State
from crowbar_core.store import runs as store_runs
from crowbar_core.store.db import Store
from crowbar_core.store.models import Deployment, Edge, Node, NodeRole, RoleRow, Run, table

nodes, node_roles, roles, edges, runs = table(Node), table(NodeRole), table(RoleRow), table(Edge), table(Run)
deployments = table(Deployment)

LOOKED_BELOW = 5
"""For so many noderoles in TODO it is asked which runs below them have to end first."""

_COLUMNS = (
    node_roles.c.id, node_roles.c.node_id, node_roles.c.deployment_id, roles.c.name.label("role"), node_roles.c.state,
    node_roles.c.cohort, node_roles.c.available, node_roles.c.rerun, node_roles.c.done, node_roles.c.halfway,
    node_roles.c.goes_back,
    node_roles.c.not_before, node_roles.c.status, node_roles.c.run_count, node_roles.c.held_by,
    node_roles.c.held_reason,
)  # fmt: skip


Missing = Callable[[str, str], str]
"""Says what a role (its name, its jig's) that is not ready lacks."""


def load(session: Session, store: Store, *, missing: Missing) -> annealing.Graph:
    """All that was committed and is not at rest, with what its going back would send back too. ACTIVE
    noderoles that nothing sends back are left out, and so are edges from them.
    """
    own_run = select(runs.c.node_role_id).where(runs.c.finished_at.is_(None))
    at_work = session.execute(
        select(*_COLUMNS)
        .join(roles, roles.c.id == node_roles.c.role_id)
        .where(
            or_(node_roles.c.state.not_in([int(ACTIVE), int(PROPOSED)]),
                (node_roles.c.state == int(PROPOSED)) & node_roles.c.committed,
                (node_roles.c.state == int(ACTIVE)) & node_roles.c.rerun,
                node_roles.c.goes_back, node_roles.c.id.in_(own_run))
        )
    ).all()  # fmt: skip
    found = {row.id: _node_role(row) for row in at_work}
    going = [ref for ref, one in found.items() if one.goes_back]
    if going:
        found.update({one.id: one for one in below(session, store, going)})
    counted, uncounted = _edges(session, store, found)
    return _graph(
        session, found, (*counted, *uncounted), uncounted, missing, nodes=true(), deployments=true(), roles=true(),
        runs=true(),
    )  # fmt: skip


def around(
    session: Session, store: Store, ids: Collection[int], *, missing: Missing, limit: int = 1000
) -> annealing.Graph:
    """As much of the picture as is needed to say why these noderoles wait: their ancestors that are in the way, what
    else has work to do on their nodes, and the runs that have to end before theirs.
    """
    parent, child = node_roles.alias("parent"), node_roles.alias("child")
    up = select(node_roles.c.id).where(store.ids(node_roles.c.id, ids)).cte("up", recursive=True)
    up = up.union(
        select(edges.c.parent_id)
        .join(up, edges.c.child_id == up.c.id)
        .join(child, child.c.id == edges.c.child_id)
        .join(parent, parent.c.id == edges.c.parent_id)
        .where(edges.c.counts, child.c.state == int(BLOCKED), parent.c.state != int(ACTIVE))
    )
    wanted = set(session.scalars(select(up.c.id).limit(limit))) | set(ids)
    has_work = or_(node_roles.c.state == int(TODO), node_roles.c.rerun)
    homes = select(node_roles.c.node_id).where(store.ids(node_roles.c.id, ids)).distinct()
    statement = select(*_COLUMNS).join(roles, roles.c.id == node_roles.c.role_id)
    rows = session.execute(
        statement.where(or_(store.ids(node_roles.c.id, wanted), has_work & node_roles.c.node_id.in_(homes)))
    ).all()
    found = {row.id: _node_role(row) for row in rows}
    first = [ref for ref in wanted if ref in found and found[ref].state is State.TODO]
    ends_first = [(ref, end) for ref in first[:LOOKED_BELOW] for end in session.scalars(store_runs.ends_first(ref))]
    others = {end for _, end in ends_first} - found.keys()
    found.update(
        {row.id: _node_role(row) for row in session.execute(statement.where(store.ids(node_roles.c.id, others)))}
    )
    counted, _ = _edges(session, store, found)
    on_nodes = {one.node_id for one in found.values()}
    places = {one.deployment_id for one in found.values()}
    named = {one.role for one in found.values()}
    return _graph(
        session, found, (*counted, *ends_first), set(ends_first) - set(counted), missing,
        nodes=store.ids(nodes.c.id, on_nodes), deployments=store.ids(deployments.c.id, places),
        roles=roles.c.name.in_(named), runs=store.ids(runs.c.node_id, on_nodes),
    )  # fmt: skip


def waiting(session: Session, most: int) -> list[Any]:
    """What is not ACTIVE and has no run, what has to move first at the top: (id, state, not_before, node, role)."""
    return list(
        session.execute(
            select(
                node_roles.c.id, node_roles.c.state, node_roles.c.not_before,
                nodes.c.name.label("node"), roles.c.name.label("role"),
            )
            .join(nodes, nodes.c.id == node_roles.c.node_id)
            .join(roles, roles.c.id == node_roles.c.role_id)
            .where(store_runs.waits())
            .order_by(
                node_roles.c.state == int(BLOCKED), node_roles.c.state, node_roles.c.cohort, node_roles.c.id
            )
            .limit(most)
        ).all()
    )  # fmt: skip


def _graph(
    session: Session, found: Mapping[int, annealing.NodeRole], links: tuple[tuple[int, int], ...],
    uncounted: Collection[tuple[int, int]], missing: Missing, **which: ColumnElement[bool],
) -> annealing.Graph:  # fmt: skip
    """The picture of these noderoles and edges, and of the nodes, deployments, roles and open runs ``which`` says."""
    of_nodes = select(nodes.c.id, nodes.c.name, nodes.c.alive, nodes.c.available, nodes.c.status)
    of_deployments = select(deployments.c.id, deployments.c.name, deployments.c.committed)
    of_roles = select(roles.c.name, roles.c.destructive, roles.c.on_change, roles.c.ready, roles.c.jig_name)
    return annealing.Graph(
        node_roles=found, edges=links, uncounted=frozenset(uncounted),
        nodes={
            row.id: annealing.Node(
                id=row.id, name=row.name, alive=row.alive, available=row.available, status=row.status
            )
            for row in session.execute(of_nodes.where(which["nodes"]))
        },
        deployments={
            row.id: annealing.Deployment(id=row.id, name=row.name, committed=row.committed)
            for row in session.execute(of_deployments.where(which["deployments"]))
        },
        roles={
            row.name: annealing.Role(
                name=row.name, destructive=row.destructive, on_change=row.on_change,
                missing="" if row.ready else missing(row.name, row.jig_name),
            )
            for row in session.execute(of_roles.where(which["roles"]))
        },
        runs=_open_runs(session, runs.c.finished_at.is_(None) & which["runs"]),
    )  # fmt: skip


def _open_runs(session: Session, which: ColumnElement[bool]) -> tuple[annealing.Run, ...]:
    rows = session.execute(
        select(
            runs.c.id, runs.c.node_id, runs.c.node_role_id, runs.c.state, runs.c.refresh, runs.c.pending,
            runs.c.exit_reason, runs.c.step.is_not(None).label("in_steps"),
        )
        .where(which)
        .order_by(runs.c.id)
    )  # fmt: skip
    return tuple(
        annealing.Run(
            id=row.id, node_id=row.node_id, node_role_id=row.node_role_id, state=RunState(row.state),
            refresh=row.refresh, pending=row.pending, in_steps=row.in_steps, exit_reason=row.exit_reason,
        )
        for row in rows
    )  # fmt: skip


def below(session: Session, store: Store, ids: Collection[int]) -> list[annealing.NodeRole]:
    """These noderoles and all their descendants that were committed."""
    down = select(node_roles.c.id).where(store.ids(node_roles.c.id, ids)).cte("down", recursive=True)
    down = down.union(
        select(edges.c.child_id).join(down, edges.c.parent_id == down.c.id).where(edges.c.counts)
    )  # fmt: skip
    rows = session.execute(
        select(*_COLUMNS)
        .join(roles, roles.c.id == node_roles.c.role_id)
        .where(node_roles.c.id.in_(select(down.c.id)), node_roles.c.committed)
    )
    return [_node_role(row) for row in rows]


def edges_among(session: Session, store: Store, ids: Collection[int]) -> list[tuple[int, int]]:
    """The edges that count between these noderoles."""
    return _edges(session, store, ids)[0]


def _edges(session: Session, store: Store, ids: Collection[int]) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """(those that count, the others), parent and child both among these noderoles."""
    known = set(ids)
    counted: list[tuple[int, int]] = []
    others: list[tuple[int, int]] = []
    statement = select(edges.c.parent_id, edges.c.child_id, edges.c.counts).where(store.ids(edges.c.child_id, known))
    for parent, child, counts in session.execute(statement):
        if parent in known:
            (counted if counts else others).append((parent, child))
    return counted, others


def _node_role(row: Any) -> annealing.NodeRole:
    return annealing.NodeRole(
        id=row.id, node_id=row.node_id, deployment_id=row.deployment_id, role=row.role, state=State(row.state),
        cohort=row.cohort, available=row.available, rerun=row.rerun, done=row.done, halfway=row.halfway,
        goes_back=row.goes_back, not_before=row.not_before, status=row.status, run_count=row.run_count,
        held_by=row.held_by, held_reason=row.held_reason,
    )  # fmt: skip
