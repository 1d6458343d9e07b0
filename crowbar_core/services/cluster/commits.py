"""Committing noderoles: what was proposed becomes what is wanted, and work begins."""

from __future__ import annotations

from collections.abc import Collection

from crowbar_core.domain.attributes import missing
from crowbar_core.domain.states import PROPOSED
from crowbar_core.errors import InvalidTransition, NotFound, Refused
from crowbar_core.services.annealing.annealer import cancel
from crowbar_core.services.data.changes import peers_of, refresh_sysdata
from crowbar_core.services.data.layers import node_role_layers
from crowbar_core.services.data.questions import knows_data
from crowbar_core.services.data.views import deployment_view, node_role_views
from crowbar_core.services.turns.turn import Turn
from crowbar_core.services.values.drafts import note_first_values
from crowbar_core.store import bindings, moves, transitions
from crowbar_core.store.models import NodeRole, table

node_roles = table(NodeRole)
_OF_DEPLOYMENTS = ("check_commit", "on_deployment_commit", "on_commit")


def commit_in_turn(turn: Turn, ids: Collection[int]) -> list[int]:
    """Take those of these noderoles that are PROPOSED to TODO or BLOCKED, with their proposed data, and commit the
    drafts of the others. Returns the ids of the former. ``commit_hooks`` comes after it.
    """
    if not ids:
        return []
    note_first_values(turn, ids)
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
    if committed and knows_data(turn.registry):
        peers = peers_of(turn, committed)
        refresh_sysdata(turn, peers)
        for portion in moves.batched(committed, moves.PORTION):
            refresh_sysdata(turn, [ref for ref in portion if ref not in peers])
    return committed


def commit_hooks(turn: Turn, ids: Collection[int], *, deployment_id: int | None = None) -> None:
    """Let barclamps object to what was just committed, or take part in it: a deployment, and these noderoles. They see
    the committed values.
    """
    registry, session, store = turn.registry, turn.session, turn.store
    _refuse_missing(turn, ids)
    if deployment_id is not None and any(map(registry.listens, _OF_DEPLOYMENTS)):
        view = deployment_view(registry, session, store, deployment_id)
        if said := registry.objections("check_commit", deployment=view, session=session):
            raise Refused(" ".join(said))
        turn.veto("on_deployment_commit", deployment=view)
        for implementation in registry.implementations("on_commit"):
            if not implementation.roles:
                turn.veto_one(implementation, "on_commit", obj=view)
    if ids and registry.listens("on_commit"):
        for one in node_role_views(registry, session, store, ids).values():
            turn.veto("on_commit", of=one.role, obj=one)


def _refuse_missing(turn: Turn, ids: Collection[int]) -> None:
    """Refuse noderoles without a value that their roles must have and people set."""
    asking = {role for role, one in turn.registry.roles.items() if any(a.required for a in one.role.attributes)}
    if not asking or not ids:
        return
    layers = node_role_layers(turn.registry, turn.session, turn.store, ids)
    said = {
        ref: names
        for ref, one in layers.items()
        if one.role in asking and (names := missing(turn.registry.attributes_of(one.role), one.layers, writable=True))
    }
    if said:
        called = bindings.called(turn.session, turn.store, said, most=10)
        listed = "; ".join(f"{name} lacks {', '.join(said[ref])}" for ref, name in called.items())
        first = next(iter(called))
        node = called[first].partition(" on ")[2]
        raise Refused(
            f"Values that must be there are not: {listed}. Set them (crowbar attribs set {said[first][0]} VALUE --node "
            f"{node} --role {layers[first].role}; or with --deployment for all of one), then commit."
        )


def propose_in_turn(turn: Turn, node_role_id: int) -> None:
    """Take one noderole back to PROPOSED. Refused while it runs."""
    standing = moves.standing(turn.moves, [node_role_id])
    if node_role_id not in standing:
        raise NotFound(f"There is no noderole {node_role_id}.")
    cancel(turn, [node_role_id], "proposed again", queued_only=True)
    now_at = moves.standing(turn.moves, [node_role_id])[node_role_id]
    if now_at.state is PROPOSED:
        return
    if transitions.under_way(turn.moves, [node_role_id]):
        raise InvalidTransition(f"Noderole #{node_role_id} cannot be proposed: it has a run; cancel that first.")
    transitions.move(turn.moves, [now_at], PROPOSED, status="", rerun=False, not_before=None)
