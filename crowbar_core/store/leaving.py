"""What is being taken off its node: marked, and gone when its role has torn down there what it had made."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from typing import Any

from sqlalchemy import and_, exists, insert, or_, select, update
from sqlalchemy.orm import Session

from crowbar_core.domain.states import OPEN_RUN_STATES, RunState, State
from crowbar_core.store.db import Store
from crowbar_core.store.flags import flag
from crowbar_core.store.models import Deployment, Edge, Node, NodeRole, RoleRow, Run, table

nodes, node_roles, roles, edges, runs = table(Node), table(NodeRole), table(RoleRow), table(Edge), table(Run)
deployments = table(Deployment)
_OPEN = tuple(str(state) for state in OPEN_RUN_STATES)


def with_roles(session: Session, store: Store, ids: Collection[int]) -> list[Any]:
    """(id, node_id, node, alive, role, jig_name, deployment, cohort, has_run, leaving) of noderoles, the highest cohort
    first.
    """
    has_run = or_(
        node_roles.c.run_count > 0,
        exists().where(runs.c.node_role_id == node_roles.c.id, runs.c.started_at.is_not(None)),
    )
    return list(
        session.execute(
            select(
                node_roles.c.id, node_roles.c.node_id, nodes.c.name.label("node"), nodes.c.alive,
                roles.c.name.label("role"), roles.c.jig_name, roles.c.destructive,
                deployments.c.name.label("deployment"),
                node_roles.c.cohort, has_run.label("has_run"), node_roles.c.leaving,
            )
            .join(nodes, nodes.c.id == node_roles.c.node_id)
            .join(roles, roles.c.id == node_roles.c.role_id)
            .join(deployments, deployments.c.id == node_roles.c.deployment_id)
            .where(store.ids(node_roles.c.id, ids))
            .order_by(node_roles.c.cohort.desc(), node_roles.c.id.desc())
        ).all()
    )  # fmt: skip


def mark(session: Session, store: Store, ids: Collection[int], *, leaving: bool = True) -> None:
    """Mark noderoles as leaving, or take that back."""
    session.execute(
        update(node_roles)
        .where(store.ids(node_roles.c.id, ids))
        .values(leaving=leaving, torn_down=False, attempts=0, not_before=None)
    )


_CHILD, _CHILD_ROLE = node_roles.alias(), roles.alias()
_NEXT = (
    select(
        node_roles.c.id, node_roles.c.node_id, roles.c.name.label("role"), roles.c.jig_name, node_roles.c.torn_down,
        node_roles.c.attempts, node_roles.c.available, node_roles.c.not_before, nodes.c.alive,
        nodes.c.available.label("node_available"), nodes.c.leaving.label("node_leaving"),
        exists().where(runs.c.node_id == node_roles.c.node_id, runs.c.state.in_(_OPEN)).label("busy"),
    )
    .join(nodes, nodes.c.id == node_roles.c.node_id)
    .join(roles, roles.c.id == node_roles.c.role_id)
    .where(
        flag(node_roles.c.leaving),
        ~exists()
        .where(edges.c.parent_id == node_roles.c.id, _CHILD.c.id == edges.c.child_id, _CHILD.c.leaving)
        .correlate(node_roles),
    )
    .order_by(node_roles.c.cohort.desc(), node_roles.c.id.desc())
)  # fmt: skip


# Asked first: without it, SQLite goes through all nodes to find that none of their noderoles leaves.
_ANY = select(exists().where(flag(node_roles.c.leaving)))


def next_to_go(session: Session) -> list[Any]:
    """What leaves and has no child that leaves with it: it may go, or be torn down, now. One look at an index that is
    almost always empty.
    """
    return list(session.execute(_NEXT).all()) if session.scalar(_ANY) else []


def emptied_nodes(session: Session) -> list[int]:
    """Nodes that leave and have nothing bound to them any more."""
    bound = exists().where(node_roles.c.node_id == nodes.c.id)
    return list(session.scalars(select(nodes.c.id).where(nodes.c.leaving, ~bound)))


def may_begin(row: Any, now: datetime) -> bool:
    """Whether a row of ``next_to_go`` may be torn down now."""
    due = row.not_before is None or row.not_before <= now
    return bool(not row.busy and row.available and row.alive and (row.node_available or row.node_leaving) and due)


def make_run(session: Session, now: datetime, row: Any, data: Mapping[str, Any]) -> int:
    """Queue the run of kind teardown. Returns its id."""
    session.execute(update(node_roles).where(node_roles.c.id == row.id).values(attempts=node_roles.c.attempts + 1))
    made: int = session.scalars(
        insert(runs)
        .values(
            node_role_id=row.id, node_id=row.node_id, state=str(RunState.QUEUED), refresh=True, teardown=True,
            attempt=row.attempts + 1, input=dict(data), queued_at=now, rung_at=now,
        )
        .returning(runs.c.id)
    ).one()  # fmt: skip
    return made


def torn_down(session: Session, store: Store, ids: Collection[int]) -> None:
    session.execute(update(node_roles).where(store.ids(node_roles.c.id, ids)).values(torn_down=True))


def hold(session: Session, now: datetime, node_role_id: int, reason: str) -> None:
    """A teardown failed: it is held until an operator releases it, or does without."""
    session.execute(
        update(node_roles)
        .where(node_roles.c.id == node_role_id)
        .values(available=False, held_by="crowbar", held_reason=reason, held_at=now, attempts=0)
    )


def staying(session: Session, store: Store, ids: Collection[int]) -> list[Any]:
    """Those of these that leave, with their ancestors that do, as (id, begun): whether a teardown of it has begun."""
    found: dict[int, Any] = {}
    frontier = set(ids)
    begun = exists().where(runs.c.node_role_id == node_roles.c.id, runs.c.teardown, runs.c.started_at.is_not(None))
    while frontier:
        rows = session.execute(
            select(node_roles.c.id, begun.label("begun")).where(
                store.ids(node_roles.c.id, frontier), node_roles.c.leaving
            )
        ).all()
        found |= {row.id: row for row in rows}
        above = session.scalars(select(edges.c.parent_id).where(store.ids(edges.c.child_id, [row.id for row in rows])))
        frontier = set(above) - found.keys()
    return list(found.values())


def active(session: Session, store: Store, ids: Collection[int]) -> list[int]:
    """Those of these that are ACTIVE."""
    found = select(node_roles.c.id).where(store.ids(node_roles.c.id, ids), node_roles.c.state == int(State.ACTIVE))
    return list(session.scalars(found))


def under_way(session: Session, store: Store, ids: Collection[int]) -> int | None:
    """A run of kind teardown of one of these that somebody carries out."""
    return session.scalar(
        select(runs.c.id).where(
            and_(store.ids(runs.c.node_role_id, ids), runs.c.teardown),
            runs.c.state.in_([str(RunState.RUNNING), str(RunState.CANCELLING)]),
        )
    )


def why(session: Session, node_role_id: int) -> Any | None:
    """(node, alive, available, held_by, held_reason, first) of a noderole that leaves: ``first`` is a child of it that
    has to go before. None when it does not leave.
    """
    first = (
        select(_CHILD_ROLE.c.name)
        .join(_CHILD, _CHILD.c.role_id == _CHILD_ROLE.c.id)
        .join(edges, edges.c.child_id == _CHILD.c.id)
        .where(edges.c.parent_id == node_roles.c.id, _CHILD.c.leaving)
        .limit(1)
        .correlate(node_roles)
        .scalar_subquery()
    )
    return session.execute(
        select(
            nodes.c.name.label("node"), nodes.c.alive, node_roles.c.available, node_roles.c.held_by,
            node_roles.c.held_reason, first.label("first"),
        )
        .join(nodes, nodes.c.id == node_roles.c.node_id)
        .where(node_roles.c.id == node_role_id, node_roles.c.leaving)
    ).one_or_none()  # fmt: skip


def nodes_to_look_at(session: Session, now: datetime) -> list[int]:
    """Nodes on which something that leaves may be torn down now."""
    return sorted({row.node_id for row in next_to_go(session) if may_begin(row, now)})
