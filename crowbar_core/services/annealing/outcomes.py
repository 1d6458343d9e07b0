"""Outcomes: what became of runs, and what that means for their noderoles.

``finish`` takes in outcomes, many in one transaction when many are there.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any, Literal

from crowbar_core.barclamp import Json
from crowbar_core.domain.attributes import missing
from crowbar_core.domain.states import ACTIVE, ERROR, TODO, TRANSITION, RunState
from crowbar_core.domain.steps import step_name
from crowbar_core.logs import log
from crowbar_core.services.annealing import fates
from crowbar_core.services.annealing.annealer import ANNEALER, change
from crowbar_core.services.data.changes import mark_stale, merge_walls
from crowbar_core.services.data.layers import node_role_layers
from crowbar_core.services.turns.parts import Parts
from crowbar_core.services.turns.turn import Actor, Turn
from crowbar_core.store import destructive, endings, leaving, moves, noderoles, steps, transitions
from crowbar_core.store.moves import Standing
from crowbar_core.store.open_runs import OpenRun, open_runs

MAX_STEPS = 1000
"""Steps that a run goes through at most: one that never ends is seen to fail."""

FIRST_DELAY, LONGEST_DELAY = 1.0, 300.0
"""Seconds until what is tried for ever is tried again: after its first failure, and at most."""
Kind = Literal["succeeded", "failed", "retry", "lost", "cancelled", "pending", "handed back"]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of a run. ``delay`` (retry) and ``deadline`` (pending) are in seconds from now.

    ``worker`` is who says so: it must still hold the run, as the ``taken``-th who took it on. None: the sweeper or the
    API says so. ``step`` (pending) is the one that it waits in.
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
    step: Json = None
    taken: int | None = None


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
        if (said := by_id[run.id]).kind == "succeeded" and said.wall and not run.teardown
    }
    refused = merge_walls(turn, walls)
    refused = _unreported(turn, [run for run in open_runs if by_id[run.id].kind == "succeeded"]) | refused
    if walls:  # what one reported may have sent another, whose run ends here too, back to work
        open_runs = _held_runs(turn, by_id)
    ended: list[tuple[OpenRun, Outcome]] = []
    for run in open_runs:
        said = by_id[run.id]
        if run.node_role_id in refused and said.kind == "succeeded":
            said = replace(said, kind="failed", reason=refused[run.node_role_id])
            if run.destructive and not run.refresh:  # what was done is done, whatever it said of it
                noderoles.note(turn.session, run.node_role_id, done=True)
        if said.kind == "pending" and run.state == RunState.RUNNING:
            if run.in_steps and steps.steps_of(turn.session, run.id) >= MAX_STEPS:
                ended.append((run, replace(said, kind="failed", reason=f"it has gone through {MAX_STEPS} steps")))
            else:
                _wait(turn, run, said)
        elif _goes_on(run, said):
            _go_on(turn, run, said)
        else:
            ended.append((run, said))
    _end_runs(turn, ended)
    _move_node_roles(turn, ended)
    turn.moves.ended_runs.extend(run.id for run, _ in ended)
    turn.moves.woken.update(run.node_id for run, _ in ended)
    return {run.id for run in open_runs}


def _unreported(turn: Turn, ended: Sequence[OpenRun]) -> dict[int, str]:
    """Noderole -> what it lacks, of those whose runs ended well and whose roles must have a value that is reported."""
    of_role = turn.registry.attributes_of
    asking = {role for role in {run.role for run in ended} if any(a.required and not a.writable for a in of_role(role))}
    ids = [run.node_role_id for run in ended if run.role in asking and not run.teardown]
    layers = node_role_layers(turn.registry, turn.session, turn.store, ids)
    lacking = {ref: missing(of_role(one.role), one.layers, writable=False) for ref, one in layers.items()}
    return {
        ref: f"it ended well, but has not reported what it must: {', '.join(names)}"
        for ref, names in lacking.items()
        if names
    }


def _recognise_late(turn: Turn, late: Sequence[Outcome]) -> None:
    """Of these outcomes, which nobody waits for any more, the success of destructive work still counts."""
    said = {one.run_id: one for one in late if one.kind == "succeeded" and one.once}
    if not said:
        return
    rows = destructive.late_successes(turn.session, turn.store, said, {one.once for one in said.values()})
    if rows:
        merge_walls(turn, {row.node_role_id: (said[row.id].wall, row.id) for row in rows if said[row.id].wall})
        fates.recognise(turn, [row.node_role_id for row in rows])


def _held_runs(turn: Turn, said: Mapping[int, Outcome]) -> list[OpenRun]:
    """The open runs among these, held by whoever says what became of them."""
    return [
        run
        for run in open_runs_of(turn, said)
        if said[run.id].worker in (None, run.worker) and said[run.id].taken in (None, run.taken)
    ]


def open_runs_of(turn: Turn, ids: Collection[int]) -> list[OpenRun]:
    return open_runs(turn.session, turn.store, ids)


def _wait(turn: Turn, run: OpenRun, said: Outcome) -> None:
    """The run goes on elsewhere. One in steps whose last try came to another step has all its attempts again."""
    step = run.step if said.step is None else said.step
    if step is not None and step != run.step:
        noderoles.note(turn.session, run.node_role_id, attempts=1)
    steps.wait(turn.session, turn.now, run.id, step=step, reason=said.reason, deadline=said.deadline)
    if run.woken and step is not None:  # what woke it may have come after it had looked
        turn.queued.append(run.id)


def _goes_on(run: OpenRun, said: Outcome) -> bool:
    """Whether a run in steps goes on at its last step, whatever became of the worker that was at it."""
    if run.pending or not run.in_steps or run.state != RunState.RUNNING:
        return False
    left = run.attempts < run.max_attempts or not (run.max_attempts or run.destructive)
    return said.kind == "handed back" or (said.kind in ("lost", "retry") and left)


def _go_on(turn: Turn, run: OpenRun, said: Outcome) -> None:
    name, why = step_name(run.step), said.reason or "its worker stopped"
    delay = said.delay if said.kind == "retry" else 0.0
    if said.kind != "handed back" and not run.max_attempts:
        delay = _ever_longer(run, said)
    steps.resume(turn.session, turn.now, run.id, delay=delay, reason=f"step {name} once more: {why}")
    log.info("a run goes on at its last step", run=run.id, step=name, why=why)
    if said.kind != "handed back":
        noderoles.note(turn.session, run.node_role_id, attempts=noderoles.NEXT_ATTEMPT)
    turn.delayed = turn.delayed or delay > 0
    if delay <= 0:
        turn.queued.append(run.id)


_RUN_STATE = {
    "succeeded": RunState.SUCCEEDED,
    "failed": RunState.FAILED,
    "retry": RunState.FAILED,
    "lost": RunState.LOST,
    "cancelled": RunState.CANCELLED,
    "handed back": RunState.CANCELLED,
    "pending": RunState.CANCELLED,  # it was being cancelled: nobody waits for it any more
}


def _end_runs(turn: Turn, ended: Sequence[tuple[OpenRun, Outcome]]) -> None:
    groups: dict[tuple[RunState, str], list[int]] = {}
    for run, said in ended:
        groups.setdefault((_RUN_STATE[said.kind], said.reason), []).append(run.id)
    for (state, reason), ids in groups.items():
        endings.end(turn.session, turn.store, turn.now, ids, state, reason)


def _move_node_roles(turn: Turn, ended: Sequence[tuple[OpenRun, Outcome]]) -> None:
    """What the outcomes mean for their noderoles. A run that was being cancelled means nothing for it any more."""
    done: list[OpenRun] = []
    failed: dict[str, list[OpenRun]] = {}
    again: dict[tuple[str, float, bool], list[OpenRun]] = {}
    for run, said in ended:
        if run.teardown:
            _tore_down(turn, run, said)
            continue
        once = run.destructive and not run.refresh
        if once and said.kind != "succeeded" and (said.unsure or said.kind == "lost" or run.pending or run.in_steps):
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
        elif not (run.max_attempts or run.destructive):
            again.setdefault((said.reason, _ever_longer(run, said), True), []).append(run)
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
    succeed(turn, done)
    for reason, group in failed.items():
        _fail(turn, [run for run in group if not run.refresh], reason)
    for (reason, delay, counts), group in again.items():
        _try_again(turn, group, reason, delay, counts)
    # A refresh that fails blocks its children, whose own runs may have ended here too: so these come last, one by one.
    for reason, group in failed.items():
        for run in group:
            if run.refresh and moves.standing(turn.moves, [run.node_role_id])[run.node_role_id].state is ACTIVE:
                _fail(turn, [run], reason)


def _ever_longer(run: OpenRun, said: Outcome) -> float:
    """Seconds until what is tried for ever is tried again; not longer each time where something changed meanwhile."""
    if run.rerun:
        return max(said.delay, FIRST_DELAY)
    return max(said.delay, min(FIRST_DELAY * 2.0 ** min(run.attempts - 1, 30), LONGEST_DELAY))


def _tore_down(turn: Turn, run: OpenRun, said: Outcome) -> None:
    """A run of kind teardown has ended: the noderole may go, is tried again, or is held with the reason."""
    if run.state == RunState.CANCELLING or said.kind in ("cancelled", "handed back"):
        _try_again(turn, [run], said.reason, 0.0, False)
    elif said.kind == "succeeded":
        leaving.torn_down(turn.session, turn.store, [run.node_role_id])
    elif not run.max_attempts or (said.kind in ("retry", "lost") and run.attempts < run.max_attempts):
        delay = said.delay if run.max_attempts else _ever_longer(run, said)
        _try_again(turn, [run], said.reason, delay, True)
    else:
        leaving.hold(turn.session, turn.now, run.node_role_id, f"its teardown failed: {said.reason}")


def _fail(turn: Turn, group: Sequence[OpenRun], reason: str) -> None:
    standing = [Standing(r.node_role_id, r.node_id, r.role_id, r.node_role_state) for r in group]
    transitions.move(
        turn.moves, standing, ERROR, broken=True, status=reason, rerun=False, run_count=noderoles.RUN_AGAIN
    )


def succeed(turn: Turn, done: Sequence[OpenRun]) -> None:
    ordinary = [run for run in done if not run.refresh]
    for once in (False, True):
        group = [run for run in ordinary if run.destructive == once]
        extra: dict[str, Any] = {"done": True, "halfway": False, "look_at": None} if once else {}
        transitions.move(
            turn.moves, [Standing(r.node_role_id, r.node_id, r.role_id, TRANSITION) for r in group], ACTIVE,
            attempts=0, status="", run_count=noderoles.RUN_AGAIN, **extra,
        )  # fmt: skip
    refreshed = [run.node_role_id for run in done if run.refresh]
    if refreshed:
        fresh: dict[str, Any] = {"attempts": 0, "status": "", "run_count": noderoles.RUN_AGAIN}
        noderoles.note_many(turn.session, turn.store, refreshed, **fresh)
        for run in done:
            if run.refresh:  # nothing has moved, but what it stands for is done anew
                subject = f"node_role {run.node_role_id}"
                turn.tell("on_active", subject, role=run.role, id=run.node_role_id, refresh=True)
    # Its input has changed since the run was made: once more.
    stale = [run.node_role_id for run in ordinary if run.rerun]
    if stale:
        noderoles.note_many(turn.session, turn.store, stale, rerun=False)
        mark_stale(turn, stale)


def _try_again(turn: Turn, group: Sequence[OpenRun], reason: str, delay: float, counts: bool) -> None:
    values: dict[str, Any] = {"status": reason, "not_before": turn.now + timedelta(seconds=delay) if delay else None}
    turn.delayed = turn.delayed or delay > 0
    if not counts:
        values["attempts"] = noderoles.ATTEMPT_BACK
    ordinary = [run for run in group if run.node_role_state is TRANSITION]
    transitions.move(
        turn.moves, [Standing(r.node_role_id, r.node_id, r.role_id, TRANSITION) for r in ordinary], TODO,
        rerun=False, **values,
    )  # fmt: skip
    if torn := [run.node_role_id for run in group if run.teardown]:
        noderoles.note_many(turn.session, turn.store, torn, **values)
    refreshes = [
        run.node_role_id for run in group if run.refresh and not run.teardown and run.node_role_state is ACTIVE
    ]
    if refreshes:
        noderoles.note_many(turn.session, turn.store, refreshes, rerun=True, **values)
