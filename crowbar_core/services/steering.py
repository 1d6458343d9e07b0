"""What an operator does to noderoles and runs: retry, hold, cancel, ask why."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from crowbar_core.barclamp import Json
from crowbar_core.domain.annealing import Reason
from crowbar_core.domain.states import ACTIVE, BLOCKED, ERROR, PROPOSED, TODO, TRANSITION, RunState, State
from crowbar_core.errors import InvalidTransition, NotFound, Refused
from crowbar_core.services import fates
from crowbar_core.services.annealer import Outcome, cancel, change, finish_in_turn
from crowbar_core.services.changes import rerun_now
from crowbar_core.services.commits import commit_hooks, commit_in_turn, propose_in_turn
from crowbar_core.services.drafts import commit_of_node_roles
from crowbar_core.services.parts import Actor, Parts, Turn
from crowbar_core.store import events, quarantine, transitions
from crowbar_core.store import runs as store_runs
from crowbar_core.store.models import Deployment, Edge, Node, NodeRole, RoleRow, Run, table

nodes, node_roles, roles, edges, runs = table(Node), table(NodeRole), table(RoleRow), table(Edge), table(Run)
deployments = table(Deployment)

MAX_BLAME = 5
"""How many ancestors an answer to "why?" names."""


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
            turn.session.execute(update(node_roles).where(node_roles.c.id == node_role_id).values(**fresh))
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


def hold(parts: Parts, actor: Actor, node_role_id: int) -> None:
    """Keep a noderole from being run; a run that nobody has begun goes back, one that runs finishes."""
    with change(parts, actor) as turn:
        _node_role(turn.session, node_role_id)
        turn.session.execute(update(node_roles).where(node_roles.c.id == node_role_id).values(available=False))
        cancel(turn, [node_role_id], "held", queued_only=True)
        turn.audit("node_role.hold", f"node_role {node_role_id}")


def release(parts: Parts, actor: Actor, node_role_id: int) -> None:
    """Let a held noderole run again."""
    with change(parts, actor) as turn:
        row = _node_role(turn.session, node_role_id)
        turn.session.execute(update(node_roles).where(node_roles.c.id == node_role_id).values(available=True))
        turn.moves.woken.add(row.node_id)
        turn.audit("node_role.release", f"node_role {node_role_id}")


def rerun(parts: Parts, actor: Actor, node_role_id: int) -> None:
    """Run an ACTIVE noderole again; its descendants wait meanwhile. Refused in any other state."""
    with change(parts, actor) as turn:
        rerun_in_turn(turn, node_role_id)
        turn.audit("node_role.rerun", f"node_role {node_role_id}")


def rerun_in_turn(turn: Turn, node_role_id: int) -> None:
    row = _node_role(turn.session, node_role_id)
    if row.state == TRANSITION:
        turn.session.execute(update(node_roles).where(node_roles.c.id == node_role_id).values(rerun=True))
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


def refresh_in_turn(turn: Turn, node_role_id: int) -> None:
    """Destructive work that is done is not done again, by a refresh no more than otherwise: nothing happens."""
    row = _node_role(turn.session, node_role_id)
    if row.state in (ERROR, PROPOSED):
        raise InvalidTransition(
            f"{_name(row)} is {State(row.state).name}: {'retry it' if row.state == ERROR else 'commit it'} instead."
        )
    if row.state in (ACTIVE, TRANSITION) and not fates.is_done(turn.session, node_role_id):
        turn.session.execute(update(node_roles).where(node_roles.c.id == node_role_id).values(rerun=True))
        turn.moves.woken.add(row.node_id)


def force_error(parts: Parts, actor: Actor, node_role_id: int, *, reason: str = "") -> None:
    """Put a noderole in ERROR by hand: it stays there, and holds its descendants, until it is retried."""
    with change(parts, actor) as turn:
        row = _node_role(turn.session, node_role_id)
        if row.state not in (ACTIVE, TODO, TRANSITION):
            raise InvalidTransition(f"{_name(row)} is {State(row.state).name} and cannot be put in ERROR.")
        transitions.cancel_runs(turn.moves, [node_role_id], "put in ERROR by hand")
        standing = transitions.standing(turn.moves, [node_role_id])
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
        row = turn.session.execute(
            select(runs.c.id, runs.c.state, runs.c.node_role_id).where(runs.c.id == run_id)
        ).one_or_none()
        if row is None:
            raise NotFound(f"There is no run {run_id}.")
        if row.state == RunState.CANCELLING:
            return
        if row.state not in (RunState.QUEUED, RunState.RUNNING):
            raise Refused(f"Run {run_id} has ended: it {row.state}.")
        if hold:
            turn.session.execute(update(node_roles).where(node_roles.c.id == row.node_role_id).values(available=False))
        cancel(turn, [row.node_role_id], f"cancelled by {actor.name}")
        turn.audit("run.cancel", f"run {run_id}", hold=hold)


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
    with change(parts, actor) as turn:
        row = turn.session.execute(
            select(runs.c.state, runs.c.pending, runs.c.node_role_id).where(runs.c.id == run_id)
        ).one_or_none()
        if row is None:
            raise NotFound(f"There is no run {run_id}.")
        once = fates.token_in_doubt(turn.session, row.node_role_id, run_id) if succeeded else ""
        if not once and (not row.pending or row.state != RunState.RUNNING):
            raise Refused(f"Run {run_id} is {row.state} and does not wait to be reported.")
        outcome = Outcome(
            run_id=run_id, kind="succeeded" if succeeded else "failed", wall=wall or {},
            reason=reason or ("" if succeeded else "reported as failed"), once=once,
        )  # fmt: skip
        finish_in_turn(turn, [outcome])
        turn.audit("run.finish", f"run {run_id}", succeeded=succeeded)


def retry_deliveries(parts: Parts, actor: Actor, delivery_ids: Collection[int]) -> int:
    """Let failed deliveries of events to plugins be tried again, and end the quarantine of these. Returns how many."""
    with change(parts, actor) as turn:
        count = events.retry_failed(turn.session, delivery_ids)
        if count:
            quarantine.lift(turn.session, quarantine.plugins_of(turn.session, delivery_ids))
        turn.audit("delivery.retry", "deliveries", ids=sorted(delivery_ids))
        turn.after.append(parts.woken.set)
        parts.store.notify(turn.session)
        return count


def retry_hooks(parts: Parts, actor: Actor, barclamp: str) -> int:
    """End the quarantine of a barclamp, and let all that it was not told, or failed in, be tried again. Returns how
    many deliveries that are.
    """
    with change(parts, actor) as turn:
        count = events.retry_failed(turn.session, quarantine.failed_of(turn.session, barclamp))
        quarantine.lift(turn.session, [barclamp])
        turn.audit("barclamp.retry", f"barclamp {barclamp}", deliveries=count)
        turn.after.append(parts.woken.set)
        parts.store.notify(turn.session)
        return count


# ---------------------------------------------------------------- why?


def why_node_role(parts: Parts, node_role_id: int) -> Why:
    """Why this noderole is not running now."""
    with parts.store.read() as session:
        row = _node_role(session, node_role_id)
        return _summed(_reasons(session, parts, row))


def why_node(parts: Parts, node_id: int) -> Why:
    """Why nothing is running on this node now."""
    with parts.store.read() as session:
        node = session.execute(select(nodes).where(nodes.c.id == node_id)).one_or_none()
        if node is None:
            raise NotFound(f"There is no node {node_id}.")
        subject = f"node {node.id}"
        open_run = session.execute(
            select(runs.c.id, runs.c.state, roles.c.name)
            .join(node_roles, node_roles.c.id == runs.c.node_role_id)
            .join(roles, roles.c.id == node_roles.c.role_id)
            .where(runs.c.node_id == node_id, runs.c.finished_at.is_(None))
        ).one_or_none()
        if open_run is not None:
            text = f"Run {open_run.id} of {open_run.name} is {open_run.state}."
            return Why(summary=text, reasons=(Reason("running", text, f"run {open_run.id}"),))
        said: list[Reason] = _node_reasons(node)
        waiting = session.scalars(
            select(node_roles.c.id)
            .where(node_roles.c.node_id == node_id, node_roles.c.state != int(ACTIVE))
            .order_by(node_roles.c.cohort, node_roles.c.id)
        ).all()
        if not waiting:
            text = f"Everything on {node.name} is ACTIVE." if node.alive else f"Nothing on {node.name} has work to do."
            said.append(Reason("nothing to do", text, subject))
        else:
            own = {reason.code for reason in said}
            for ref in waiting[:MAX_BLAME]:
                row = _node_role(session, ref)
                for reason in _reasons(session, parts, row):
                    if reason.code not in own and reason not in said:
                        said.append(Reason(reason.code, f"{row.role}: {reason.detail}", reason.subject))
        return _summed(said)


def _summed(said: Collection[Reason]) -> Why:
    return Why(summary=" ".join(reason.detail for reason in said), reasons=tuple(said))


def _reasons(session: Session, parts: Parts, row: Any) -> list[Reason]:
    me = f"node_role {row.id}"
    state = State(row.state)
    run = session.execute(
        select(runs.c.id, runs.c.state, runs.c.pending, runs.c.node_role_id, runs.c.refresh, runs.c.exit_reason).where(
            runs.c.node_id == row.node_id, runs.c.finished_at.is_(None)
        )
    ).one_or_none()
    if run is not None and run.node_role_id == row.id and run.state != RunState.CANCELLING:
        how = f"waits to be reported: {run.exit_reason}" if run.pending else f"is {run.state}"
        return [Reason("running", f"It is not waiting: run {run.id} {how}.", f"run {run.id}")]
    if state is ACTIVE and not row.rerun:
        return [Reason("active", "It is ACTIVE: there is nothing to do.", me)]
    if state is PROPOSED:
        return [Reason("proposed", "It is only proposed. Commit it, or its deployment.", me)]
    if state is ERROR:
        return [
            Reason(
                "error",
                f"It failed: {row.status.rstrip('.') or 'no reason was given'}. Retry it when that is mended.",
                me,
            )
        ]
    if state is BLOCKED:
        return _blame(session, row)
    said: list[Reason] = []
    if not row.deployment_committed:
        said.append(
            Reason(
                "deployment proposed",
                f"Deployment {row.deployment} is not committed.",
                f"deployment {row.deployment_id}",
            )
        )
    said += _node_reasons(session.execute(select(nodes).where(nodes.c.id == row.node_id)).one())
    if not row.available:
        said.append(Reason("held", "It is held. Release it to let it run.", me))
    if not row.ready:
        missing = (
            f"the jig {row.jig_name!r} is not installed"
            if row.role in parts.registry.roles
            else "the barclamp that brings it is not loaded"
        )
        said.append(Reason("missing", f"Role {row.role} cannot run here: {missing}.", f"role {row.role}"))
    if row.not_before is not None:
        said.append(Reason("delayed", f"It is tried again at {row.not_before.isoformat()}: {row.status}.", me))
    if (below := _run_below(session, row)) is not None:
        said.append(below)
    if run is not None:
        said.append(
            Reason("node busy", f"Node {row.node} is busy with run {run.id}, which is {run.state}.", f"run {run.id}")
        )
    if not said:
        ahead = session.execute(
            select(node_roles.c.id, roles.c.name)
            .join(roles, roles.c.id == node_roles.c.role_id)
            .where(node_roles.c.node_id == row.node_id, node_roles.c.state == int(TODO), node_roles.c.id != row.id)
            .order_by(node_roles.c.cohort, node_roles.c.id)
            .limit(1)
        ).one_or_none()
        text = f"{ahead.name} on the same node comes first." if ahead else "It is about to be scheduled."
        said.append(Reason("next", text, f"node_role {ahead.id}" if ahead else me))
    return said


def _run_below(session: Session, row: Any) -> Reason | None:
    """The run below a noderole in TODO that has to end before it may run itself, if there is one."""
    if row.state != TODO:
        return None
    found = session.execute(
        select(
            node_roles.c.id, roles.c.name.label("role"), nodes.c.name.label("node"), runs.c.id.label("run")
        )
        .join(roles, roles.c.id == node_roles.c.role_id)
        .join(nodes, nodes.c.id == node_roles.c.node_id)
        .join(runs, (runs.c.node_role_id == node_roles.c.id) & runs.c.finished_at.is_(None))
        .where(node_roles.c.id.in_(store_runs.ends_first(row.id)))
        .order_by(node_roles.c.id)
        .limit(1)
    ).one_or_none()  # fmt: skip
    if found is None:
        return None
    text = (
        f"It waits for the end of run {found.run} of {found.role} on {found.node}, which is below it and goes back to "
        "work then."
    )
    return Reason("run below", text, f"node_role {found.id}")


def _node_reasons(node: Any) -> list[Reason]:
    said: list[Reason] = []
    subject = f"node {node.id}"
    if not node.alive:
        why = f": {node.status}" if node.status else "; it has not been seen yet"
        said.append(Reason("node not alive", f"Node {node.name} is not alive{why}.", subject))
    if not node.available:
        said.append(
            Reason("node not available", f"Node {node.name} is not available. Commit it, or set it available.", subject)
        )
    return said


def _blame(session: Session, row: Any) -> list[Reason]:
    """The nearest ancestors that are not ACTIVE and not themselves BLOCKED: what has to happen first."""
    found: list[Reason] = []
    seen: set[int] = set()
    frontier = [row.id]
    while frontier and len(found) < MAX_BLAME:
        rows = session.execute(
            select(
                node_roles.c.id, node_roles.c.state, node_roles.c.status,
                roles.c.name.label("role"), nodes.c.name.label("node"),
            )
            .join(edges, edges.c.parent_id == node_roles.c.id)
            .join(roles, roles.c.id == node_roles.c.role_id)
            .join(nodes, nodes.c.id == node_roles.c.node_id)
            .where(edges.c.child_id.in_(frontier), node_roles.c.state != int(ACTIVE))
            .order_by(node_roles.c.id)
            .limit(100)
        ).all()  # fmt: skip
        frontier = []
        for one in rows:
            if one.id in seen:
                continue
            seen.add(one.id)
            if one.state == BLOCKED:
                frontier.append(one.id)
            elif len(found) < MAX_BLAME:
                state = State(one.state)
                more = f" ({one.status})" if state is ERROR and one.status else ""
                found.append(
                    Reason(
                        f"parent {state.name}", f"It waits for {one.role} on {one.node}, which is {state.name}{more}.",
                        f"node_role {one.id}",
                    )
                )  # fmt: skip
    return found


def _node_role(session: Session, node_role_id: int) -> Any:
    row = session.execute(
        select(
            node_roles.c.id, node_roles.c.node_id, node_roles.c.role_id, node_roles.c.deployment_id, node_roles.c.state,
            node_roles.c.available, node_roles.c.rerun, node_roles.c.not_before, node_roles.c.status,
            roles.c.name.label("role"), roles.c.ready, roles.c.jig_name, nodes.c.name.label("node"),
            deployments.c.name.label("deployment"), deployments.c.committed.label("deployment_committed"),
        )
        .join(roles, roles.c.id == node_roles.c.role_id)
        .join(nodes, nodes.c.id == node_roles.c.node_id)
        .join(deployments, deployments.c.id == node_roles.c.deployment_id)
        .where(node_roles.c.id == node_role_id)
    ).one_or_none()  # fmt: skip
    if row is None:
        raise NotFound(f"There is no noderole {node_role_id}.")
    return row


def _name(row: Any) -> str:
    return f"Noderole {row.id} ({row.role} on {row.node})"
