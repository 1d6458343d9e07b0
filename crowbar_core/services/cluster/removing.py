"""Removing noderoles: the end of each, whatever led to it."""

from __future__ import annotations

from collections.abc import Collection

from crowbar_core.errors import Refused
from crowbar_core.services.annealing.annealer import cancel
from crowbar_core.services.data.changes import mark_stale, peers_of, refresh_sysdata
from crowbar_core.services.data.views import node_role_views
from crowbar_core.services.turns.turn import Turn
from crowbar_core.store import bindings, transitions


def refuse_running(turn: Turn, ids: Collection[int]) -> list[int]:
    """Refuse while one of these noderoles has a run that must first be stopped on its node; that run is told to stop.
    Returns those with other open runs.
    """
    busy = bindings.open_runs(turn.session, turn.store, ids)
    # What waits to be reported is held by no worker; but what it destroys goes on all the same.
    held = [row for row in busy if row.state != "queued" and (row.destructive or not row.pending)]
    if held:
        named = bindings.called(turn.session, turn.store, [row.node_role_id for row in held], most=10)
        names = ", ".join(named.values())
        raise Refused(
            f"{names} is running just now (run {held[0].id}). Cancel that run and wait for its end, then try again."
        )
    return [row.node_role_id for row in busy]


def remove_in_turn(turn: Turn, ids: Collection[int]) -> None:
    """Remove noderoles. Refused while one of them has a run that must first be stopped on its node; that run is told to
    stop.
    """
    if not ids:
        return
    busy = refuse_running(turn, ids)
    cancel(turn, busy, "unbound")
    if turn.registry.listens("on_node_unbind"):
        views = node_role_views(turn.registry, turn.session, turn.store, ids)
        for view in reversed(views.values()):
            turn.veto("on_node_unbind", of=view.role, node_role=view)
    peers = peers_of(turn, ids) - set(ids)
    wanting = bindings.wanting(turn.session, turn.store, ids)
    if turn.notes is not None:
        turn.notes.gone.extend(bindings.called(turn.session, turn.store, ids).values())
    transitions.remove(turn.moves, ids)
    gone = set(ids)
    turn.moves.moved[:] = [moved for moved in turn.moves.moved if moved.node_role_id not in gone]
    refresh_sysdata(turn, peers)
    mark_stale(turn, wanting - gone)
