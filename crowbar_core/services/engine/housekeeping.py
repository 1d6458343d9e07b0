"""What the sweeping process does beside sweeping: old history goes, nodes whose work is done are powered off."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete, exists, or_, select

from crowbar_core.domain.states import ACTIVE, ERROR, PROPOSED
from crowbar_core.errors import CrowbarError
from crowbar_core.services.cluster.hammers import power
from crowbar_core.services.turns.parts import Actor, Parts, log
from crowbar_core.services.watch.processes import SHOWN_DEAD
from crowbar_core.store import events as store_events
from crowbar_core.store import power_orders, processes, sessions
from crowbar_core.store.models import (
    Delivery,
    Event,
    HammerRow,
    IdempotencyKey,
    Node,
    NodeRole,
    RoleRow,
    Run,
    table,
)

runs, events, deliveries, keys = table(Run), table(Event), table(Delivery), table(IdempotencyKey)
nodes, node_roles, roles, hammers = table(Node), table(NodeRole), table(RoleRow), table(HammerRow)

CHUNK = 5000


def clean(parts: Parts) -> int:
    """Delete finished runs, delivered events and remembered answers that are older than the settings say,
    processes that died a day ago, and log-ins that have ended. Returns how many.
    """
    with parts.store.write() as session:
        now = parts.store.now(session)
        before = now - timedelta(days=parts.settings.keep_runs_days)
        old_runs = select(runs.c.id).where(runs.c.finished_at < before).limit(CHUNK)
        waiting = exists().where(deliveries.c.event_id == events.c.id, deliveries.c.state != "done")
        old_events = select(events.c.id).where(events.c.created_at < before, ~waiting).limit(CHUNK)
        gone = 0
        for statement in (
            delete(runs).where(runs.c.id.in_(old_runs)),
            delete(events).where(events.c.id.in_(old_events)),
            delete(keys).where(keys.c.created_at < now - timedelta(days=1)),
        ):
            gone += session.execute(statement).rowcount  # type: ignore[attr-defined]
        gone += power_orders.forget_before(session, before)
        gone += processes.forget_before(session, now - SHOWN_DEAD)
        gone += sessions.forget_before(session, now)
    return gone


def note_unanswered(parts: Parts) -> int:
    """Write down what barclamps of this process could not answer, so that the pages show it. Returns how many."""
    found = parts.registry.questions.take()
    if not found:
        return 0
    for one in found:
        log.error(
            "hook failed", hook=one.hook, plugin=one.plugin, subject=one.subject, error=one.error, times=one.count
        )
    with parts.store.write(graph=False) as session:
        store_events.note_unanswered(session, parts.store.now(session), found)
    return len(found)


def save_power(parts: Parts) -> int:
    """Power off nodes on which a ``powersave`` role is ACTIVE and nothing more waits, unless ``stay_on`` is hinted.
    Returns how many.
    """
    waiting, saver = node_roles.alias(), node_roles.alias()
    with parts.store.read() as session:
        rows = session.execute(
            select(nodes.c.id, nodes.c.name, nodes.c.hint)
            .where(
                nodes.c.alive, nodes.c.available, ~nodes.c.system,
                exists().where(hammers.c.node_id == nodes.c.id),
                select(saver.c.id)
                .join(roles, roles.c.id == saver.c.role_id)
                .where(saver.c.node_id == nodes.c.id, saver.c.state == int(ACTIVE), roles.c.powersave)
                .exists(),
                ~exists().where(
                    waiting.c.node_id == nodes.c.id,
                    or_(waiting.c.state.not_in([int(ACTIVE), int(PROPOSED), int(ERROR)]), waiting.c.rerun),
                ),
                ~exists().where(runs.c.node_id == nodes.c.id, runs.c.finished_at.is_(None)),
            )
        ).all()  # fmt: skip
    done = [row for row in rows if not row.hint.get("stay_on")]
    for row in done:
        try:
            power(parts, Actor("power saving"), row.id, "off")
        except CrowbarError as error:
            log.warning("a node could not be powered off", node=row.name, error=error.detail)
    return len(done)
