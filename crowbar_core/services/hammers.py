"""Hammers: what powers a node. Their configuration rests encrypted."""

from __future__ import annotations

from collections.abc import Mapping

import orjson
from sqlalchemy import delete, insert, select, true

from crowbar_core.barclamp import Hammer, Json
from crowbar_core.errors import NotFound, Refused
from crowbar_core.services.annealer import change
from crowbar_core.services.liveness import mark_alive
from crowbar_core.services.parts import Actor, Parts, Turn
from crowbar_core.services.views import node_row
from crowbar_core.store.models import HammerRow, table

hammers = table(HammerRow)

GENTLE = frozenset(("on", "status", "identify"))
"""Actions that stop nothing. Every other is asked about, since a hammer may call its actions as it likes."""


def add_hammer(
    parts: Parts, actor: Actor, node_id: int, *, name: str, priority: int = 0, config: Mapping[str, Json] | None = None
) -> int:
    """Give a node a hammer; ``config`` is encrypted. Returns its id."""
    with change(parts, actor) as turn:
        row = node_row(turn.session, node_id)
        made = insert_hammer(turn, node_id, name, priority, config or {})
        turn.audit("hammer.add", f"node {row.name}", hammer=name)
        return made


def insert_hammer(turn: Turn, node_id: int, name: str, priority: int, config: Mapping[str, Json]) -> int:
    turn.registry.hammer(name, config)
    taken = turn.session.scalar(select(hammers.c.id).where(hammers.c.node_id == node_id, hammers.c.name == name))
    if taken is not None:
        raise Refused(f"Node {node_id} has a hammer {name!r} already (hammer {taken}). Remove that first.")
    made: int = turn.session.scalars(
        insert(hammers)
        .values(node_id=node_id, name=name, priority=priority, config=_encrypted(turn.parts, config))
        .returning(hammers.c.id)
    ).one()
    return made


def _encrypted(parts: Parts, config: Mapping[str, Json]) -> str:
    return parts.cipher.encrypt(orjson.dumps(dict(config))).decode()


def remove_hammer(parts: Parts, actor: Actor, hammer_id: int) -> None:
    with change(parts, actor) as turn:
        if not turn.session.execute(delete(hammers).where(hammers.c.id == hammer_id)).rowcount:  # type: ignore[attr-defined]
            raise NotFound(f"There is no hammer {hammer_id}.")
        turn.audit("hammer.remove", f"hammer {hammer_id}")


def _hammers(parts: Parts, node_id: int, *, hammer_id: int | None = None) -> list[Hammer]:
    """The node's hammers, highest priority first."""
    with parts.store.read() as session:
        node_row(session, node_id)
        rows = session.execute(
            select(hammers.c.id, hammers.c.name, hammers.c.config)
            .where(hammers.c.node_id == node_id, true() if hammer_id is None else hammers.c.id == hammer_id)
            .order_by(hammers.c.priority.desc(), hammers.c.id)
        ).all()
    return [parts.registry.hammer(row.name, orjson.loads(parts.cipher.decrypt(row.config.encode()))) for row in rows]


def stops(action: str) -> bool:
    """Whether an action may stop what the node is doing: all but those that are known not to."""
    return action not in GENTLE


def power_actions(parts: Parts, node_id: int) -> tuple[str, ...]:
    """What the node's hammers can do."""
    return tuple(sorted({action for hammer in _hammers(parts, node_id) for action in hammer.actions()}))


def power(parts: Parts, actor: Actor, node_id: int, action: str) -> str:
    """Perform an action through the node's best hammer that can. Returns its line. Raises ``Refused`` when none can."""
    refuse_unable(parts, node_id, action)
    hammer = next(one for one in _hammers(parts, node_id) if action in one.actions())
    return _perform(parts, actor, node_id, hammer, action)


def refuse_unable(parts: Parts, node_id: int, action: str) -> None:
    """Raise ``Refused`` when none of the node's hammers can perform ``action``."""
    able = power_actions(parts, node_id)
    if action not in able:
        known = f"they can: {', '.join(able)}" if able else "it has none"
        raise Refused(f"No hammer of node {node_id} can {action!r}; {known}.")


def perform(parts: Parts, actor: Actor, hammer_id: int, action: str) -> str:
    """Perform an action through one particular hammer."""
    with parts.store.read() as session:
        node_id = session.scalar(select(hammers.c.node_id).where(hammers.c.id == hammer_id))
    if node_id is None:
        raise NotFound(f"There is no hammer {hammer_id}.")
    (hammer,) = _hammers(parts, node_id, hammer_id=hammer_id)
    if action not in hammer.actions():
        raise Refused(f"Hammer {hammer_id} cannot {action!r}; it can: {', '.join(hammer.actions())}.")
    return _perform(parts, actor, node_id, hammer, action)


def _perform(parts: Parts, actor: Actor, node_id: int, hammer: Hammer, action: str) -> str:
    said = hammer.perform(action)
    if action != "status":
        with change(parts, actor) as turn:
            turn.audit("node.power", f"node {node_row(turn.session, node_id).name}", action=action, result=said)
            if action == "off" and mark_alive(turn, node_id, False, "it was powered off"):
                turn.tell("on_node_change", f"node {node_id}", id=node_id, changed=["alive"])
    return said
