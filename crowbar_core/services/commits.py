"""Committing noderoles: what was proposed becomes what is wanted, and work begins."""

from __future__ import annotations

from collections.abc import Collection

from crowbar_core.barclamp import DeploymentView
from crowbar_core.domain.states import ACTIVE, PROPOSED
from crowbar_core.errors import NotFound, Refused
from crowbar_core.services.annealer import cancel
from crowbar_core.services.changes import peers_of, refresh_sysdata
from crowbar_core.services.parts import Turn
from crowbar_core.services.views import node_role_views
from crowbar_core.store import transitions
from crowbar_core.store.models import NodeRole, table

node_roles = table(NodeRole)


def commit_in_turn(turn: Turn, ids: Collection[int]) -> list[int]:
    """Take those of these noderoles that are PROPOSED to TODO or BLOCKED, with their proposed data.
    Returns their ids.
    """
    if not ids:
        return []
    committed = transitions.commit_proposed(
        turn.moves,
        ids,
        committed_data=node_roles.c.proposed_data,
        attempts=0,
        not_before=None,
        status="",
        rerun=False,
        halfway=False,
        look_at=None,
    )
    if not committed:
        return []
    if turn.registry.listens("node_role_data"):
        peers = peers_of(turn, committed)
        refresh_sysdata(turn, peers)
        for portion in transitions.batched(committed, transitions.PORTION):
            refresh_sysdata(turn, [ref for ref in portion if ref not in peers])
    if turn.registry.listens("on_commit"):
        for view in node_role_views(turn.registry, turn.session, turn.store, committed).values():
            turn.registry.veto("on_commit", of=view.role, obj=view, session=turn.session)
    return committed


def commit_deployment_hooks(turn: Turn, view: DeploymentView) -> None:
    """Let barclamps object to the commit of a deployment, all objections shown together, or take part in it."""
    if said := turn.registry.objections("check_commit", deployment=view):
        raise Refused(" ".join(said))
    for implementation in turn.registry.implementations("on_commit"):
        if not implementation.roles:
            turn.registry.veto_one(implementation, "on_commit", obj=view, session=turn.session)


def propose_in_turn(turn: Turn, node_role_id: int) -> None:
    """Take one noderole back to PROPOSED. Refused while it runs."""
    standing = transitions.standing(turn.moves, [node_role_id])
    if node_role_id not in standing:
        raise NotFound(f"There is no noderole {node_role_id}.")
    cancel(turn, [node_role_id], "proposed again", queued_only=True)
    now_at = transitions.standing(turn.moves, [node_role_id])[node_role_id]
    if now_at.state is PROPOSED:
        return
    if now_at.state is ACTIVE:
        transitions.cancel_runs(turn.moves, [node_role_id], "proposed again")
    transitions.move(turn.moves, [now_at], PROPOSED, status="", rerun=False, not_before=None)
