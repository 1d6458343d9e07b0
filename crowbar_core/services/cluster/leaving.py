"""Leaving: what a role made on a node is torn down before its noderole goes, children before their parents.

A noderole that leaves keeps its state; only runs of kind teardown are made for it. ``carry_on`` is called at the end of
every change: it removes what is torn down, or has nothing to tear down, and makes the next runs. A teardown that fails
for good holds its noderole: releasing it tries again, binding the role anew takes the leaving back, ``force`` does
without.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy.orm import Session

from crowbar_core.barclamp import NodeView
from crowbar_core.errors import Refused, Veto
from crowbar_core.logs import log
from crowbar_core.services.annealing.annealer import cancel
from crowbar_core.services.cluster.removing import refuse_running, remove_in_turn
from crowbar_core.services.data.changes import rerun_now
from crowbar_core.services.data.layers import run_inputs
from crowbar_core.services.data.views import node_views
from crowbar_core.services.turns.parts import Parts
from crowbar_core.services.turns.turn import TornDown, Turn, rehearsing
from crowbar_core.store import destructive, leaving, node_work


def take_off(turn: Turn, ids: Collection[int], *, force: bool = False) -> bool:
    """Remove noderoles, at once if nothing has to be torn down (or by ``force``); else they leave, and go when that is
    done. Returns whether they are gone.
    """
    tearing = [] if force else to_tear_down(turn, ids)
    if not tearing:
        remove_in_turn(turn, ids)
        return True
    if rehearsing.get() is not None:
        _note(turn, tearing)
        remove_in_turn(turn, ids)
        return True
    refuse_running(turn, ids)
    fresh = [row.id for row in leaving.with_roles(turn.session, turn.store, ids) if not row.leaving]
    cancel(turn, fresh, "it is being unbound", queued_only=True)
    leaving.mark(turn.session, turn.store, fresh)
    turn.audit_many("teardown", [(f"node_role {row.id}", {"role": row.role}) for row in tearing])
    return False


def to_tear_down(turn: Turn, ids: Collection[int]) -> list[Any]:
    """Those of these noderoles whose role has something to tear down and has run, children first."""
    return tearing_in(turn.parts, turn.session, ids)


def tearing_in(parts: Parts, session: Session, ids: Collection[int]) -> list[Any]:
    """The same outside a turn."""
    return [
        row
        for row in leaving.with_roles(session, parts.store, ids)
        if row.has_run and _tears_down(parts, row.role, row.jig_name)
    ]


def _tears_down(parts: Parts, role: str, jig_name: str) -> bool:
    known, jig = parts.registry.roles.get(role), parts.registry.jigs.get(jig_name)
    return known is not None and jig is not None and jig.tears_down(known.role, known.package)


def _note(turn: Turn, tearing: Collection[Any]) -> None:
    if turn.notes is not None:
        turn.notes.torn_down.extend(
            TornDown(row.id, row.node, row.role, row.deployment, row.cohort, row.destructive) for row in tearing
        )


def give_up(turn: Turn, ids: Collection[int]) -> None:
    """Tear nothing down any more of noderoles that will be removed by force."""
    refs = [row.id for row in leaving.with_roles(turn.session, turn.store, ids) if row.leaving]
    leaving.mark(turn.session, turn.store, refs, leaving=False)


def stay(turn: Turn, ids: Collection[int]) -> None:
    """Of what is bound anew: take back its leaving, and that of what it needs. What was begun to be torn down runs
    again. Refused while a teardown is under way.
    """
    rows = leaving.staying(turn.session, turn.store, ids)
    if not rows:
        return
    refs = [row.id for row in rows]
    if (run_id := leaving.under_way(turn.session, turn.store, refs)) is not None:
        raise Refused(f"It is being torn down just now (run {run_id}). Cancel that run, or wait for its end.")
    cancel(turn, refs, "it stays")
    leaving.mark(turn.session, turn.store, refs, leaving=False)
    begun = [row.id for row in rows if row.begun]
    destructive.forget(turn.session, begun)
    rerun_now(turn, leaving.active(turn.session, turn.store, begun), "it was torn down, and is bound again")


def carry_on(turn: Turn) -> None:
    """Remove what may go, and make the runs that tear down what is next."""
    while rows := leaving.next_to_go(turn.session):
        quiet = [row.id for row in rows if row.available and not row.torn_down and not row.busy]
        tearing = {row.id for row in to_tear_down(turn, quiet)} if quiet else set()
        free = [row.id for row in rows if row.available and (row.torn_down or not (row.busy or row.id in tearing))]
        if not free:
            _make_runs(turn, [row for row in rows if not row.torn_down])
            return
        _remove(turn, free)
        if emptied := leaving.emptied_nodes(turn.session):
            for view in node_views(turn.registry, turn.session, turn.store, emptied).values():
                _forget_if_let(turn, view)


def _remove(turn: Turn, ids: Collection[int]) -> None:
    """One that a barclamp objects to is held with the reason: this may be the turn of somebody else."""
    for ref in sorted(ids):
        try:
            with turn.session.begin_nested():
                remove_in_turn(turn, [ref])
        except (Refused, Veto) as error:
            leaving.hold(turn.session, turn.now, ref, error.detail)


def _make_runs(turn: Turn, rows: Collection[Any]) -> None:
    busy: set[int] = set()
    for row in rows:
        if row.node_id not in busy and leaving.may_begin(row, turn.now):
            busy.add(row.node_id)
            asked = [(row.id, row.node_id, row.role)]
            data = run_inputs(turn.registry, turn.session, turn.store, asked).get(row.id, {})
            turn.queued.append(leaving.make_run(turn.session, turn.now, row, data))
            turn.moves.woken.discard(row.node_id)


def _forget_if_let(turn: Turn, view: NodeView) -> None:
    """One that a barclamp objects to stays, with nothing bound: this may be the turn of somebody else. Whoever deletes
    it again is told why.
    """
    told = len(turn.events)
    try:
        with turn.session.begin_nested():
            forget_nodes(turn, [view])
    except (Refused, Veto) as error:
        del turn.events[told:]
        log.warning("a node that was torn down cannot go", node=view.name, said=error.detail)


def forget_nodes(turn: Turn, views: Collection[NodeView]) -> None:
    """The nodes themselves go; nothing is bound to them any more. What a barclamp raises undoes the turn."""
    for view in views if turn.registry.listens("on_node_leave") else ():
        turn.veto("on_node_leave", node=view)
    node_work.forget(turn.session, turn.store, [view.id for view in views])
    turn.moves.woken.difference_update(view.id for view in views)
    for view in views:
        payload = {key: getattr(view, key) for key in view.__dataclass_fields__}
        turn.tell("on_node_delete", f"node {view.id}", id=view.id, view=payload)
    turn.audit_many("node.delete", [(f"node {view.name}", {}) for view in views])
