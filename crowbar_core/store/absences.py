"""Nodes that a run takes away and brings back: who stays as it is meanwhile, and what goes back to work afterwards."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import select, update

from crowbar_core.domain.states import ACTIVE, ERROR, RunState
from crowbar_core.store import transitions
from crowbar_core.store.flags import flag
from crowbar_core.store.models import Edge, NodeRole, RoleRow, Run, table
from crowbar_core.store.moves import Moves

node_roles, edges, roles, runs = table(NodeRole), table(Edge), table(RoleRow), table(Run)


@dataclass(frozen=True, slots=True)
class Absence:
    """What the death of a node does not touch. Empty: nothing on it had announced that."""

    runs: frozenset[int] = frozenset()
    node_roles: frozenset[int] = frozenset()


def go_away(moves: Moves, node_id: int) -> Absence:
    """A node dies. If a role that ``reboots`` is under way on it, its run stays, and so do its noderole and those above
    it on this node.
    """
    one = moves.session.execute(
        select(runs.c.id, runs.c.node_role_id)
        .join(node_roles, node_roles.c.id == runs.c.node_role_id)
        .join(roles, roles.c.id == node_roles.c.role_id)
        .where(runs.c.node_id == node_id, runs.c.state == str(RunState.RUNNING), roles.c.reboots)
    ).one_or_none()
    if one is None:
        return Absence()
    moves.session.execute(update(node_roles).where(node_roles.c.id == one.node_role_id).values(away=True))
    above = _above_on(moves, one.node_role_id, node_id)
    return Absence(frozenset((one.id,)), frozenset((one.node_role_id, *above)))


def come_back(moves: Moves) -> None:
    """Where a run that took its node away has ended, however it did, what is above it on the node goes back to work.

    Called at the end of every change, before ``transitions.go_back``; costs nothing when no run has ended.
    """
    if not moves.ended_runs:
        return
    for one in moves.session.execute(_BACK).all():
        moves.session.execute(update(node_roles).where(node_roles.c.id == one.id).values(away=False))
        above = moves.session.scalars(
            select(node_roles.c.id).where(
                moves.store.ids(node_roles.c.id, _above_on(moves, one.id, one.node_id)),
                node_roles.c.state.in_((int(ACTIVE), int(ERROR))),
                ~((node_roles.c.state == int(ERROR)) & node_roles.c.halfway),
            )
        ).all()
        transitions.send_back(
            moves, above, status="a run below it took the node away", attempts=0, not_before=None, rerun=False
        )
        moves.woken.add(one.node_id)


_BACK = select(node_roles.c.id, node_roles.c.node_id).where(
    flag(node_roles.c.away),
    ~select(runs.c.id)
    .where(runs.c.node_role_id == node_roles.c.id, runs.c.finished_at.is_(None))
    .correlate(node_roles)
    .exists(),
)


def _above_on(moves: Moves, node_role_id: int, node_id: int) -> list[int]:
    """The ancestors of a noderole that are bound to this node."""
    above = select(edges.c.parent_id.label("id")).where(edges.c.child_id == node_role_id).cte(recursive=True)
    above = above.union(select(edges.c.parent_id).join(above, edges.c.child_id == above.c.id))
    found = select(node_roles.c.id).where(node_roles.c.id.in_(select(above.c.id)), node_roles.c.node_id == node_id)
    return list(moves.session.scalars(found))
