"""What the sweeping process does beside sweeping: old history goes, nodes whose work is done are powered off."""

from __future__ import annotations

from datetime import timedelta

from crowbar_core.errors import CrowbarError
from crowbar_core.logs import log
from crowbar_core.services.cluster.hammers import power
from crowbar_core.services.turns.parts import Parts
from crowbar_core.services.turns.turn import Actor
from crowbar_core.services.watch.processes import SHOWN_DEAD
from crowbar_core.store import events, history, node_work, power_orders, processes, sessions


def clean(parts: Parts) -> int:
    """Delete finished runs, delivered events and remembered answers that are older than the settings say,
    processes that died a day ago, and log-ins that have ended. Returns how many.
    """
    with parts.store.write() as session:
        now = parts.store.now(session)
        before = now - timedelta(days=parts.settings.keep_runs_days)
        gone = history.forget(session, now, before)
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
        events.note_unanswered(session, parts.store.now(session), found)
    return len(found)


def save_power(parts: Parts) -> int:
    """Power off nodes on which a ``powersave`` role is ACTIVE and nothing more waits, unless ``stay_on`` is hinted.
    Returns how many.
    """
    with parts.store.read() as session:
        rows = node_work.idle_savers(session)
    done = [row for row in rows if not row.hint.get("stay_on")]
    for row in done:
        try:
            power(parts, Actor("power saving"), row.id, "off")
        except CrowbarError as error:
            log.warning("a node could not be powered off", node=row.name, error=error.detail)
    return len(done)
