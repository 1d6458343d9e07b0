"""The part of the cluster that has or may get work to do, as the pure functions see it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from functools import cache
from typing import Any

from sqlalchemy import Select, bindparam, or_, select
from sqlalchemy.orm import Session

from crowbar_core.domain import annealing
from crowbar_core.domain.states import ACTIVE, BLOCKED, PROPOSED, TODO, RunState, State
from crowbar_core.store import runs as store_runs
from crowbar_core.store.db import Store, ids_named
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


_Which = tuple[Select[Any], Select[Any], Select[Any], Select[Any]]
"""Statements for the nodes, deployments, roles and open runs of a picture."""

# Built once, as most statements below: building one costs more than the database needs to answer it.
_NODES = select(nodes.c.id, nodes.c.name, nodes.c.alive, nodes.c.available, nodes.c.status)
_DEPLOYMENTS = select(deployments.c.id, deployments.c.name, deployments.c.committed)
_ROLES = select(roles.c.name, roles.c.destructive, roles.c.on_change, roles.c.ready, roles.c.jig_name)
_OPEN_RUNS = (
    select(
        runs.c.id, runs.c.node_id, runs.c.node_role_id, runs.c.state, runs.c.refresh, runs.c.pending,
        runs.c.exit_reason, runs.c.step.is_not(None).label("in_steps"),
    )
    .where(runs.c.finished_at.is_(None))
    .order_by(runs.c.id)
)  # fmt: skip
_NODE_ROLES = select(*_COLUMNS).join(roles, roles.c.id == node_roles.c.role_id)
_AT_WORK = _NODE_ROLES.where(
    or_(node_roles.c.state.not_in([int(ACTIVE), int(PROPOSED)]),
        (node_roles.c.state == int(PROPOSED)) & node_roles.c.committed,
        (node_roles.c.state == int(ACTIVE)) & node_roles.c.rerun,
        node_roles.c.goes_back,
        node_roles.c.id.in_(select(runs.c.node_role_id).where(runs.c.finished_at.is_(None))))
)  # fmt: skip


def load(session: Session, store: Store, *, missing: Missing) -> annealing.Graph:
    """All that was committed and is not at rest, with what its going back would send back too. ACTIVE
    noderoles that nothing sends back are left out, and so are edges from them.
    """
    found = {row.id: _node_role(row) for row in session.execute(_AT_WORK)}
    going = [ref for ref, one in found.items() if one.goes_back]
    if going:
        found.update({one.id: one for one in below(session, store, going)})
    counted, uncounted = _edges(session, store, found)
    which = _NODES, _DEPLOYMENTS, _ROLES, _OPEN_RUNS
    return _graph(session, found, (*counted, *uncounted), uncounted, missing, which)


def around(
    session: Session, store: Store, ids: Collection[int], *, missing: Missing, limit: int = 1000
) -> annealing.Graph:
    """As much of the picture as is needed to say why these noderoles wait: their ancestors that are in the way, what
    else has work to do on their nodes, and the runs that have to end before theirs.
    """
    asked = {"ids": store.id_values(ids)}
    wanted = set(session.scalars(_up(store.postgresql), {**asked, "most": limit})) | set(ids)
    rows = session.execute(_with_work(store.postgresql), {**asked, "wanted": store.id_values(wanted)})
    found = {row.id: _node_role(row) for row in rows}
    first = [ref for ref in wanted if ref in found and found[ref].state is State.TODO]
    ends_first = [(ref, end) for ref in first[:LOOKED_BELOW] for end in store_runs.ends_first(session, ref)]
    others = {end for _, end in ends_first} - found.keys()
    if others:
        rows = session.execute(_just_these(store.postgresql), {"ids": store.id_values(others)})
        found.update({row.id: _node_role(row) for row in rows})
    counted, _ = _edges(session, store, found)
    which = {
        "on_nodes": store.id_values({one.node_id for one in found.values()}),
        "places": store.id_values({one.deployment_id for one in found.values()}),
        "named": sorted({one.role for one in found.values()}),
    }
    return _graph(
        session, found, (*counted, *ends_first), set(ends_first) - set(counted), missing,
        _what_is_around(store.postgresql), which,
    )  # fmt: skip


@cache
def _up(postgresql: bool) -> Select[Any]:
    parent, child = node_roles.alias("parent"), node_roles.alias("child")
    these = ids_named(node_roles.c.id, "ids", postgresql=postgresql)
    up = select(node_roles.c.id).where(these).cte("up", recursive=True)
    up = up.union(
        select(edges.c.parent_id)
        .join(up, edges.c.child_id == up.c.id)
        .join(child, child.c.id == edges.c.child_id)
        .join(parent, parent.c.id == edges.c.parent_id)
        .where(edges.c.counts, child.c.state == int(BLOCKED), parent.c.state != int(ACTIVE))
    )
    return select(up.c.id).limit(bindparam("most"))


@cache
def _with_work(postgresql: bool) -> Select[Any]:
    """The noderoles ``wanted``, and what else has work to do on the nodes of ``ids``."""
    these = ids_named(node_roles.c.id, "ids", postgresql=postgresql)
    homes = select(node_roles.c.node_id).where(these).distinct()
    has_work = or_(node_roles.c.state == int(TODO), node_roles.c.rerun)
    wanted = ids_named(node_roles.c.id, "wanted", postgresql=postgresql)
    return _NODE_ROLES.where(or_(wanted, has_work & node_roles.c.node_id.in_(homes)))


@cache
def _just_these(postgresql: bool) -> Select[Any]:
    return _NODE_ROLES.where(ids_named(node_roles.c.id, "ids", postgresql=postgresql))


@cache
def _what_is_around(postgresql: bool) -> _Which:
    return (
        _NODES.where(ids_named(nodes.c.id, "on_nodes", postgresql=postgresql)),
        _DEPLOYMENTS.where(ids_named(deployments.c.id, "places", postgresql=postgresql)),
        _ROLES.where(roles.c.name.in_(bindparam("named", expanding=True))),
        _OPEN_RUNS.where(ids_named(runs.c.node_id, "on_nodes", postgresql=postgresql)),
    )


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
    uncounted: Collection[tuple[int, int]], missing: Missing, which: _Which, given: Mapping[str, Any] | None = None,
) -> annealing.Graph:  # fmt: skip
    """The picture of these noderoles and edges, and of what the statements find with what they are ``given``."""
    of_nodes, of_deployments, of_roles, of_runs = (session.execute(one, given or {}) for one in which)
    return annealing.Graph(
        node_roles=found, edges=links, uncounted=frozenset(uncounted),
        nodes={
            row.id: annealing.Node(
                id=row.id, name=row.name, alive=row.alive, available=row.available, status=row.status
            )
            for row in of_nodes
        },
        deployments={
            row.id: annealing.Deployment(id=row.id, name=row.name, committed=row.committed) for row in of_deployments
        },
        roles={
            row.name: annealing.Role(
                name=row.name, destructive=row.destructive, on_change=row.on_change,
                missing="" if row.ready else missing(row.name, row.jig_name),
            )
            for row in of_roles
        },
        runs=tuple(
            annealing.Run(
                id=row.id, node_id=row.node_id, node_role_id=row.node_role_id, state=RunState(row.state),
                refresh=row.refresh, pending=row.pending, in_steps=row.in_steps, exit_reason=row.exit_reason,
            )
            for row in of_runs
        ),
    )  # fmt: skip


def below(session: Session, store: Store, ids: Collection[int]) -> list[annealing.NodeRole]:
    """These noderoles and all their descendants that were committed."""
    return [_node_role(row) for row in session.execute(_below(store.postgresql), {"ids": store.id_values(ids)})]


@cache
def _below(postgresql: bool) -> Select[Any]:
    these = ids_named(node_roles.c.id, "ids", postgresql=postgresql)
    down = select(node_roles.c.id).where(these).cte("down", recursive=True)
    down = down.union(
        select(edges.c.child_id).join(down, edges.c.parent_id == down.c.id).where(edges.c.counts)
    )  # fmt: skip
    return _NODE_ROLES.where(node_roles.c.id.in_(select(down.c.id)), node_roles.c.committed)


def edges_among(session: Session, store: Store, ids: Collection[int]) -> list[tuple[int, int]]:
    """The edges that count between these noderoles."""
    return _edges(session, store, ids)[0]


def _edges(session: Session, store: Store, ids: Collection[int]) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    """(those that count, the others), parent and child both among these noderoles."""
    known = set(ids)
    counted: list[tuple[int, int]] = []
    others: list[tuple[int, int]] = []
    if not known:
        return counted, others
    given = {"ids": store.id_values(known)}
    for parent, child, counts in session.execute(_edges_to(store.postgresql), given):
        if parent in known:
            (counted if counts else others).append((parent, child))
    return counted, others


@cache
def _edges_to(postgresql: bool) -> Select[Any]:
    statement = select(edges.c.parent_id, edges.c.child_id, edges.c.counts)
    return statement.where(ids_named(edges.c.child_id, "ids", postgresql=postgresql))


def _node_role(row: Any) -> annealing.NodeRole:
    return annealing.NodeRole(
        id=row.id, node_id=row.node_id, deployment_id=row.deployment_id, role=row.role, state=State(row.state),
        cohort=row.cohort, available=row.available, rerun=row.rerun, done=row.done, halfway=row.halfway,
        goes_back=row.goes_back, not_before=row.not_before, status=row.status, run_count=row.run_count,
        held_by=row.held_by, held_reason=row.held_reason,
    )  # fmt: skip
