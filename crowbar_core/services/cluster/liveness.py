"""Whether nodes are alive: asking the barclamps, marking it with all that follows, the periodic probe."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from crowbar_core.barclamp import NodeView, Probe
from crowbar_core.errors import CrowbarError
from crowbar_core.logs import log
from crowbar_core.services.annealing.annealer import change
from crowbar_core.services.data.views import node_view, node_views
from crowbar_core.services.turns.parts import Parts
from crowbar_core.services.turns.turn import Actor, Turn
from crowbar_core.services.values.nodes import write_nodes
from crowbar_core.store import node_fields

AT_ONCE = 32


def probe(parts: Parts, node_id: int) -> Probe:
    """Ask the barclamps whether the node is alive, and mark it so. Takes seconds when it is not. When no barclamp can
    tell, the node stays as it is.
    """
    with parts.store.read() as session:
        view = node_view(parts.registry, session, parts.store, node_id)
    found = look(parts, view)
    if found is None:
        return Probe(alive=view.alive, address=next(iter(view.addresses), None), reason="no barclamp can tell")
    return found


def look(parts: Parts, view: NodeView) -> Probe | None:
    """Ask whether the node is alive, and mark it so. None: no barclamp can tell."""
    asked_at = asking(parts)
    found = ask_probe(parts, view)
    return None if found is None else take_in_probe(parts, view, found, asked_at=asked_at)


def asking(parts: Parts) -> datetime:
    """The moment, by the database's clock, at which a probe begins."""
    with parts.store.read() as session:
        return parts.store.now(session)


def addresses(parts: Parts, node_id: int) -> tuple[str, ...]:
    """The node's addresses on the admin network, as the barclamps know them, best first."""
    with parts.store.read() as session:
        view = node_view(parts.registry, session, parts.store, node_id)
    return view.addresses


def ask_probe(parts: Parts, view: NodeView) -> Probe | None:
    """The first answer of a barclamp to "is it alive?". Outside any transaction."""
    if view.system:
        return None
    for _, answer in parts.registry.ask("probe_node", node=view):
        if isinstance(answer, Probe):
            return answer
    return None


def take_in_probe(parts: Parts, view: NodeView, found: Probe, *, asked_at: datetime) -> Probe:
    """Mark the node alive or dead as the probe says; host keys seen for the first time become the known ones, if an
    operator or a barclamp said that the node is at that address. Where only the node itself says so, whoever is there
    would become the node. A key that is another node's is not taken either.

    Several probes of a node may be under way. One that was overtaken says how it was, not how it is: while a dead
    node's answer is waited for, the node may have come back, and the runs that it has by now must not suffer for it.
    """
    vouched = not view.reported_addresses if found.address is None else found.address not in view.reported_addresses
    first_keys = found.alive and bool(found.host_keys) and not view.host_keys and vouched
    if found.alive == view.alive and not first_keys:
        if not found.alive:
            _keep_reason(parts, view, found)
        return found
    with change(parts, Actor("probe")) as turn:
        row = node_fields.row_of(turn.session, view.id)
        if row is None or (row.updated_at > asked_at and (row.alive != view.alive or not found.alive)):
            return found
        values: dict[str, Any] = {"alive": found.alive}
        if first_keys and not row.host_keys and not _another_has(turn, view, found.host_keys):
            values["host_keys"] = list(found.host_keys)
            turn.audit("node.host_keys", f"node {view.name}", taken=list(found.host_keys))
        why = found.reason or ("it answers" if found.alive else "the probe failed")
        write_nodes(turn, {view.id: values}, reason=why)
    return found


def _keep_reason(parts: Parts, view: NodeView, found: Probe) -> None:
    """A node that is still not alive may be so for another reason, or has been asked for the first time."""
    reason = found.reason[:2000]
    if reason:
        with parts.store.write(graph=False) as session:
            node_fields.note_reason(session, view.id, reason)


def _another_has(turn: Turn, view: NodeView, keys: Sequence[str]) -> bool:
    holder = node_fields.holder_of_key(turn.session, view.id, keys)
    if holder is not None:
        log.warning("a host key is not taken: another node has it", node=view.name, other=holder)
    return holder is not None


# ---------------------------------------------------------------- the periodic probe


def probe_all(parts: Parts, which: Callable[[Session], list[int]] = node_fields.to_probe) -> int:
    """Probe every node that is available, or those that ``which`` names by their ids. Returns how many.

    Nothing happens when no barclamp can tell.
    """
    if not parts.registry.listens("probe_node"):
        return 0
    with parts.store.read() as session:
        ids = which(session)
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
                node_fields.note_probed(session, parts.store.now(session), view.id)
    except CrowbarError as error:
        log.warning("probe failed", node=view.name, error=error.detail)
