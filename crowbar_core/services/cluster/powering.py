"""Powering what a change asked for: after its commit, at most once, holding up nobody.

The order is written with the change. Whoever leads takes it, which nobody can do twice, and has it performed; a crash
after that leaves an order of which nobody knows whether it was done, and that is said, not repeated.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from datetime import timedelta

from crowbar_core.errors import CrowbarError
from crowbar_core.logs import log
from crowbar_core.plugins import CORE
from crowbar_core.questions import Unanswered
from crowbar_core.services.annealing.annealer import change
from crowbar_core.services.cluster import hammers
from crowbar_core.services.turns.parts import Parts
from crowbar_core.services.turns.turn import Actor, Turn
from crowbar_core.store import events, power_orders
from crowbar_core.store.power_orders import Order

PATIENCE = timedelta(minutes=5)
"""How long an order waits for somebody to begin it: a reset that comes hours later surprises whoever works there."""


def order_power(turn: Turn, node_id: int, action: str) -> None:
    """Have an action performed after the commit. Raises ``Refused`` when no hammer of the node can."""
    hammers.refuse_unable(turn.parts, node_id, action)
    power_orders.add(turn.session, turn.now, node_id=node_id, action=action, actor=turn.actor.name)
    turn.after.append(turn.parts.ordered.set)
    turn.store.notify(turn.session)


def due(parts: Parts, *, died: Callable[[str], bool], busy: Collection[int] = ()) -> list[Order]:
    """The first order of each node on which none is being performed (``busy``: those of this process). What has been
    left behind is told on the way.
    """
    with parts.store.read() as session:
        found = power_orders.open_orders(session)
        now = parts.store.now(session)
    if not found:
        return []
    left = power_orders.stranded(found, now, patience=PATIENCE, died=died)
    for one in found:
        if one.id in left and one.node_id not in busy:
            _failed(parts, one, left[one.id])
    first: dict[int, Order] = {}
    for one in found:
        if one.id not in left:
            first.setdefault(one.node_id, one)
    return [one for ref, one in first.items() if one.begun_at is None and ref not in busy]


def carry_out(parts: Parts, one: Order, worker: str) -> None:
    """Perform an order, unless somebody else does. Never raises: its failure is shown."""
    try:
        with parts.store.write(graph=False) as session:
            if not power_orders.begin(session, parts.store.now(session), one.id, worker):
                return
        said = hammers.power(parts, Actor(one.actor), one.node_id, one.action)
    except CrowbarError as error:
        _failed(parts, one, error.detail)
        return
    log.info("powered", node=one.node, action=one.action, result=said)
    try:
        with parts.store.write(graph=False) as session:
            power_orders.end(session, parts.store.now(session), one.id, result=said)
            events.forget_failure(session, _plugin(one), _what(one))
    except CrowbarError as error:
        log.warning("that a node was powered could not be written down", node=one.node, error=error.detail)


def _failed(parts: Parts, one: Order, why: str) -> None:
    log.error("a node could not be powered", node=one.node, action=one.action, actor=one.actor, error=why)
    said = Unanswered(
        plugin=_plugin(one), hook=_what(one), subject=f"node {one.node_id}", error=f"{one.node}: {why}", traceback=""
    )
    try:
        with change(parts, Actor(one.actor)) as turn:
            if power_orders.end(turn.session, turn.now, one.id, error=why):
                turn.audit("node.power", f"node {one.node}", action=one.action, error=why)
                events.note_unanswered(turn.session, turn.now, [said])
    except CrowbarError as error:
        log.warning("that a node was not powered could not be written down", node=one.node, error=error.detail)


def _plugin(one: Order) -> str:
    kind, _, name = one.actor.partition(" ")
    return name if kind == "barclamp" and name else CORE


def _what(one: Order) -> str:
    return f"power {one.action}"[:64]
