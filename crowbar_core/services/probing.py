"""The periodic probe: is every node that should be alive alive, and has one come back?"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import select, update

from crowbar_core.barclamp import NodeView
from crowbar_core.errors import CrowbarError
from crowbar_core.services.nodes import ask_probe, asking, take_in_probe
from crowbar_core.services.parts import Parts, log
from crowbar_core.services.views import node_views
from crowbar_core.store.models import Node, table

nodes = table(Node)
AT_ONCE = 32


def probe_all(parts: Parts, *, new_only: bool = False) -> int:
    """Probe every node that is available (``new_only``: that was never probed). Returns how many.

    Nothing happens when no barclamp can tell.
    """
    if not parts.registry.listens("probe_node"):
        return 0
    with parts.store.read() as session:
        wanted = select(nodes.c.id).where(~nodes.c.system, nodes.c.available)
        if new_only:
            wanted = wanted.where(nodes.c.probed_at.is_(None)).limit(1000)
        ids = session.scalars(wanted).all()
        if not ids:
            return 0
        views = list(node_views(parts.registry, session, parts.store, ids).values())
    with ThreadPoolExecutor(max_workers=min(AT_ONCE, len(views)), thread_name_prefix="crowbar-probe") as pool:
        list(pool.map(lambda view: probe_one(parts, view), views))
    return len(views)


def probe_one(parts: Parts, view: NodeView) -> None:
    """Probe one node, as often as the grace allows before it is taken for dead."""
    try:
        asked_at = asking(parts)
        found = ask_probe(parts, view)
        for _ in range(max(parts.settings.probe_grace, 1) - 1):
            if found is None or found.alive or not view.alive:
                break
            found = ask_probe(parts, view)
        if found is not None:
            take_in_probe(parts, view, found, asked_at=asked_at)
            with parts.store.write(graph=False) as session:
                session.execute(update(nodes).where(nodes.c.id == view.id).values(probed_at=parts.store.now(session)))
    except CrowbarError as error:
        log.warning("probe failed", node=view.name, error=error.detail)
