"""Sweeping up: what a crash or a lost message left lying is found again."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta

from crowbar_core.logs import log
from crowbar_core.services.annealing.annealer import PORTION, change
from crowbar_core.services.annealing.outcomes import Outcome, finish_in_turn
from crowbar_core.services.turns.parts import Parts
from crowbar_core.services.turns.turn import Actor, Turn
from crowbar_core.store import leaving, steps
from crowbar_core.store import runs as store_runs
from crowbar_core.store.runs import Overdue


@dataclass(frozen=True, kw_only=True)
class Swept:
    """What a sweep found: runs that were lost, queued runs rung again; nodes that had work but no run, and steps whose
    time had come.
    """

    lost: int = 0
    rung: int = 0
    woken: int = 0


def sweep(parts: Parts, *, dead_workers: Collection[str] = (), spare: bool = False, limit: int = 1000) -> Swept:
    """Find what a crash or a lost message left lying. ``dead_workers`` are known to be gone, whatever
    their leases say; ``spare`` the others even when their leases have ended: they could not renew them.
    """
    with parts.store.read() as session:
        now = parts.store.now(session)
        overdue = [one for one in store_runs.overdue(session, now) if one.pending or not spare]
        holders = store_runs.holders(session)
        unheard = store_runs.queued(session, limit, rung_before=now - timedelta(seconds=parts.settings.ring_seconds))
        again = steps.is_due(session, now)
        idle = store_runs.idle_nodes_with_work(session, now, limit)
        idle += leaving.nodes_to_look_at(session, now)
    late = [one.id for one in overdue if one.pending and one.in_steps]
    outcomes = [
        Outcome(run_id=one.id, kind="failed", reason="nobody reported its end before its deadline")
        if one.pending
        else Outcome(run_id=one.id, kind="lost", reason="its worker gave no sign of life")
        for one in overdue
        if one.id not in late
    ]
    gone = {run_id: worker for worker in dead_workers for run_id in holders.get(worker, ())}
    for run_id in sorted(gone.keys() - {one.id for one in overdue}):
        outcomes.append(Outcome(run_id=run_id, kind="lost", reason="its worker has died", worker=gone[run_id]))
    if not (outcomes or late or again or unheard or idle):
        return Swept()
    with change(parts, Actor("sweeper")) as turn:
        called = steps.wake_due(turn.session, turn.store, turn.now, late) if late or again else []
        turn.queued.extend(called)
        if outcomes:
            outcomes = _still_overdue(turn, outcomes, overdue)
            finish_in_turn(turn, outcomes)
        if unheard:
            store_runs.rung(turn.session, turn.store, turn.now, unheard)
            turn.queued.extend(store_runs.queued(turn.session, limit) if len(unheard) == limit else unheard)
        turn.moves.woken.update(idle)
    swept = Swept(lost=len(outcomes), rung=len(unheard), woken=len(idle) + len(called))
    log.info("swept", lost=swept.lost, rung=swept.rung, woken=swept.woken)
    return swept


def try_delayed(parts: Parts) -> float | None:
    """Start what was to be tried again after a delay that is over now. Returns the seconds until the next is due."""
    with parts.store.read() as session:
        now = parts.store.now(session)
        due = store_runs.idle_nodes_with_work(session, now, PORTION, delayed=True)
        due += leaving.nodes_to_look_at(session, now)
        woken = steps.is_due(session, now)
        known = (store_runs.next_retry_at(session, now), None if woken else steps.next_at(session))
        next_at = min((at for at in known if at is not None), default=None)
    if due or woken:
        with change(parts, Actor("sweeper")) as turn:
            turn.moves.woken.update(due)
            turn.queued.extend(steps.wake_due(turn.session, turn.store, turn.now))
    return None if next_at is None else (next_at - now).total_seconds()


def _still_overdue(turn: Turn, outcomes: Sequence[Outcome], overdue: Sequence[Overdue]) -> list[Outcome]:
    """Without the runs whose lease was renewed between reading and writing."""
    now_overdue = {one.id for one in store_runs.overdue(turn.session, turn.now)}
    renewed = {one.id for one in overdue} - now_overdue
    return [one for one in outcomes if one.run_id not in renewed]
