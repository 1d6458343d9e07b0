"""Whether nodes are alive: asking the barclamps, marking it with all that follows, the periodic probe."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from sqlalchemy import Text, cast, or_, select, update
from sqlalchemy.orm import Session

from crowbar_core.barclamp import NodeView, Probe
from crowbar_core.domain.states import ACTIVE, ERROR, TRANSITION
from crowbar_core.errors import CrowbarError, NotFound, Refused
from crowbar_core.services import fates
from crowbar_core.services.annealer import change
from crowbar_core.services.parts import Actor, Parts, Turn, log
from crowbar_core.services.views import node_row, node_views
from crowbar_core.store import transitions
from crowbar_core.store.models import Node, NodeRole, table

nodes, node_roles = table(Node), table(NodeRole)
AT_ONCE = 32


def mark_alive(turn: Turn, node_id: int, alive: bool, reason: str) -> bool:
    """Set a node alive or dead, with all that follows for its noderoles and their descendants. False: it was so
    already.
    """
    row = node_row(turn.session, node_id)
    if row.alive == alive:
        return False
    if row.system:
        raise Refused(f"Node {row.name} is a system node, which is always alive.")
    turn.session.execute(
        update(nodes)
        .where(nodes.c.id == node_id)
        .values(alive=alive, status="" if alive else reason, alive_at=turn.now, updated_at=turn.now)
    )
    log.info("node is alive" if alive else "node is dead", node=row.name, reason=reason)
    if not alive:
        halfway = fates.under_way(turn, node_id)
        transitions.abandon_runs(turn.moves, node_id, f"the node died: {reason}")
        fates.leave_halfway(turn, halfway, f"fate unknown: the node died: {reason}")
        ids = turn.session.scalars(
            select(node_roles.c.id).where(
                node_roles.c.node_id == node_id,
                node_roles.c.state.in_([int(s) for s in (ERROR, ACTIVE, TRANSITION)]),
                ~((node_roles.c.state == int(ERROR)) & node_roles.c.halfway),
            )
        ).all()
        transitions.send_back(turn.moves, ids, broken=True, status="", attempts=0, not_before=None, rerun=False)
        log.info("noderoles go back to work", node=row.name, count=len(ids))
    else:
        turn.session.execute(
            update(node_roles)
            .where(node_roles.c.node_id == node_id, node_roles.c.halfway, ~node_roles.c.done)
            .values(look_at=turn.now)
        )
    turn.moves.woken.add(node_id)
    return True


def probe(parts: Parts, node_id: int) -> Probe:
    """Ask the barclamps whether the node is alive, and mark it so. Takes seconds when it is not. When no barclamp can
    tell, the node stays as it is.
    """
    with parts.store.read() as session:
        view = node_views(parts.registry, session, parts.store, [node_id]).get(node_id)
    if view is None:
        raise NotFound(f"There is no node {node_id}.")
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
        view = node_views(parts.registry, session, parts.store, [node_id]).get(node_id)
    if view is None:
        raise NotFound(f"There is no node {node_id}.")
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
        row = turn.session.execute(
            select(nodes.c.host_keys, nodes.c.alive, nodes.c.updated_at).where(nodes.c.id == view.id)
        ).one_or_none()
        if row is None or (row.updated_at > asked_at and (row.alive != view.alive or not found.alive)):
            return found
        if first_keys and not row.host_keys and not _another_has(turn, view, found.host_keys):
            turn.session.execute(
                update(nodes).where(nodes.c.id == view.id).values(host_keys=list(found.host_keys), updated_at=turn.now)
            )
            turn.audit("node.host_keys", f"node {view.name}", taken=list(found.host_keys))
        if mark_alive(
            turn, view.id, found.alive, found.reason or ("it answers" if found.alive else "the probe failed")
        ):
            turn.tell("on_node_change", f"node {view.id}", id=view.id, changed=["alive"])
    return found


def _keep_reason(parts: Parts, view: NodeView, found: Probe) -> None:
    """A node that is still not alive may be so for another reason, or has been asked for the first time."""
    reason = found.reason[:2000]
    if reason:
        with parts.store.write(graph=False) as session:
            session.execute(
                update(nodes)
                .where(nodes.c.id == view.id, ~nodes.c.alive, nodes.c.status != reason)
                .values(status=reason)
            )


def _another_has(turn: Turn, view: NodeView, keys: Sequence[str]) -> bool:
    holder = holder_of_key(turn.session, view.id, keys)
    if holder is not None:
        log.warning("a host key is not taken: another node has it", node=view.name, other=holder)
    return holder is not None


def holder_of_key(session: Session, node_id: int, keys: Sequence[str]) -> str | None:
    """The name of another node that one of these host keys is known for."""
    texts = [key.split()[1] for key in keys if len(key.split()) > 1]
    if not texts:
        return None
    held = cast(nodes.c.host_keys, Text)
    return session.scalar(
        select(nodes.c.name)
        .where(nodes.c.id != node_id, or_(*(held.contains(text, autoescape=True) for text in texts)))
        .order_by(nodes.c.id)
        .limit(1)
    )


# ---------------------------------------------------------------- the periodic probe


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
