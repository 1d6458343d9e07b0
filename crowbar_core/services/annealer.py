"""The annealer: makes runs for what became runnable, takes in their outcomes, finds again what was left lying.

``change`` is how every service changes the cluster: the runs that the change made possible are made in its own
transaction, so progress waits for no timer. ``finish`` takes in outcomes, many in one transaction when many are there.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Literal

from sqlalchemy import case, select, update

from crowbar_core.barclamp import Json
from crowbar_core.domain.states import ACTIVE, ERROR, TODO, TRANSITION, RunState, State
from crowbar_core.services import fates
from crowbar_core.services.changes import mark_stale, merge_walls, refresh_sysdata
from crowbar_core.services.layers import run_inputs
from crowbar_core.services.parts import HOOKS_OF_STATES, Actor, Parts, Turn, log, open_turn
from crowbar_core.store import runs as store_runs
from crowbar_core.store import totals, transitions
from crowbar_core.store.events import merge_into_waiting
from crowbar_core.store.models import NodeRole, RoleRow, Run, table
from crowbar_core.store.runs import Runnable
from crowbar_core.store.transitions import Standing

node_roles, roles, runs = table(NodeRole), table(RoleRow), table(Run)

ANNEALER = Actor("annealer")
PORTION = 2000
"""How many nodes are given their next runs at a time."""
Kind = Literal["succeeded", "failed", "retry", "lost", "cancelled", "pending", "handed back"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a run. ``delay`` (retry) and ``deadline`` (pending) are in seconds from now.

    ``worker`` is who says so: it must still hold the run. None: the sweeper or the API says so.
    ``retry`` and ``lost`` count against the role's attempts; ``handed back`` does not. ``unsure``: it had begun, and by
    this its end is not known to be good. ``once`` is the token under which destructive work was done.
    """

    run_id: int
    kind: Kind
    reason: str = ""
    wall: Mapping[str, Json] = field(default_factory=dict)
    delay: float = 0.0
    deadline: float = 0.0
    worker: str | None = None
    unsure: bool = False
    once: str = ""


def change(parts: Parts, actor: Actor) -> AbstractContextManager[Turn]:
    """A change of the cluster: one transaction, at whose end runs are made for all that it made runnable."""
    return open_turn(parts, actor, settle)


def settle(turn: Turn) -> None:
    """Send back what waited for a run's end, make the runs that became possible, and the events for all that moved."""
    transitions.go_back(turn.moves)
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
        for portion in transitions.batched(todo, PORTION):
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
    asking = {
        role for role in {one.role for one in chosen} if turn.registry.implementations("node_role_data", role=role)
    }
    refresh_sysdata(turn, [one.id for one in chosen if one.role in asking], quiet=True)
    if turn.moves.count > before:  # what barclamps said of one may have sent another of these back to work
        now_at = transitions.standing(turn.moves, [one.id for one in chosen])
        turn.moves.woken.update(one.node_id for one in chosen if now_at[one.id].state != one.state)
        chosen = [one for one in chosen if now_at[one.id].state == one.state]
    inputs = run_inputs(turn.registry, turn.session, turn.store, [(one.id, one.node_id, one.role) for one in chosen])
    made = store_runs.make(turn.session, turn.store, turn.now, chosen, inputs)
    turn.queued.extend(made.values())
    ordinary = [one for one in chosen if one.id in made and one.state == TODO]
    transitions.move(
        turn.moves, [Standing(o.id, o.node_id, o.role_id, TODO) for o in ordinary], TRANSITION,
        attempts=node_roles.c.attempts + 1, not_before=None, status="", rerun=False,
    )  # fmt: skip
    refreshes = [one.id for one in chosen if one.id in made and one.state != TODO]
    if refreshes:
        turn.session.execute(
            update(node_roles)
            .where(turn.store.ids(node_roles.c.id, refreshes))
            .values(attempts=node_roles.c.attempts + 1, not_before=None)
        )
    turn.moves.woken -= {one.node_id for one in chosen}


# ---------------------------------------------------------------- ending runs


@dataclass(frozen=True, slots=True)
class _OpenRun:
    id: int
    node_role_id: int
    node_id: int
    state: str
    refresh: bool
    pending: bool
    worker: str
    role_id: int
    role: str
    jig: str
    node_role_state: State
    rerun: bool
    attempts: int
    max_attempts: int
    destructive: bool
    on_change: str
    goes_back: bool


def finish(parts: Parts, outcomes: Sequence[Outcome], actor: Actor | None = None) -> set[int]:
    """Take in outcomes, all in one transaction. Returns the runs that ended (or began to wait) by this; others had
    ended before.
    """
    with change(parts, actor or ANNEALER) as turn:
        return finish_in_turn(turn, outcomes)


def finish_in_turn(turn: Turn, outcomes: Sequence[Outcome]) -> set[int]:
    """Take in outcomes of open runs. An outcome for a run that has ended, or that another worker holds, changes
    nothing.
    """
    by_id = {one.run_id: one for one in outcomes}
    open_runs = _held_runs(turn, by_id)
    late = by_id.keys() - {run.id for run in open_runs}
    for run_id in late:
        log.info("outcome of a run that has ended is passed over", run=run_id, outcome=by_id[run_id].kind)
    _recognise_late(turn, [by_id[run_id] for run_id in late])
    walls = {
        run.node_role_id: (said.wall, run.id)
        for run in open_runs
        if (said := by_id[run.id]).kind == "succeeded" and said.wall
    }
    refused = merge_walls(turn, walls)
    if walls:  # what one reported may have sent another, whose run ends here too, back to work
        open_runs = _held_runs(turn, by_id)
    ended: list[tuple[_OpenRun, Outcome]] = []
    for run in open_runs:
        said = by_id[run.id]
        if run.node_role_id in refused and said.kind == "succeeded":
            said = replace(said, kind="failed", reason=refused[run.node_role_id])
            if run.destructive and not run.refresh:  # what was done is done, whatever it said of it
                turn.session.execute(update(node_roles).where(node_roles.c.id == run.node_role_id).values(done=True))
        if said.kind == "pending" and run.state == RunState.RUNNING:
            _wait(turn, run, said)
        else:
            ended.append((run, said))
    _end_runs(turn, ended)
    _move_node_roles(turn, ended)
    turn.moves.ended_runs.extend(run.id for run, _ in ended)
    turn.moves.woken.update(run.node_id for run, _ in ended)
    return {run.id for run in open_runs}


def _recognise_late(turn: Turn, late: Sequence[Outcome]) -> None:
    """Of these outcomes, which nobody waits for any more, the success of destructive work still counts."""
    said = {one.run_id: one for one in late if one.kind == "succeeded" and one.once}
    if not said:
        return
    rows = turn.session.execute(
        select(runs.c.id, runs.c.node_role_id)
        .join(node_roles, node_roles.c.id == runs.c.node_role_id)
        .where(
            turn.store.ids(runs.c.id, said), runs.c.finished_at.is_not(None), ~runs.c.refresh,
            node_roles.c.once.in_({one.once for one in said.values()}), ~node_roles.c.done,
        )
    ).all()  # fmt: skip
    if rows:
        merge_walls(turn, {row.node_role_id: (said[row.id].wall, row.id) for row in rows if said[row.id].wall})
        fates.recognise(turn, [row.node_role_id for row in rows])


def _held_runs(turn: Turn, said: Mapping[int, Outcome]) -> list[_OpenRun]:
    """The open runs among these, held by whoever says what became of them."""
    return [run for run in _open_runs(turn, said) if said[run.id].worker in (None, run.worker)]


def _open_runs(turn: Turn, ids: Collection[int]) -> list[_OpenRun]:
    rows = turn.session.execute(
        select(
            runs.c.id, runs.c.node_role_id, runs.c.node_id, runs.c.state, runs.c.refresh, runs.c.pending, runs.c.worker,
            node_roles.c.role_id, roles.c.name, roles.c.jig_name, node_roles.c.state.label("node_role_state"),
            node_roles.c.rerun, node_roles.c.attempts, roles.c.max_attempts, roles.c.destructive, roles.c.on_change,
            node_roles.c.goes_back,
        )
        .join(node_roles, node_roles.c.id == runs.c.node_role_id)
        .join(roles, roles.c.id == node_roles.c.role_id)
        .where(turn.store.ids(runs.c.id, ids), runs.c.finished_at.is_(None))
        .order_by(runs.c.id)
    ).all()  # fmt: skip
    return [
        _OpenRun(
            r.id, r.node_role_id, r.node_id, r.state, r.refresh, r.pending, r.worker, r.role_id, r.name,
            r.jig_name, State(r.node_role_state), r.rerun, r.attempts, r.max_attempts, r.destructive, r.on_change,
            r.goes_back,
        )
        for r in rows
    ]  # fmt: skip


def _wait(turn: Turn, run: _OpenRun, said: Outcome) -> None:
    """The run goes on elsewhere: nobody holds it until it is ended through the API, or its deadline passes."""
    turn.session.execute(
        update(runs)
        .where(runs.c.id == run.id)
        .values(
            pending=True, worker="", lease_until=None, exit_reason=said.reason or "waiting to be reported",
            deadline=turn.now + timedelta(seconds=said.deadline),
        )
    )  # fmt: skip


_RUN_STATE = {
    "succeeded": RunState.SUCCEEDED,
    "failed": RunState.FAILED,
    "retry": RunState.FAILED,
    "lost": RunState.LOST,
    "cancelled": RunState.CANCELLED,
    "handed back": RunState.CANCELLED,
    "pending": RunState.CANCELLED,  # it was being cancelled: nobody waits for it any more
}


def _end_runs(turn: Turn, ended: Sequence[tuple[_OpenRun, Outcome]]) -> None:
    groups: dict[tuple[RunState, str], list[int]] = {}
    for run, said in ended:
        groups.setdefault((_RUN_STATE[said.kind], said.reason), []).append(run.id)
    for (state, reason), ids in groups.items():
        # A run that was being cancelled keeps the reason for which it was.
        kept = case((runs.c.state == str(RunState.CANCELLING), runs.c.exit_reason), else_=reason)
        turn.session.execute(
            update(runs)
            .where(turn.store.ids(runs.c.id, ids), runs.c.finished_at.is_(None))
            .values(
                state=str(state), finished_at=turn.now, pending=False, lease_until=None, deadline=None,
                exit_reason=kept if state is RunState.CANCELLED else reason,
            )
        )  # fmt: skip


def _move_node_roles(turn: Turn, ended: Sequence[tuple[_OpenRun, Outcome]]) -> None:
    """What the outcomes mean for their noderoles. A run that was being cancelled means nothing for it any more."""
    done: list[_OpenRun] = []
    failed: dict[str, list[_OpenRun]] = {}
    again: dict[tuple[str, float, bool], list[_OpenRun]] = {}
    for run, said in ended:
        once = run.destructive and not run.refresh
        if once and said.kind != "succeeded" and (said.unsure or said.kind == "lost" or run.pending):
            reason = said.reason or "it was cut off"
            fates.leave_halfway(
                turn, [run.node_role_id], reason if said.kind == "failed" else f"fate unknown: {reason}"
            )
        elif run.state == RunState.CANCELLING:
            if said.kind == "succeeded" and once:
                fates.recognise(turn, [run.node_role_id])
            if run.refresh and run.node_role_state is ACTIVE:
                again.setdefault((said.reason, 0.0, False), []).append(run)
        elif said.kind == "succeeded":
            done.append(run)
        elif said.kind in ("cancelled", "handed back"):
            again.setdefault(("", 0.0, False), []).append(run)
        elif said.kind == "failed" and run.goes_back and not run.destructive:
            again.setdefault((said.reason, 0.0, True), []).append(run)  # it runs again anyway, from what holds by then
        elif said.kind == "failed":
            failed.setdefault(said.reason, []).append(run)
        elif said.kind == "lost" and run.destructive:
            failed.setdefault(f"fate unknown: {said.reason}", []).append(run)
        elif run.attempts >= run.max_attempts:
            failed.setdefault(f"gave up after {run.attempts} attempts: {said.reason}", []).append(run)
        else:
            again.setdefault((said.reason, said.delay, True), []).append(run)
    _succeed(turn, done)
    for reason, group in failed.items():
        _fail(turn, [run for run in group if not run.refresh], reason)
    for (reason, delay, counts), group in again.items():
        _try_again(turn, group, reason, delay, counts)
    # A refresh that fails blocks its children, whose own runs may have ended here too: so these come last, one by one.
    for reason, group in failed.items():
        for run in group:
            if run.refresh and transitions.standing(turn.moves, [run.node_role_id])[run.node_role_id].state is ACTIVE:
                _fail(turn, [run], reason)


def _fail(turn: Turn, group: Sequence[_OpenRun], reason: str) -> None:
    standing = [Standing(r.node_role_id, r.node_id, r.role_id, r.node_role_state) for r in group]
    transitions.move(
        turn.moves, standing, ERROR, broken=True, status=reason, rerun=False, run_count=node_roles.c.run_count + 1
    )


def _succeed(turn: Turn, done: Sequence[_OpenRun]) -> None:
    ordinary = [run for run in done if not run.refresh]
    for destructive in (False, True):
        group = [run for run in ordinary if run.destructive == destructive]
        extra: dict[str, Any] = {"done": True, "halfway": False, "look_at": None} if destructive else {}
        transitions.move(
            turn.moves, [Standing(r.node_role_id, r.node_id, r.role_id, TRANSITION) for r in group], ACTIVE,
            attempts=0, status="", run_count=node_roles.c.run_count + 1, **extra,
        )  # fmt: skip
    refreshed = [run.node_role_id for run in done if run.refresh]
    if refreshed:
        turn.session.execute(
            update(node_roles)
            .where(turn.store.ids(node_roles.c.id, refreshed))
            .values(attempts=0, status="", run_count=node_roles.c.run_count + 1)
        )
        for run in done:
            if run.refresh:  # nothing has moved, but what it stands for is done anew
                subject = f"node_role {run.node_role_id}"
                turn.tell("on_active", subject, role=run.role, id=run.node_role_id, refresh=True)
    # Its input has changed since the run was made: once more.
    stale = [run.node_role_id for run in ordinary if run.rerun]
    if stale:
        turn.session.execute(update(node_roles).where(turn.store.ids(node_roles.c.id, stale)).values(rerun=False))
        mark_stale(turn, stale)


def _try_again(turn: Turn, group: Sequence[_OpenRun], reason: str, delay: float, counts: bool) -> None:
    values: dict[str, Any] = {"status": reason, "not_before": turn.now + timedelta(seconds=delay) if delay else None}
    turn.delayed = turn.delayed or delay > 0
    if not counts:
        values["attempts"] = case((node_roles.c.attempts > 0, node_roles.c.attempts - 1), else_=0)
    ordinary = [run for run in group if run.node_role_state is TRANSITION]
    transitions.move(
        turn.moves, [Standing(r.node_role_id, r.node_id, r.role_id, TRANSITION) for r in ordinary], TODO,
        rerun=False, **values,
    )  # fmt: skip
    refreshes = [run.node_role_id for run in group if run.refresh and run.node_role_state is ACTIVE]
    if refreshes:
        turn.session.execute(
            update(node_roles).where(turn.store.ids(node_roles.c.id, refreshes)).values(rerun=True, **values)
        )


def cancel(turn: Turn, node_role_ids: Collection[int], reason: str, *, queued_only: bool = False) -> None:
    """Cancel the open runs of noderoles: those in TRANSITION go back to TODO or BLOCKED, those
    refreshing stay ACTIVE.
    """
    touched = transitions.cancel_runs(turn.moves, node_role_ids, reason, queued_only=queued_only)
    standing = transitions.standing(turn.moves, touched)
    transitions.send_back(
        turn.moves, [one.id for one in standing.values() if one.state is TRANSITION], status=reason, rerun=False,
        attempts=case((node_roles.c.attempts > 0, node_roles.c.attempts - 1), else_=0),
    )  # fmt: skip


# ---------------------------------------------------------------- claiming


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of queued runs that were offered to a worker. The others have ended, or somebody else has them."""

    held: Sequence[int] = ()
    """It holds them now and is to carry them out."""
    left: Sequence[int] = ()
    """There was no room for them: they are still queued."""


def claim(parts: Parts, run_ids: Collection[int], worker: str) -> Sequence[int]:
    """Take queued runs for ``worker``, whatever their jigs. Returns those it now holds."""
    return take_on(parts, run_ids, worker, room=len(run_ids)).held


def take_on(
    parts: Parts, run_ids: Collection[int], worker: str, *, room: int, passes: Callable[[str], bool] = lambda jig: False
) -> Taken:
    """Take at most ``room`` of these runs for ``worker``, and end those whose jig ``passes``, all in one transaction.

    Input that has changed since a run was made is taken afresh.
    """
    with change(parts, ANNEALER) as turn:
        queued = [run for run in _open_runs(turn, run_ids) if run.state == RunState.QUEUED]
        passing = [run for run in queued if passes(run.jig)]
        over = {run.id for run in passing}
        others = [run for run in queued if run.id not in over]
        _renew_inputs(turn, [run for run in (*passing, *others[:room]) if run.rerun])
        _pass_through(turn, passing, worker)
        held = [run.id for run in others[:room]]
        if held:
            store_runs.claim(turn.session, turn.store, turn.now, held, worker, parts.settings.lease_seconds)
    return Taken(held, [run.id for run in others[room:]])


def _renew_inputs(turn: Turn, stale: Sequence[_OpenRun]) -> None:
    if not stale:
        return
    fresh = run_inputs(
        turn.registry, turn.session, turn.store, [(run.node_role_id, run.node_id, run.role) for run in stale]
    )
    for run in stale:
        turn.session.execute(update(runs).where(runs.c.id == run.id).values(input=fresh.get(run.node_role_id, {})))
    refs = [run.node_role_id for run in stale]
    turn.session.execute(update(node_roles).where(turn.store.ids(node_roles.c.id, refs)).values(rerun=False))


def _pass_through(turn: Turn, passing: Sequence[_OpenRun], worker: str) -> None:
    """Nobody could see these runs run: they succeed at once."""
    if not passing:
        return
    ids = [run.id for run in passing]
    turn.session.execute(
        update(runs)
        .where(turn.store.ids(runs.c.id, ids))
        .values(state=str(RunState.SUCCEEDED), worker=worker, started_at=turn.now, finished_at=turn.now)
    )
    _succeed(turn, [replace(run, rerun=False) if run.rerun else run for run in passing])
    turn.moves.ended_runs.extend(ids)
    turn.moves.woken.update(run.node_id for run in passing)


# ---------------------------------------------------------------- sweeping up


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


# ---------------------------------------------------------------- telling


def _tell(turn: Turn) -> None:
    """Write the events for all that moved. Each noderole's last state is told once for each state it passed through."""
    registry = turn.registry
    if turn.moves.moved:
        names = dict(turn.session.execute(select(roles.c.id, roles.c.name)).all())
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
