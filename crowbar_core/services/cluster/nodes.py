"""Nodes: registered, changed, moved, committed, removed."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from crowbar_core.barclamp import Json
from crowbar_core.domain import names
from crowbar_core.domain.attributes import lookup, merge, place, remove
from crowbar_core.domain.differences import differences
from crowbar_core.domain.reports import check_together
from crowbar_core.errors import BadInput, NotFound, Refused
from crowbar_core.services.annealing.annealer import cancel, change
from crowbar_core.services.cluster.binding import bind_wanted
from crowbar_core.services.cluster.commits import commit_hooks, commit_in_turn, propose_in_turn
from crowbar_core.services.cluster.leaving import forget_nodes, give_up, take_off, to_tear_down
from crowbar_core.services.cluster.registering import (
    NewNode,
    checked_hint,
    checked_report,
    create_nodes,
    node_attributes,
)
from crowbar_core.services.cluster.removing import remove_in_turn
from crowbar_core.services.data.changes import record_many
from crowbar_core.services.data.views import node_row, node_views
from crowbar_core.services.turns.parts import Parts
from crowbar_core.services.turns.secrets import keep_seals
from crowbar_core.services.turns.turn import Actor, Turn, rehearsing
from crowbar_core.services.values.drafts import commit_of_node_roles, commit_of_nodes
from crowbar_core.services.values.nodes import write_nodes
from crowbar_core.store import bindings, destructive, halting, node_fields, node_work, transitions

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
    new = NewNode(
        name=name, description=description, admin=admin, deployment_id=deployment_id, hint=hint or {},
        discovery=discovery or {}, host_keys=host_keys, bootenv=bootenv, alive=alive, available=available, order=order,
        hammers=hammers,
    )  # fmt: skip
    return create_nodes(parts, actor, [new])[0]


def change_node(parts: Parts, actor: Actor, node_id: int, changes: Mapping[str, Any]) -> None:
    """Change fields of a node. ``hint`` replaces the whole hint; ``discovery`` is merged into what is known, and None
    forgets that.

    Raises ``BadInput`` for an unknown field, ``Refused`` when the cluster's state forbids it.
    """
    change_nodes(parts, actor, [node_id], changes)


def change_nodes(parts: Parts, actor: Actor, node_ids: Sequence[int], changes: Mapping[str, Any]) -> None:
    """Change the same fields of many nodes, all of them or none."""
    if unknown := set(changes) - CHANGEABLE:
        raise BadInput(f"A node has no field {sorted(unknown)[0]!r} that can be changed.")
    if len(node_ids) > 1 and "name" in changes:
        raise BadInput(f"{len(node_ids)} nodes cannot all be called {changes['name']}: names are unique.")
    checked = _checked(parts, changes)
    with change(parts, actor) as turn:
        _change(turn, node_ids, checked)


def change_in_turn(turn: Turn, node_id: int, changes: Mapping[str, Any]) -> None:
    """Change one node inside a running turn."""
    _change(turn, [node_id], _checked(turn.parts, changes))


def _checked(parts: Parts, changes: Mapping[str, Any]) -> dict[str, Any]:
    """The changes with what is said of hint and discovery looked at: it may be large, so not under the graph's lock."""
    checked = dict(changes)
    if "name" in checked:
        checked["name"] = names.node_name(checked["name"])
    if "description" in checked:
        names.description(checked["description"])
    if "hint" in checked:
        checked["hint"] = checked_hint(parts, checked["hint"])
    if checked.get("discovery") is not None:
        checked["discovery"] = checked_report(parts, checked["discovery"])
    if "host_keys" in checked:
        checked["host_keys"] = list(checked["host_keys"])
    return checked


def _change(turn: Turn, node_ids: Sequence[int], changes: Mapping[str, Any]) -> None:
    rows = _rows(turn, node_ids)
    said = list(changes.get("discovery") or ())
    home = changes.get("deployment_id")
    if home is not None and home not in node_fields.homes(turn.session):
        raise NotFound(f"There is no deployment {home}.")
    values: dict[int, dict[str, Any]] = {}
    for ref, row in rows.items():
        if row.system and set(changes) - {"description"}:
            raise Refused(f"Node {row.name} is a system node: only its description can be changed.")
        of_node = dict(changes)
        if "hint" in changes:
            of_node["hint"] = keep_seals(turn.parts.cipher, row.hint, changes["hint"])
            if of_node["hint"] != row.hint:
                of_node["proposed_hint"] = _with_drafts(turn, row, of_node["hint"])
        if "discovery" in changes:
            of_node["discovery"] = _known(turn.parts, row, changes["discovery"])
        values[ref] = of_node
    changed = write_nodes(turn, values, reason=f"{turn.actor.name} said so")
    record_many(
        turn,
        [
            ("node", ref, layer, paths)
            for ref, fields in changed.items()
            for layer, paths in (("hint", list(changes.get("hint", ()))), ("discovery", said))
            if layer in fields
        ],
    )
    _take_along(turn, [rows[ref] for ref, fields in changed.items() if "deployment_id" in fields], home)
    done: list[tuple[str, dict[str, Any]]] = []
    for ref, fields in changed.items():
        told = {name: values[ref][name] for name in sorted(fields - {"proposed_hint"}) if name in values[ref]}
        done.append(
            (f"node {rows[ref].name}", {"fields": sorted(told), "changed": differences(rows[ref]._mapping, told)})
        )
    turn.audit_many("node.change", done)


def bring_host_keys(
    parts: Parts, actor: Actor, node_id: int, keys: Sequence[str], *, vouched: bool = False
) -> None:  # fmt: skip
    """A node's token brings the node's own SSH host keys. The first ones are taken, and others in their place when it
    is ``vouched`` for them: by a token that was made for this boot. The same ones again change nothing.

    Raises ``Refused`` when other keys are known and nobody vouches for these, or another node has one of them.
    """
    with change(parts, actor) as turn:
        row = node_row(turn.session, node_id)
        if sorted(row.host_keys) == sorted(keys):
            return
        if row.host_keys and not vouched:
            raise Refused(
                f"Other host keys are known for node {row.name}. If it was installed anew, an operator forgets them: "
                f"crowbar nodes forget-key {row.name}"
            )
        if holder := node_fields.holder_of_key(turn.session, node_id, keys):
            raise Refused(f"One of these host keys is known for node {holder}. Each node needs keys of its own.")
        _change(turn, [node_id], {"host_keys": list(keys)})
        if row.host_keys:
            turn.audit("node.host_keys", f"node {row.name}", taken=list(keys), forgotten=list(row.host_keys))


def _with_drafts(turn: Turn, row: Any, hint: Mapping[str, Json]) -> dict[str, Json]:
    """The new hint, with the drafts that the old one had."""
    proposed = dict(hint)
    for one in node_attributes(turn.parts):
        path = one.attribute.path
        drafted, value = lookup(row.proposed_hint, path)
        if (drafted, value) != lookup(row.hint, path):
            proposed = place(proposed, path, value) if drafted else remove(proposed, path)
    return proposed


def _take_along(turn: Turn, rows: Collection[Any], deployment_id: int | None) -> None:
    """Nodes (their rows as they were) have moved to another deployment; PROPOSED noderoles that never ran and on which
    nothing committed depends go along.
    """
    going: list[Any] = []
    for home in {row.deployment_id for row in rows}:
        here = [row.id for row in rows if row.deployment_id == home]
        going += node_work.movable(turn.session, turn.store, here, home)
    if going:
        # Bound anew in the other deployment, so that their parents are looked for there.
        remove_in_turn(turn, [one.id for one in going])
        bind_wanted(turn, [(one.node_id, one.role, deployment_id) for one in going])


def delete_node(
    parts: Parts, actor: Actor, node_id: int, *, wait: float = DELETE_WAIT, force: bool = False
) -> bool:  # fmt: skip
    """Remove a node: its running run is cancelled first, and when that is over the node goes. Returns whether it is
    gone: one that is alive goes when its roles have torn down what they made there (``force``: at once).

    Refused while a noderole on another node depends on one of its own and has run, and while its run has not ended
    after ``wait`` seconds (it goes on being cancelled).
    """
    return bool(delete_nodes(parts, actor, [node_id], wait=wait, force=force))


def delete_nodes(
    parts: Parts, actor: Actor, node_ids: Sequence[int], *, wait: float = DELETE_WAIT, force: bool = False
) -> tuple[int, ...]:
    """Remove many nodes, all of them or none; what depends on them may go with them. Returns those that are gone."""
    if rehearsing.get() is None:
        _stop_what_runs(parts, actor, node_ids, wait, force=force)
    with change(parts, actor) as turn:
        rows = _rows(turn, node_ids)
        _refuse_deletion(turn, rows)
        views = node_views(parts.registry, turn.session, parts.store, node_ids)
        if turn.notes is not None:
            turn.notes.gone.extend(f"node {row.name}" for row in rows.values())
            turn.notes.gone.extend(
                f"run {run.id} of {run.role}, which is under way"
                for run in node_work.open_runs(turn.session, turn.store, node_ids)
            )
            halting.abandon_runs_on(turn.moves, node_ids, "the node is being deleted")
        bound = bindings.by_node(turn.session, turn.store, node_ids)
        alive = [] if force else [one for ref, row in rows.items() if row.alive for one in bound.get(ref, [])]
        waiting = {row.node_id for row in to_tear_down(turn, alive)} if alive else set()
        if waiting and not take_off(turn, [one for ref in sorted(waiting) for one in bound[ref]]):
            node_fields.mark_leaving(turn.session, turn.store, waiting)
            rows = {ref: row for ref, row in rows.items() if ref not in waiting}
        remove_in_turn(turn, [one for ref in rows if ref not in waiting for one in bound.get(ref, [])])
        forget_nodes(turn, [views[ref] for ref in rows])
        return tuple(rows)


def _stop_what_runs(parts: Parts, actor: Actor, node_ids: Sequence[int], wait: float, *, force: bool) -> None:
    """What is torn down already goes on, unless ``force``."""
    with change(parts, actor) as turn:
        rows = _rows(turn, node_ids)
        _refuse_deletion(turn, rows)
        busy = [one for one in node_work.open_runs(turn.session, turn.store, node_ids) if force or not one.teardown]
        if force:
            give_up(
                turn, [ref for refs in bindings.by_node(turn.session, turn.store, node_ids).values() for ref in refs]
            )
        cancel(turn, [run.node_role_id for run in busy], "the node is being deleted")
        write_nodes(turn, {ref: {"available": False} for ref in node_ids}, asked=False)
        dead = [ref for ref, row in rows.items() if not row.alive]
        halting.abandon_runs_on(turn.moves, dead, "the node is being deleted")
    deadline = time.monotonic() + wait
    while _open_runs(parts, node_ids, force=force) and time.monotonic() < deadline:
        time.sleep(0.1)
    if left := _open_runs(parts, node_ids, force=force):
        raise Refused(
            f"Node {rows[left[0].node_id].name} still has run {left[0].id}, which is being cancelled. Delete it again "
            "when that has ended."
        )


def _refuse_deletion(turn: Turn, rows: Mapping[int, Any]) -> None:
    for row in rows.values():
        if row.system:
            raise Refused(f"Node {row.name} is a system node: it goes with its deployment.")
    if found := node_work.dependants_elsewhere(turn.session, turn.store, rows):
        first = rows[found[0].on]
        listed = ", ".join(f"{one.role} on {one.node}" for one in found if one.on == first.id)
        raise Refused(f"Node {first.name} cannot be deleted: {listed} depend on it and have run. Unbind those first.")
    if turn.registry.listens("check_delete"):
        for view in node_views(turn.registry, turn.session, turn.store, rows).values():
            if said := turn.registry.objections("check_delete", subject=view, session=turn.session):
                raise Refused(" ".join(said))


def commit_node(parts: Parts, actor: Actor, node_id: int) -> None:
    """Accept a node: all its PROPOSED noderoles and its drafts are committed, and it becomes available."""
    commit_nodes(parts, actor, [node_id])


def commit_nodes(parts: Parts, actor: Actor, node_ids: Sequence[int]) -> None:
    """Accept many nodes, all of them or none."""
    with change(parts, actor) as turn:
        commit_nodes_in_turn(turn, node_ids)


def commit_nodes_in_turn(turn: Turn, node_ids: Sequence[int]) -> None:
    """The same inside a running turn."""
    rows = _rows(turn, node_ids)
    bound = bindings.by_node(turn.session, turn.store, node_ids)
    here = [ref for ids in bound.values() for ref in ids]
    commit_of_nodes(turn, node_ids)
    commit_of_node_roles(turn, here)
    committed = set(commit_in_turn(turn, here))
    commit_hooks(turn, committed)
    write_nodes(turn, {ref: {"available": True} for ref, row in rows.items() if not row.system})
    turn.moves.woken.update(node_ids)
    turn.audit_many(
        "node.commit",
        [
            (f"node {row.name}", {"committed": [one for one in bound.get(ref, ()) if one in committed]})
            for ref, row in rows.items()
        ],
    )


def propose_node(parts: Parts, actor: Actor, node_id: int) -> None:
    """Take all of a node's noderoles back to PROPOSED. Refused while one of them runs."""
    with change(parts, actor) as turn:
        row = node_row(turn.session, node_id)
        for node_role_id in node_work.not_proposed(turn.session, node_id):
            propose_in_turn(turn, node_role_id)
        turn.audit("node.propose", f"node {row.name}")


def redeploy_node(parts: Parts, actor: Actor, node_id: int) -> None:
    """Do all of a node's work again, the destructive roles' too. Refused while one of them runs."""
    redeploy_nodes(parts, actor, [node_id])


def redeploy_nodes(parts: Parts, actor: Actor, node_ids: Sequence[int]) -> None:
    """Do all work of many nodes again, all of them or none."""
    with change(parts, actor) as turn:
        rows = _rows(turn, node_ids)
        open_runs = node_work.open_runs(turn.session, turn.store, node_ids)
        if busy := [run for run in open_runs if run.state in ("running", "cancelling")]:
            raise Refused(
                f"Node {rows[busy[0].node_id].name} has run {busy[0].id} just now. Cancel it, or wait for its end, "
                "then redeploy."
            )
        bound = bindings.by_node(turn.session, turn.store, node_ids)
        ids = [ref for here in bound.values() for ref in here]
        cancel(turn, ids, "the node is redeployed")
        destructive.forget(turn.session, ids)
        transitions.send_back(turn.moves, ids, status="redeployed", attempts=0, not_before=None, rerun=False)
        turn.moves.woken.update(node_ids)
        turn.audit_many("node.redeploy", [(f"node {row.name}", {}) for row in rows.values()])


# ---------------------------------------------------------------- parts of the above


def _rows(turn: Turn, node_ids: Sequence[int]) -> dict[int, Any]:
    """The rows of these nodes, in this order. Raises ``NotFound``."""
    found = node_fields.rows_of(turn.session, turn.store, node_ids)
    if missing := [ref for ref in node_ids if ref not in found]:
        raise NotFound(f"There is no node {missing[0]}.")
    return {ref: found[ref] for ref in node_ids}


def _open_runs(parts: Parts, node_ids: Sequence[int], *, force: bool) -> list[Any]:
    with parts.store.read() as session:
        return [one for one in node_work.open_runs(session, parts.store, node_ids) if force or not one.teardown]


def _known(parts: Parts, row: Any, report: dict[str, Json] | None) -> Json:
    """What is known of a node after a report. Raises ``BadInput`` when all reports together would be too much."""
    if report is None:
        return {}
    together = merge(row.discovery, report)
    assert isinstance(together, dict)
    check_together(together, whose=f"What is known of {row.name}, with this report,")
    return keep_seals(parts.cipher, row.discovery, together)
