"""What an operator does to noderoles and runs: retry, hold, cancel, ask why."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from crowbar_core.barclamp import Json
from crowbar_core.domain import annealing
from crowbar_core.domain.annealing import Reason
from crowbar_core.domain.attributes import check_report_size
from crowbar_core.domain.names import some
from crowbar_core.domain.states import (
    ACTIVE,
    BLOCKED,
    ERROR,
    OPEN_RUN_STATES,
    PROPOSED,
    TODO,
    TRANSITION,
    RunState,
    State,
)
from crowbar_core.errors import InvalidTransition, NotFound, Refused, or_missing
from crowbar_core.services.annealing.annealer import cancel, change
from crowbar_core.services.annealing.outcomes import Outcome, finish_in_turn
from crowbar_core.services.cluster.commits import commit_hooks, commit_in_turn, propose_in_turn
from crowbar_core.services.data.changes import refresh_soon, rerun_now, try_failed
from crowbar_core.services.data.views import node_row
from crowbar_core.services.turns.parts import Parts
from crowbar_core.services.turns.turn import Actor, Turn
from crowbar_core.services.values.drafts import commit_of_node_roles
from crowbar_core.store import (
    bindings,
    destructive,
    halting,
    holds,
    leaving,
    moves,
    node_work,
    noderoles,
    pictures,
    refreshing,
    runs,
    steps,
    transitions,
)

MAX_BLAME = 5
"""How many reasons the sentence that answers "why?" names, and how many roles each of them."""
MAX_REASONS = 50
MAX_ROLES = 500


@dataclass(frozen=True, kw_only=True)
class Why:
    """Why something is not running: one sentence, and each reason with its code and its subject."""

    summary: str
    reasons: tuple[Reason, ...]


# ---------------------------------------------------------------- noderoles


def retry(parts: Parts, actor: Actor, node_role_id: int) -> None:
    """Try a noderole in ERROR again; one that waits for a delayed retry is tried at once. Refused in
    any other state.

    This is the operator's word by which destructive work whose fate is unknown is begun again.
    """
    with change(parts, actor) as turn:
        row = _node_role(turn.session, node_role_id)
        if row.state not in (ERROR, TODO, BLOCKED):
            raise InvalidTransition(
                f"{_name(row)} is {State(row.state).name}: only what is in ERROR can be retried. "
                "To run it again use rerun."
            )
        fresh: dict[str, Any] = {"attempts": 0, "not_before": None, "status": "", "halfway": False, "look_at": None}
        if row.state == ERROR:
            transitions.send_back(turn.moves, [node_role_id], **fresh)
        else:
            noderoles.note(turn.session, node_role_id, **fresh)
        turn.moves.woken.add(row.node_id)
        turn.audit("node_role.retry", f"node_role {node_role_id}")


def propose(parts: Parts, actor: Actor, node_role_id: int) -> None:
    """Take a noderole back to PROPOSED for editing; what depends on it waits. Refused while it runs."""
    with change(parts, actor) as turn:
        propose_in_turn(turn, node_role_id)
        turn.audit("node_role.propose", f"node_role {node_role_id}")


def commit(parts: Parts, actor: Actor, node_role_id: int) -> None:
    """Commit one proposed noderole, or the drafts of one that is committed. It runs once its deployment is committed
    too.
    """
    with change(parts, actor) as turn:
        row = _node_role(turn.session, node_role_id)
        drafted = commit_of_node_roles(turn, [node_role_id])
        if row.state != PROPOSED and not drafted:
            raise InvalidTransition(
                f"{_name(row)} is {State(row.state).name} and has no drafts: there is nothing to commit."
            )
        commit_in_turn(turn, [node_role_id])
        commit_hooks(turn, [node_role_id])
        turn.audit("node_role.commit", f"node_role {node_role_id}")


def hold(parts: Parts, actor: Actor, node_role_id: int, *, reason: str = "") -> None:
    """Keep a noderole from being run; a run that nobody has begun goes back, one that runs finishes. Held again, it has
    the new reason.
    """
    hold_many(parts, actor, [node_role_id], reason=reason)


def hold_many(parts: Parts, actor: Actor, node_role_ids: Sequence[int], *, reason: str = "") -> None:
    """The same for many, all of them or none."""
    with change(parts, actor) as turn:
        _nodes_of(turn, node_role_ids)
        holds.hold(turn.session, turn.store, turn.now, node_role_ids, by=actor.name, reason=reason)
        cancel(turn, node_role_ids, "held", queued_only=True)
        detail = {"reason": reason} if reason else {}
        turn.audit_many("node_role.hold", [(f"node_role {ref}", detail) for ref in node_role_ids])


def release(parts: Parts, actor: Actor, node_role_id: int) -> None:
    """Let a held noderole run again."""
    release_many(parts, actor, [node_role_id])


def release_many(parts: Parts, actor: Actor, node_role_ids: Sequence[int]) -> None:
    """The same for many, all of them or none."""
    with change(parts, actor) as turn:
        homes = _nodes_of(turn, node_role_ids)
        holds.release(turn.session, turn.store, node_role_ids)
        turn.moves.woken.update(homes.values())
        turn.audit_many("node_role.release", [(f"node_role {ref}", {}) for ref in node_role_ids])


def _nodes_of(turn: Turn, node_role_ids: Sequence[int]) -> dict[int, int]:
    """Noderole -> its node. Raises ``NotFound``."""
    homes = bindings.homes(turn.session, turn.store, node_role_ids)
    if missing := [ref for ref in node_role_ids if ref not in homes]:
        raise NotFound(f"There is no noderole {missing[0]}.")
    return homes


def rerun(parts: Parts, actor: Actor, node_role_id: int) -> None:
    """Run an ACTIVE noderole again; its descendants wait meanwhile. Refused in any other state."""
    with change(parts, actor) as turn:
        rerun_in_turn(turn, node_role_id)
        turn.audit("node_role.rerun", f"node_role {node_role_id}")


def rerun_in_turn(turn: Turn, node_role_id: int) -> None:
    row = _node_role(turn.session, node_role_id)
    if row.state == TRANSITION:
        noderoles.note(turn.session, node_role_id, rerun=True)
    elif row.state == ACTIVE:
        rerun_now(turn, [node_role_id], f"{turn.actor.name} asked for it")
    elif row.state in (ERROR, PROPOSED):
        raise InvalidTransition(
            f"{_name(row)} is {State(row.state).name}: {'retry it' if row.state == ERROR else 'commit it'} instead."
        )


def refresh(parts: Parts, actor: Actor, node_role_id: int) -> None:
    """Run an ACTIVE noderole again while it stays ACTIVE. However often it is asked for, one run is queued at most."""
    with change(parts, actor) as turn:
        refresh_in_turn(turn, node_role_id)
        turn.audit("node_role.refresh", f"node_role {node_role_id}")


def refresh_role_in_turn(turn: Turn, role: str, node_id: int | None = None) -> None:
    """Refresh a role wherever it is bound and committed, or on one node alone; what failed is tried again. Where it is
    not bound, or only proposed, there is nothing to refresh. Raises ``NotFound`` when there is no such role.
    """
    ids = or_missing(refreshing.bound_of(turn.session, role, node_id), "role", repr(role))
    rows = refreshing.to_run_again(turn.session, turn.store, ids)
    refresh_soon(turn, rows)
    try_failed(turn, rows)


def refresh_in_turn(turn: Turn, node_role_id: int) -> None:
    """What is in ERROR or PROPOSED is refused. Destructive work that is done is not done again, by a refresh no more
    than otherwise: nothing happens.
    """
    row = _node_role(turn.session, node_role_id)
    if row.state in (ERROR, PROPOSED):
        raise InvalidTransition(
            f"{_name(row)} is {State(row.state).name}: {'retry it' if row.state == ERROR else 'commit it'} instead."
        )
    refresh_soon(turn, refreshing.to_run_again(turn.session, turn.store, [node_role_id]))


def force_error(parts: Parts, actor: Actor, node_role_id: int, *, reason: str = "") -> None:
    """Put a noderole in ERROR by hand: it stays there, and holds its descendants, until it is retried."""
    with change(parts, actor) as turn:
        row = _node_role(turn.session, node_role_id)
        if row.state not in (ACTIVE, TODO, TRANSITION):
            raise InvalidTransition(f"{_name(row)} is {State(row.state).name} and cannot be put in ERROR.")
        halting.cancel_runs(turn.moves, [node_role_id], "put in ERROR by hand")
        standing = moves.standing(turn.moves, [node_role_id])
        transitions.move(
            turn.moves, list(standing.values()), ERROR, broken=True,
            status=reason or f"put in ERROR by {actor.name}", rerun=False,
        )  # fmt: skip
        turn.audit("node_role.force_error", f"node_role {node_role_id}", reason=reason)


# ---------------------------------------------------------------- runs


def cancel_run(parts: Parts, actor: Actor, run_id: int, *, hold: bool = True) -> None:
    """Cancel an open run: what it started on the node is killed. ``hold``: the noderole is held, so that it does not
    start again.

    Cancelling what is being cancelled does nothing; one that has ended is refused.
    """
    with change(parts, actor) as turn:
        row = _run(turn.session, run_id)
        if row.state == RunState.CANCELLING:
            return
        if row.state not in (RunState.QUEUED, RunState.RUNNING):
            raise Refused(f"Run {run_id} has ended: it {row.state}.")
        if hold:
            reason = f"run {run_id} was cancelled"
            holds.hold(turn.session, turn.store, turn.now, [row.node_role_id], by=actor.name, reason=reason)
        cancel(turn, [row.node_role_id], f"cancelled by {actor.name}")
        turn.audit("run.cancel", f"run {run_id}", hold=hold)


def wake_run(parts: Parts, actor: Actor, run_id: int) -> None:
    """Have a run in steps called again, because what it waits for may have happened. Without need, or twice, it does no
    harm. Refused for a run that has ended, and for one that waits in no step.
    """
    with change(parts, actor) as turn:
        row = _run(turn.session, run_id)
        if row.state not in OPEN_RUN_STATES:
            raise Refused(f"Run {run_id} has ended: it {row.state}.")
        if row.pending and row.step is None:
            raise Refused(f"Run {run_id} waits in no step, but to be reported: finish it instead.")
        wake_in_turn(turn, row.node_role_id)


def wake_in_turn(turn: Turn, node_role_id: int) -> None:
    """Have the noderole's run called again, if it is in steps; while it executes, that is remembered."""
    run_id = steps.wake(turn.session, turn.now, node_role_id)
    if run_id is not None:
        turn.queued.append(run_id)


def finish_pending(
    parts: Parts,
    actor: Actor,
    run_id: int,
    *,
    succeeded: bool,
    wall: Mapping[str, Json] | None = None,
    reason: str = "",
) -> None:
    """End a run that waits for something outside. Refused for a run that is not pending; doing it twice
    is refused too.

    The last run of destructive work whose fate is unknown may be said to have succeeded, although it has ended.
    """
    check_report_size("the run", wall or {})  # before the graph's lock is taken
    with change(parts, actor) as turn:
        row = _run(turn.session, run_id)
        once = destructive.token_in_doubt(turn.session, row.node_role_id, run_id) if succeeded else ""
        if not once and (not row.pending or row.state != RunState.RUNNING):
            raise Refused(f"Run {run_id} is {row.state} and does not wait to be reported.")
        outcome = Outcome(
            run_id=run_id, kind="succeeded" if succeeded else "failed", wall=wall or {},
            reason=reason or ("" if succeeded else "reported as failed"), once=once,
        )  # fmt: skip
        finish_in_turn(turn, [outcome])
        turn.audit("run.finish", f"run {run_id}", succeeded=succeeded)


# ---------------------------------------------------------------- why?


def why_node_role(parts: Parts, node_role_id: int) -> Why:
    """Why this noderole is not running now."""
    with parts.store.read() as session:
        _node_role(session, node_role_id)
        if (going := leaving.why(session, node_role_id)) is not None:
            return _summed([Reason("leaving", _why_it_leaves(going), f"node_role {node_role_id}")])
        graph = pictures.around(session, parts.store, [node_role_id], missing=parts.registry.lacks)
        return _summed(annealing.why(graph, node_role_id, parts.store.now(session)))


def _why_it_leaves(row: Any) -> str:
    text = f"It is unbound, and goes when what it made on {row.node} is torn down."
    if row.first:
        return f"{text} {row.first} goes before it."
    if not row.available:
        reason = f": {row.held_reason.rstrip('.')}" if row.held_reason else ""
        return f"{text} It is held by {row.held_by}{reason}. Release it to try again, or unbind it with force."
    return text if row.alive else f"{text} Node {row.node} is not alive; unbind it with force to do without."


def why_node(parts: Parts, node_id: int) -> Why:
    """Why nothing is running on this node now: what is the matter with it, then each other reason once, with the roles
    that it is for.
    """
    with parts.store.read() as session:
        node = node_row(session, node_id)
        now = parts.store.now(session)
        for open_run in node_work.open_runs(session, parts.store, [node_id]):
            text = f"Run {open_run.id} of {open_run.role} is {open_run.state}"
            text += ": it waits for a worker." if open_run.state == RunState.QUEUED else "."
            return Why(summary=text, reasons=(Reason("running", text, f"run {open_run.id}"),))
        waiting = noderoles.wanting_work(session, node_id, most=MAX_ROLES)
        graph = pictures.around(session, parts.store, waiting, missing=parts.registry.lacks)
        picture = annealing.Node(
            id=node.id, name=node.name, alive=node.alive, available=node.available, status=node.status
        )
        said = annealing.node_reasons(picture)
        if not waiting:
            text = f"Nothing on {node.name} has work to do." if said else f"Everything on {node.name} is ACTIVE."
            text = text if noderoles.are_on(session, node_id) else f"No role is bound to {node.name}."
            return _summed([*said, Reason("nothing to do", text, f"node {node.id}")])
        here = {f"node_role {ref}": graph.node_roles[ref].role for ref in waiting}
        whose: dict[tuple[str, str], tuple[Reason, list[str]]] = {}
        for ref in waiting:
            for reason in annealing.why(graph, ref, now):
                if (above := here.get(reason.subject)) is not None and reason.code.startswith("parent "):
                    reason = Reason(reason.code, f"It waits for {above}.", reason.subject)  # which is on this list, too
                if reason not in said:
                    key = (reason.code, reason.detail)
                    whose.setdefault(key, (reason, []))[1].append(graph.node_roles[ref].role)
        said += [Reason(one.code, f"{some(of, MAX_BLAME)}: {one.detail}", one.subject) for one, of in whose.values()]
        return _summed(said)


def _summed(said: Collection[Reason]) -> Why:
    shown = tuple(said)[:MAX_REASONS]
    more = len(said) - len(shown)
    summary = " ".join(reason.detail for reason in shown[:MAX_BLAME])
    return Why(summary=f"{summary} And {more} more." if more else summary, reasons=shown)


def _node_role(session: Session, node_role_id: int) -> Any:
    return or_missing(noderoles.row_of(session, node_role_id), "noderole", node_role_id)


def _run(session: Session, run_id: int) -> Any:
    return or_missing(runs.row_of(session, run_id), "run", run_id)


def _name(row: Any) -> str:
    return f"Noderole {row.id} ({row.role} on {row.node})"
