"""What follows for the work on a node when it dies, and when it lives again."""

from __future__ import annotations

from typing import Any

from sqlalchemy import select, update

from crowbar_core.domain.states import ACTIVE, ERROR, TRANSITION
from crowbar_core.services.annealing import fates
from crowbar_core.services.turns.parts import Turn, log
from crowbar_core.store import absences, halting, transitions
from crowbar_core.store.models import NodeRole, table

node_roles = table(NodeRole)


def follow_alive(turn: Turn, row: Any, alive: bool, reason: str) -> None:
    """A node (its row as it was) is alive or dead from now on: what this means for its noderoles and their descendants,
    wherever they are. A run that takes the node away itself stays, with what it rests upon there.
    """
    node_id = row.id
    log.info("node is alive" if alive else "node is dead", node=row.name, reason=reason)
    if not alive:
        staying = absences.go_away(turn.moves, node_id)
        halfway = [ref for ref in fates.under_way(turn, node_id) if ref not in staying.node_roles]
        halting.abandon_runs(turn.moves, node_id, f"the node died: {reason}", but=staying.runs)
        fates.leave_halfway(turn, halfway, f"fate unknown: the node died: {reason}")
        ids = turn.session.scalars(
            select(node_roles.c.id).where(
                node_roles.c.node_id == node_id,
                node_roles.c.state.in_([int(s) for s in (ERROR, ACTIVE, TRANSITION)]),
                ~((node_roles.c.state == int(ERROR)) & node_roles.c.halfway),
            )
        ).all()
        going = [ref for ref in ids if ref not in staying.node_roles]
        transitions.send_back(turn.moves, going, broken=True, status="", attempts=0, not_before=None, rerun=False)
        log.info("noderoles go back to work", node=row.name, count=len(going), staying=len(staying.node_roles))
    else:
        turn.session.execute(
            update(node_roles)
            .where(node_roles.c.node_id == node_id, node_roles.c.halfway, ~node_roles.c.done)
            .values(look_at=turn.now)
        )
