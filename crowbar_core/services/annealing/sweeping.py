"""Sweeping up: what a crash or a lost message left lying is found again."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import timedelta

from crowbar_core.services.annealing.annealer import PORTION, change
from crowbar_core.services.annealing.outcomes import Outcome, finish_in_turn
from crowbar_core.services.turns.parts import Actor, Parts, Turn, log
from crowbar_core.store import runs as store_runs


@dataclass(frozen=True, kw_only=True)
class Swept:
    """What a sweep found: runs that were lost, queued runs rung again, nodes that had work but no run."""

    lost: int = 0
    rung: int = 0
    woken: int = 0


def sweep(parts: Parts, *, dead_workers: Collection[str] = (), spare: bool = False, limit: int = 1000) -> Swept:
    """Find what a crash or a lost message left lying. ``dead_workers`` are known to be gone, whatever
    their leases say; ``spare`` the others even when their leases have ended: they could not renew them.
    """
    with parts.store.read() as session:
        now = parts.store.now(session)
        overdue = [(run_id, pending) for run_id, pending in store_runs.overdue(session, now) if pending or not spare]
        holders = store_runs.holders(session)
        unheard = store_runs.queued(session, limit, rung_before=now - timedelta(seconds=parts.settings.ring_seconds))
        idle = store_runs.idle_nodes_with_work(session, now, limit)
    outcomes = [
        Outcome(run_id=run_id, kind="failed", reason="nobody reported its end before its deadline")
        if pending
        else Outcome(run_id=run_id, kind="lost", reason="its worker gave no sign of life")
        for run_id, pending in overdue
    ]
    gone = {run_id: worker for worker in dead_workers for run_id in holders.get(worker, ())}
    for run_id in sorted(gone.keys() - {run_id for run_id, _ in overdue}):
        outcomes.append(Outcome(run_id=run_id, kind="lost", reason="its worker has died", worker=gone[run_id]))
    if not (outcomes or unheard or idle):
        return Swept()
    with change(parts, Actor("sweeper")) as turn:
        if outcomes:
            finish_in_turn(turn, _still_overdue(turn, outcomes, overdue))
        if unheard:
            store_runs.rung(turn.session, turn.store, turn.now, unheard)
            turn.queued.extend(store_runs.queued(turn.session, limit) if len(unheard) == limit else unheard)
        turn.moves.woken.update(idle)
    swept = Swept(lost=len(outcomes), rung=len(unheard), woken=len(idle))
    log.info("swept", lost=swept.lost, rung=swept.rung, woken=swept.woken)
    return swept


def try_delayed(parts: Parts) -> float | None:
    """Start what was to be tried again after a delay that is over now. Returns the seconds until the next is due."""
    with parts.store.read() as session:
        now = parts.store.now(session)
        due = store_runs.idle_nodes_with_work(session, now, PORTION, delayed=True)
        next_at = store_runs.next_retry_at(session, now)
    if due:
        with change(parts, Actor("sweeper")) as turn:
            turn.moves.woken.update(due)
    return None if next_at is None else (next_at - now).total_seconds()


def _still_overdue(turn: Turn, outcomes: Sequence[Outcome], overdue: Sequence[tuple[int, bool]]) -> list[Outcome]:
    """Without the runs whose lease was renewed between reading and writing."""
    now_overdue = {run_id for run_id, _ in store_runs.overdue(turn.session, turn.now)}
    renewed = {run_id for run_id, _ in overdue} - now_overdue
    return [one for one in outcomes if one.run_id not in renewed]
