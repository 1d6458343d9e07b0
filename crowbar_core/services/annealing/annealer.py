"""The annealer: makes runs for what became runnable.

``change`` is how every service changes the cluster: the runs that the change made possible are made in its own
transaction, so progress waits for no timer.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from contextlib import AbstractContextManager

from crowbar_core.domain.states import ACTIVE, TODO, TRANSITION, State
from crowbar_core.services.annealing import fates
from crowbar_core.services.data.changes import refresh_sysdata
from crowbar_core.services.data.layers import run_inputs
from crowbar_core.services.data.made import make_values
from crowbar_core.services.data.questions import knows_data
from crowbar_core.services.turns.parts import Parts
from crowbar_core.services.turns.turn import HOOKS_OF_STATES, Actor, Turn, open_turn
from crowbar_core.store import absences, bindings, halting, moves, noderoles, totals, transitions
from crowbar_core.store import runs as store_runs
from crowbar_core.store.events import merge_into_waiting
from crowbar_core.store.moves import Standing
from crowbar_core.store.runs import Runnable

ANNEALER = Actor("annealer")
PORTION = 2000
"""How many nodes are given their next runs at a time."""


def change(parts: Parts, actor: Actor) -> AbstractContextManager[Turn]:
    """A change of the cluster: one transaction, at whose end runs are made for all that it made runnable."""
    return open_turn(parts, actor, settle)


def settle(turn: Turn) -> None:
    """Send back what waited for a run's end, make the runs that became possible, and the events for all that moved."""
    if noderoles.any_unsettled(turn.session):
        absences.come_back(turn.moves)
        transitions.go_back(turn.moves)
        turn.parts.carry_on(turn)
    schedule(turn, turn.moves.woken)
    totals.count_ended(turn.session, turn.store, turn.moves.ended_runs)
    _tell(turn)


# ---------------------------------------------------------------- making runs


def schedule(turn: Turn, node_ids: Collection[int]) -> None:
    """Make a run for the first runnable noderole of each of these nodes; destructive ones that are done are passed
    over.
    """
    todo = set(node_ids)
    while todo:
        turn.moves.woken -= todo
        for portion in moves.batched(todo, PORTION):
            _schedule_portion(turn, portion)
        # Passing over released others; what barclamps said of the new runs may have sent others back to work.
        todo = set(turn.moves.woken)


def _schedule_portion(turn: Turn, node_ids: Collection[int]) -> None:
    chosen = store_runs.first_runnable(turn.session, turn.store, turn.now, node_ids)
    once = [one for one in chosen if one.destructive and one.state == TODO and (one.done or one.halfway)]
    if once:
        _pass_over(turn, [one for one in once if one.done])
        fates.leave_halfway(
            turn, [one.id for one in once if not one.done], "fate unknown: it had begun, and its end was not seen"
        )
        chosen = [one for one in chosen if one not in once]
    _make_runs(turn, chosen)


def _pass_over(turn: Turn, done: Sequence[Runnable]) -> None:
    """Destructive work that has been done is not done again. Nobody is told, but of a success that is found out now."""
    for told in (True, False):
        transitions.move(
            turn.moves, [Standing(o.id, o.node_id, o.role_id, TODO) for o in done if o.halfway is not told], ACTIVE,
            silent=told, status="passed over: it has succeeded before", attempts=0, rerun=False, halfway=False,
            look_at=None,
        )  # fmt: skip


def _make_runs(turn: Turn, chosen: Sequence[Runnable]) -> None:
    if not chosen:
        return
    before = turn.moves.count
    make_values(turn, [(one.id, one.node_id, one.role) for one in chosen])
    asking = {role for role in {one.role for one in chosen} if knows_data(turn.registry, role)}
    refresh_sysdata(turn, [one.id for one in chosen if one.role in asking], quiet=True)
    if turn.moves.count > before:  # what one was given by these may have sent another of them back to work
        now_at = moves.standing(turn.moves, [one.id for one in chosen])
        turn.moves.woken.update(one.node_id for one in chosen if now_at[one.id].state != one.state)
        chosen = [one for one in chosen if now_at[one.id].state == one.state]
    inputs = run_inputs(turn.registry, turn.session, turn.store, [(one.id, one.node_id, one.role) for one in chosen])
    made = store_runs.make(turn.session, turn.store, turn.now, chosen, inputs)
    turn.queued.extend(made.values())
    ordinary = [one for one in chosen if one.id in made and one.state == TODO]
    turn.made.update((made[one.id], one.offered(made[one.id])) for one in ordinary)
    transitions.move(
        turn.moves, [Standing(o.id, o.node_id, o.role_id, TODO) for o in ordinary], TRANSITION,
        attempts=noderoles.NEXT_ATTEMPT, not_before=None, status="", rerun=False,
    )  # fmt: skip
    refreshes = [one.id for one in chosen if one.id in made and one.state != TODO]
    if refreshes:
        noderoles.note_many(turn.session, turn.store, refreshes, attempts=noderoles.NEXT_ATTEMPT, not_before=None)
    turn.moves.woken -= {one.node_id for one in chosen}


def cancel(turn: Turn, node_role_ids: Collection[int], reason: str, *, queued_only: bool = False) -> None:
    """Cancel the open runs of noderoles: those in TRANSITION go back to TODO or BLOCKED, those
    refreshing stay ACTIVE.
    """
    touched = halting.cancel_runs(turn.moves, node_role_ids, reason, queued_only=queued_only)
    standing = moves.standing(turn.moves, touched)
    transitions.send_back(
        turn.moves, [one.id for one in standing.values() if one.state is TRANSITION], status=reason, rerun=False,
        attempts=noderoles.ATTEMPT_BACK,
    )  # fmt: skip


# ---------------------------------------------------------------- telling


def _tell(turn: Turn) -> None:
    """Write the events for all that moved. Each noderole's last state is told once for each state it passed through."""
    registry = turn.registry
    if turn.moves.moved:
        names = bindings.role_names(turn.session, {moved.role_id for moved in turn.moves.moved})
        told: dict[tuple[State, int], bool] = {}
        for moved in turn.moves.moved:
            key, hook = (moved.to, moved.role_id), HOOKS_OF_STATES[moved.to]
            if key not in told:
                told[key] = bool(registry.implementations(hook, role=names.get(moved.role_id)))
            if told[key] and not moved.silent:
                turn.tell(hook, f"node_role {moved.node_role_id}", role=names.get(moved.role_id), id=moved.node_role_id)
    if registry.listens("on_run_finished"):
        for run_id in turn.moves.ended_runs:
            turn.tell("on_run_finished", f"run {run_id}", id=run_id)
    merged = [
        event
        for event in turn.events
        if event.hook == "on_node_change"
        and merge_into_waiting(turn.session, event.hook, event.subject, "changed", event.payload["changed"])
    ]
    turn.events = [event for event in turn.events if event not in merged]
