"""What follows for the work on a node when it dies, and when it lives again."""

from __future__ import annotations

from typing import Any

from crowbar_core.logs import log
from crowbar_core.services.annealing import fates
from crowbar_core.services.turns.turn import Turn
from crowbar_core.store import absences, destructive, halting, noderoles, transitions


def follow_alive(turn: Turn, row: Any, alive: bool, reason: str) -> None:
    """A node (its row as it was) is alive or dead from now on: what this means for its noderoles and their descendants,
    wherever they are. A run that takes the node away itself stays, with what it rests upon there.
    """
    node_id = row.id
    log.info("node is alive" if alive else "node is dead", node=row.name, reason=reason)
    if not alive:
        staying = absences.go_away(turn.moves, node_id)
        halfway = [ref for ref in destructive.under_way(turn.session, node_id) if ref not in staying.node_roles]
        halting.abandon_runs(turn.moves, node_id, f"the node died: {reason}", but=staying.runs)
        fates.leave_halfway(turn, halfway, f"fate unknown: the node died: {reason}")
        ids = noderoles.lost_with_node(turn.session, node_id)
        going = [ref for ref in ids if ref not in staying.node_roles]
        transitions.send_back(turn.moves, going, broken=True, status="", attempts=0, not_before=None, rerun=False)
        log.info("noderoles go back to work", node=row.name, count=len(going), staying=len(staying.node_roles))
    else:
        destructive.look_on(turn.session, turn.now, node_id)
