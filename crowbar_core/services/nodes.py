"""Nodes: registered, changed, moved, committed, removed."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import delete, func, insert, select, update
from sqlalchemy.orm import Session

from crowbar_core.barclamp import Json, NodeView
from crowbar_core.domain import names
from crowbar_core.domain.addresses import check_hint
from crowbar_core.domain.attributes import check_size, check_value, lookup, merge, place, remove
from crowbar_core.domain.reports import check_report, check_together
from crowbar_core.domain.states import PROPOSED
from crowbar_core.errors import BadInput, NotFound, Refused
from crowbar_core.plugins import LoadedAttribute
from crowbar_core.services import fates
from crowbar_core.services.addresses import keep_claims
from crowbar_core.services.annealer import cancel, change
from crowbar_core.services.binding import bind_in_turn, remove_in_turn
from crowbar_core.services.changes import record, watch_nodes
from crowbar_core.services.commits import commit_hooks, commit_in_turn, propose_in_turn
from crowbar_core.services.drafts import commit_of_node_roles, commit_of_nodes
from crowbar_core.services.hammers import insert_hammer
from crowbar_core.services.liveness import holder_of_key, mark_alive
from crowbar_core.services.parts import Actor, Parts, Turn, rehearsing
from crowbar_core.services.secrets import keep_seals, seal
from crowbar_core.services.views import node_row, node_views
from crowbar_core.store import transitions
from crowbar_core.store.models import Deployment, Edge, HammerRow, Node, NodeRole, RoleRow, Run, table

nodes, node_roles, roles, edges, runs = table(Node), table(NodeRole), table(RoleRow), table(Edge), table(Run)
deployments, hammers = table(Deployment), table(HammerRow)

CHANGEABLE = frozenset(
    ("name", "description", "available", "alive", "bootenv", "deployment_id", "hint", "discovery", "host_keys", "order",
     "target_role_id", "allocated")
)  # fmt: skip
DELETE_WAIT = 40.0
"""Seconds that deleting a node waits for its running run to be stopped."""


def create_node(
    parts: Parts, actor: Actor, *, name: str, description: str = "", admin: bool = False,
    deployment_id: int | None = None,
    hint: Mapping[str, Json] | None = None, discovery: Mapping[str, Json] | None = None, host_keys: Sequence[str] = (),
    bootenv: str = "local", alive: bool = False, available: bool = False, order: int = 1000,
    hammers: Sequence[tuple[str, int, Mapping[str, Json]]] = (),
) -> int:  # fmt: skip
    """Register a machine; bootstrap roles are bound to an admin node, discovery roles to any other. Returns its id.

    ``hammers`` are (name, priority, config). Raises ``BadInput``, ``Refused`` (the name is taken, a barclamp objects).
    """
    name = names.node_name(name)
    names.description(description)
    # All that takes long to look at is looked at before the graph's lock is taken.
    wished, known = _hint(parts, hint or {}), _report(parts, discovery or {})
    with change(parts, actor) as turn:
        home = deployment_id if deployment_id is not None else _root(turn.session)
        _deployment_name(turn.session, home)
        taken = turn.session.scalar(select(nodes.c.id).where(func.lower(nodes.c.name) == name.lower()))
        if taken is not None:
            raise Refused(f"There is a node {name} already (node {taken}). Names are unique, whatever their case.")
        node_id = turn.session.scalars(
            insert(nodes)
            .values(
                name=name, description=description, admin=admin, deployment_id=home, bootenv=bootenv, alive=alive,
                alive_at=turn.now if alive else None,
                available=available, order=order, hint=wished, proposed_hint=wished,
                discovery=known, host_keys=list(host_keys),
                created_at=turn.now, updated_at=turn.now,
            )
            .returning(nodes.c.id)
        ).one()  # fmt: skip
        keep_claims(turn, [node_id])
        _refuse_objections(turn, node_id)
        for layer, tree in (("hint", wished), ("discovery", known)):
            record(turn, "node", node_id, layer, list(tree))
        for hammer, priority, config in hammers:
            insert_hammer(turn, node_id, hammer, priority, config)
        for role in sorted(parts.registry.roles.values(), key=lambda one: one.role.name):
            if role.role.bootstrap if admin else role.role.discovery:
                bind_in_turn(turn, node_id=node_id, role=role.role.name, deployment_id=home)
        turn.tell("on_node_create", f"node {node_id}", id=node_id)
        turn.audit("node.create", f"node {name}", admin=admin)
        turn.moves.woken.add(node_id)
        return int(node_id)


def change_node(parts: Parts, actor: Actor, node_id: int, changes: Mapping[str, Any]) -> None:
    """Change fields of a node. ``hint`` replaces the whole hint; ``discovery`` is merged into what is known, and None
    forgets that.

    Raises ``BadInput`` for an unknown field, ``Refused`` when the cluster's state forbids it.
    """
    if unknown := set(changes) - CHANGEABLE:
        raise BadInput(f"A node has no field {sorted(unknown)[0]!r} that can be changed.")
    checked = _checked(parts, changes)
    with change(parts, actor) as turn:
        _change(turn, node_id, checked)


def change_in_turn(turn: Turn, node_id: int, changes: Mapping[str, Any]) -> None:
    """The same inside a running turn."""
    _change(turn, node_id, _checked(turn.parts, changes))


def _checked(parts: Parts, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The changes with what is said of hint and discovery looked at: it may be large, so not under the graph's lock."""
    checked = dict(changes)
    if "hint" in checked:
        checked["hint"] = _hint(parts, checked["hint"])
    if checked.get("discovery") is not None:
        checked["discovery"] = _report(parts, checked["discovery"])
    return checked


def _change(turn: Turn, node_id: int, changes: Mapping[str, Any]) -> None:
    row = node_row(turn.session, node_id)
    parts, values = turn.parts, dict(changes)
    said = list(values.get("discovery") or ())
    if "name" in values:
        values["name"] = names.node_name(values["name"])
        other = turn.session.scalar(
            select(nodes.c.id).where(func.lower(nodes.c.name) == values["name"].lower(), nodes.c.id != node_id)
        )
        if other is not None:
            raise Refused(f"There is a node {values['name']} already (node {other}).")
    if "description" in values:
        names.description(values["description"])
    if row.system and set(values) - {"description"}:
        raise Refused(f"Node {row.name} is a system node: only its description can be changed.")
    if "hint" in values:
        values["hint"] = keep_seals(parts.cipher, row.hint, values["hint"])
    if "discovery" in values:
        values["discovery"] = _known(parts, row, values["discovery"])
    if "host_keys" in values:
        values["host_keys"] = list(values["host_keys"])
    changed = {key for key, value in values.items() if getattr(row, key) != value}
    if not changed:
        return
    if "deployment_id" in changed:
        _move(turn, row, values["deployment_id"])
    plain = {key: values[key] for key in changed if key not in ("alive", "deployment_id")}
    if "hint" in changed:
        plain["proposed_hint"] = _with_drafts(turn, row, values["hint"])
    if plain:
        with watch_nodes(turn, [node_id] if {"hint", "discovery"} & changed else []):
            turn.session.execute(update(nodes).where(nodes.c.id == node_id).values(updated_at=turn.now, **plain))
        for layer, paths in (("hint", list(values.get("hint", ()))), ("discovery", said)):
            if layer in changed:
                record(turn, "node", node_id, layer, paths)
    if "alive" in changed:
        mark_alive(turn, node_id, values["alive"], f"{turn.actor.name} said so")
    if "available" in changed and not values["available"]:
        _cancel_queued(turn, node_id)
    turn.moves.woken.add(node_id)
    _refuse_objections(turn, node_id)
    turn.tell("on_node_change", f"node {node_id}", id=node_id, changed=sorted(changed))
    turn.audit("node.change", f"node {row.name}", fields=sorted(changed))


def bring_host_keys(parts: Parts, actor: Actor, node_id: int, keys: Sequence[str]) -> None:
    """A node's token brings the node's own SSH host keys. The first ones are taken; the same ones again change nothing.

    Raises ``Refused`` when other keys are known, or another node has one of these.
    """
    with change(parts, actor) as turn:
        row = node_row(turn.session, node_id)
        if sorted(row.host_keys) == sorted(keys):
            return
        if row.host_keys:
            raise Refused(
                f"Other host keys are known for node {row.name}. If it was installed anew, an operator forgets them: "
                f"crowbar nodes forget-key {row.name}"
            )
        if holder := holder_of_key(turn.session, node_id, keys):
            raise Refused(f"One of these host keys is known for node {holder}. Each node needs keys of its own.")
        _change(turn, node_id, {"host_keys": list(keys)})


def _with_drafts(turn: Turn, row: Any, hint: Mapping[str, Json]) -> dict[str, Json]:
    """The new hint, with the drafts that the old one had."""
    proposed = dict(hint)
    for one in _node_attributes(turn.parts):
        path = one.attribute.path
        drafted, value = lookup(row.proposed_hint, path)
        if (drafted, value) != lookup(row.hint, path):
            proposed = place(proposed, path, value) if drafted else remove(proposed, path)
    return proposed


def _cancel_queued(turn: Turn, node_id: int) -> None:
    """Nothing new starts on a node that is not available: runs that nobody has begun go back."""
    queued = turn.session.scalars(
        select(runs.c.node_role_id).where(runs.c.node_id == node_id, runs.c.state == "queued")
    ).all()
    cancel(turn, queued, "the node is not available", queued_only=True)


def _move(turn: Turn, row: Any, deployment_id: int) -> None:
    """Move a node to another deployment; PROPOSED noderoles that never ran and on which nothing committed depends go
    along.
    """
    _deployment_name(turn.session, deployment_id)
    child = node_roles.alias()
    held = (
        select(edges.c.parent_id)
        .join(child, child.c.id == edges.c.child_id)
        .where(child.c.state != int(PROPOSED))
        .scalar_subquery()
    )
    going = turn.session.execute(
        select(node_roles.c.id, node_roles.c.role_id).where(
            node_roles.c.node_id == row.id, node_roles.c.deployment_id == row.deployment_id,
            node_roles.c.state == int(PROPOSED), node_roles.c.run_count == 0, node_roles.c.id.not_in(held),
        )
    ).all()  # fmt: skip
    turn.session.execute(
        update(nodes).where(nodes.c.id == row.id).values(deployment_id=deployment_id, updated_at=turn.now)
    )
    if going:
        # Bound anew in the other deployment, so that their parents are looked for there.
        names_ = dict(
            turn.session.execute(
                select(roles.c.id, roles.c.name).where(roles.c.id.in_([g.role_id for g in going]))
            ).all()
        )
        remove_in_turn(turn, [one.id for one in going])
        for one in going:
            bind_in_turn(turn, node_id=row.id, role=names_[one.role_id], deployment_id=deployment_id)


def delete_node(parts: Parts, actor: Actor, node_id: int, *, wait: float = DELETE_WAIT) -> None:
    """Remove a node: its running run is cancelled first, and when that is over the node goes.

    Refused while a noderole on another node depends on one of its own and has run, and while its run has not ended
    after ``wait`` seconds (it goes on being cancelled).
    """
    if rehearsing.get() is None:
        _stop_what_runs(parts, actor, node_id, wait)
    with change(parts, actor) as turn:
        row = node_row(turn.session, node_id)
        _refuse_deletion(turn, row)
        view = node_views(parts.registry, turn.session, parts.store, [node_id])[node_id]
        if turn.notes is not None:
            turn.notes.gone.extend([f"node {row.name}", *_runs_under_way(turn, node_id)])
            transitions.abandon_runs(turn.moves, node_id, "the node is being deleted")
        ids = turn.session.scalars(select(node_roles.c.id).where(node_roles.c.node_id == node_id)).all()
        remove_in_turn(turn, ids)
        turn.session.execute(delete(nodes).where(nodes.c.id == node_id))
        turn.moves.woken.discard(node_id)
        turn.tell("on_node_delete", f"node {node_id}", id=node_id, view=_view_payload(view))
        turn.audit("node.delete", f"node {row.name}")


def _stop_what_runs(parts: Parts, actor: Actor, node_id: int, wait: float) -> None:
    with change(parts, actor) as turn:
        row = node_row(turn.session, node_id)
        _refuse_deletion(turn, row)
        turn.session.execute(update(nodes).where(nodes.c.id == node_id).values(available=False, updated_at=turn.now))
        busy = turn.session.scalars(
            select(runs.c.node_role_id).where(runs.c.node_id == node_id, runs.c.finished_at.is_(None))
        ).all()
        cancel(turn, busy, "the node is being deleted")
        if not row.alive:
            transitions.abandon_runs(turn.moves, node_id, "the node is being deleted")
    deadline = time.monotonic() + wait
    while _open_run(parts, node_id) is not None and time.monotonic() < deadline:
        time.sleep(0.1)
    if (run_id := _open_run(parts, node_id)) is not None:
        raise Refused(
            f"Node {row.name} still has run {run_id}, which is being cancelled. Delete it again when that has ended."
        )


def _runs_under_way(turn: Turn, node_id: int) -> list[str]:
    rows = turn.session.execute(
        select(runs.c.id, roles.c.name)
        .join(node_roles, node_roles.c.id == runs.c.node_role_id)
        .join(roles, roles.c.id == node_roles.c.role_id)
        .where(runs.c.node_id == node_id, runs.c.finished_at.is_(None))
    )
    return [f"run {row.id} of {row.name}, which is under way" for row in rows]


def _refuse_deletion(turn: Turn, row: Any) -> None:
    if row.system:
        raise Refused(f"Node {row.name} is a system node: it goes with its deployment.")
    _refuse_dependants(turn, row)


def _view_payload(view: NodeView) -> dict[str, Json]:
    return {key: getattr(view, key) for key in view.__dataclass_fields__}


def _refuse_dependants(turn: Turn, row: Any) -> None:
    child = node_roles.alias()
    found = turn.session.execute(
        select(nodes.c.name.label("node"), roles.c.name.label("role"))
        .select_from(edges)
        .join(node_roles, node_roles.c.id == edges.c.parent_id)
        .join(child, child.c.id == edges.c.child_id)
        .join(nodes, nodes.c.id == child.c.node_id)
        .join(roles, roles.c.id == child.c.role_id)
        .where(node_roles.c.node_id == row.id, child.c.node_id != row.id, child.c.run_count > 0, edges.c.kind == "data")
        .where(node_roles.c.committed)
        .where(~_has_other_peer(child))
        .limit(5)
    ).all()
    if found:
        listed = ", ".join(f"{one.role} on {one.node}" for one in found)
        raise Refused(f"Node {row.name} cannot be deleted: {listed} depend on it and have run. Unbind those first.")


def _has_other_peer(child: Any) -> Any:
    """Whether the child has the same role as its parent's peers on other nodes: a cluster survives the loss of a
    member.
    """
    other_edge, other = edges.alias(), node_roles.alias()
    return (
        select(other_edge.c.parent_id)
        .join(other, other.c.id == other_edge.c.parent_id)
        .where(
            other_edge.c.child_id == child.c.id,
            other.c.role_id == node_roles.c.role_id,
            other.c.node_id != node_roles.c.node_id,
        )
        .correlate(child, node_roles)
        .exists()
    )


def commit_node(parts: Parts, actor: Actor, node_id: int) -> None:
    """Accept a node: all its PROPOSED noderoles and its drafts are committed, and it becomes available."""
    with change(parts, actor) as turn:
        row = node_row(turn.session, node_id)
        here = turn.session.scalars(select(node_roles.c.id).where(node_roles.c.node_id == node_id)).all()
        commit_of_nodes(turn, [node_id])
        commit_of_node_roles(turn, here)
        ids = commit_in_turn(turn, here)
        commit_hooks(turn, ids)
        if not row.available and not row.system:
            turn.session.execute(update(nodes).where(nodes.c.id == node_id).values(available=True, updated_at=turn.now))
            turn.tell("on_node_change", f"node {node_id}", id=node_id, changed=["available"])
        turn.moves.woken.add(node_id)
        turn.audit("node.commit", f"node {row.name}", committed=list(ids))


def propose_node(parts: Parts, actor: Actor, node_id: int) -> None:
    """Take all of a node's noderoles back to PROPOSED. Refused while one of them runs."""
    with change(parts, actor) as turn:
        row = node_row(turn.session, node_id)
        ids = turn.session.scalars(
            select(node_roles.c.id).where(node_roles.c.node_id == node_id, node_roles.c.state != int(PROPOSED))
        ).all()
        for node_role_id in sorted(ids):
            propose_in_turn(turn, node_role_id)
        turn.audit("node.propose", f"node {row.name}")


def redeploy_node(parts: Parts, actor: Actor, node_id: int) -> None:
    """Do all of a node's work again, the destructive roles' too. Refused while one of them runs."""
    with change(parts, actor) as turn:
        row = node_row(turn.session, node_id)
        busy = turn.session.scalar(
            select(runs.c.id).where(runs.c.node_id == node_id, runs.c.state.in_(["running", "cancelling"]))
        )
        if busy is not None:
            raise Refused(f"Node {row.name} has run {busy} just now. Cancel it, or wait for its end, then redeploy.")
        ids = turn.session.scalars(select(node_roles.c.id).where(node_roles.c.node_id == node_id)).all()
        cancel(turn, ids, "the node is redeployed")
        fates.forget(turn, ids)
        transitions.send_back(turn.moves, ids, status="redeployed", attempts=0, not_before=None, rerun=False)
        turn.moves.woken.add(node_id)
        turn.audit("node.redeploy", f"node {row.name}")


# ---------------------------------------------------------------- parts of the above


def _root(session: Session) -> int:
    return int(session.scalars(select(deployments.c.id).where(deployments.c.system)).one())


def _deployment_name(session: Session, deployment_id: int) -> str:
    name = session.scalar(select(deployments.c.name).where(deployments.c.id == deployment_id))
    if name is None:
        raise NotFound(f"There is no deployment {deployment_id}.")
    return str(name)


def _open_run(parts: Parts, node_id: int) -> int | None:
    with parts.store.read() as session:
        return session.scalar(select(runs.c.id).where(runs.c.node_id == node_id, runs.c.finished_at.is_(None)))


def _refuse_objections(turn: Turn, node_id: int) -> None:
    if turn.registry.listens("check_node"):
        view = node_views(turn.registry, turn.session, turn.store, [node_id])[node_id]
        if said := turn.registry.objections("check_node", node=view):
            raise Refused(" ".join(said))


def _hint(parts: Parts, hint: Mapping[str, Json]) -> dict[str, Json]:
    check_hint(hint)
    return _sealed(parts, hint)


def _report(parts: Parts, report: Mapping[str, Json]) -> dict[str, Json]:
    return _sealed(parts, check_report(report))


def _known(parts: Parts, row: Any, report: dict[str, Json] | None) -> Json:
    """What is known of a node after a report. Raises ``BadInput`` when all reports together would be too much."""
    if report is None:
        return {}
    together = merge(row.discovery, report)
    assert isinstance(together, dict)
    check_together(together, whose=f"What is known of {row.name}, with this report,")
    return keep_seals(parts.cipher, row.discovery, together)


def _sealed(parts: Parts, tree: Mapping[str, Json]) -> dict[str, Json]:
    """The tree checked against the attributes that live on nodes, with their secrets sealed."""
    check_size("the node's data", dict(tree))
    checked = dict(tree)
    for one in _node_attributes(parts):
        found, value = lookup(checked, one.attribute.path)
        if found:
            check_value(one.attribute, value)
            if one.attribute.secret:
                checked = place(checked, one.attribute.path, seal(parts.cipher, value))
    return checked


def _node_attributes(parts: Parts) -> list[LoadedAttribute]:
    return [one for one in parts.registry.attributes.values() if one.role is None]
