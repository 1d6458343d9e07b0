"""Looking for the marks of destructive work whose fate is unknown: where there is one, it is done after all."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any, Literal

from crowbar_core.barclamp import Done, Jig, NodeView, Task
from crowbar_core.errors import CrowbarError, NodeUnreachable, TemporaryError
from crowbar_core.logs import log
from crowbar_core.services.annealing import fates
from crowbar_core.services.annealing.annealer import ANNEALER, change
from crowbar_core.services.cluster import liveness
from crowbar_core.services.data.changes import merge_walls
from crowbar_core.services.data.views import node_views
from crowbar_core.services.turns.parts import Parts
from crowbar_core.store import destructive, noderoles
from crowbar_core.store.catalogue import cluster_id

AT_ONCE = 32
MOST = 1000
LATER = 60.0
"""Seconds until it is tried again after a look that failed in a way that nobody foresaw."""


def look_for_marks(parts: Parts) -> int:
    """Look on every living node where it is due. Returns how many noderoles were found to be done.

    Only looks: what a jig's ``look`` does carries nothing out. A node is asked once after it is known to be alive, and
    again while its answer is that it cannot tell yet.
    """
    with parts.store.read() as session:
        due = destructive.due(session, parts.store.now(session), most=MOST)
        if not due:
            return 0
        installation = cluster_id(session)
        views = node_views(parts.registry, session, parts.store, {one.node_id for one in due})
    with ThreadPoolExecutor(max_workers=min(AT_ONCE, len(due)), thread_name_prefix="crowbar-look") as pool:
        found = pool.map(lambda one: _look(parts, one, views[one.node_id], installation), due)
        return sum(found)


def _look(parts: Parts, one: Any, view: NodeView, installation: str) -> bool:
    """Never raises: a node or a jig that misbehaves is asked again later."""
    what = {"node": view.name, "role": one.role, "run": one.run_id}
    jig, loaded = parts.registry.jigs.get(one.jig_name), parts.registry.roles.get(one.role)
    try:
        if jig is None or loaded is None:
            raise TemporaryError(f"role {one.role} cannot be looked at here: its jig is not installed", delay=LATER)
        task = Task(
            run_id=one.run_id, node_role_id=one.id, attempt=0, node=view, address=_address(parts, jig, view),
            role=loaded.role, barclamp=loaded.barclamp, package=loaded.package, deployment=one.deployment, data={},
            timeout=one.timeout, refresh=False, log=_unheard, cancelled=threading.Event(), once=one.once,
            installation=installation,
        )  # fmt: skip
        found = jig.look(task)
        return _take_in(parts, one, found)
    except TemporaryError as error:
        log.info("a mark cannot be looked for yet", **what, error=error.detail)
        _postpone(parts, one, error.delay)
    except CrowbarError as error:
        log.warning("looking for a mark failed", **what, error=error.detail)
        _postpone(parts, one, LATER)
    except Exception:  # noqa: BLE001  a jig is a barclamp's: what goes wrong is told, and others are looked at
        log.exception("looking for a mark failed", **what)
        _postpone(parts, one, LATER)
    return False


def _address(parts: Parts, jig: Jig, view: NodeView) -> str | None:
    """Where the node was just found alive."""
    if not jig.touches_node:
        return None
    found = liveness.look(parts, view)
    if found is None:
        return next(iter(view.addresses), None)
    if not found.alive:
        raise NodeUnreachable(f"node {view.name} is not alive: {found.reason}")
    return found.address


def _take_in(parts: Parts, one: Any, found: Done | None) -> bool:
    with change(parts, ANNEALER) as turn:
        if not destructive.is_wanted(turn.session, one.id, one.once):
            return False  # retried or redeployed meanwhile
        if found is None:
            noderoles.note(turn.session, one.id, look_at=None)
            log.info("there is no mark of success", node_role=one.id, role=one.role, run=one.run_id)
            return False
        refused = merge_walls(turn, {one.id: (found.wall, one.run_id)}) if found.wall else {}
        for reason in refused.values():
            log.warning("what it had reported is left out", node_role=one.id, role=one.role, reason=reason)
        fates.recognise(turn, [one.id])
        return True


def _postpone(parts: Parts, one: Any, seconds: float) -> None:
    try:
        with parts.store.write(graph=False) as session:
            destructive.look_again(session, one.id, parts.store.now(session) + timedelta(seconds=seconds))
    except CrowbarError as error:
        log.warning("looking for a mark cannot be put off", node_role=one.id, error=error.detail)


def _unheard(line: str, /, *, stream: Literal["stdout", "stderr", "crowbar"] = "crowbar") -> None:
    """There is no run whose log it could be."""
