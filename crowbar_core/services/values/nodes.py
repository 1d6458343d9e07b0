"""The one writer of nodes: whatever is written of one, by whomever, passes the same checks, has the same consequences,
and is told of alike.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from contextlib import nullcontext
from typing import Any

from crowbar_core.domain import names
from crowbar_core.errors import NotFound, Refused
from crowbar_core.services.annealing.annealer import cancel
from crowbar_core.services.annealing.deaths import follow_alive
from crowbar_core.services.data.changes import watch_nodes
from crowbar_core.services.data.views import node_views
from crowbar_core.services.turns.turn import Turn
from crowbar_core.store import node_fields, node_work

FACTS = frozenset(("alive", "host_keys", "served_bootenv", "switched_off"))
"""What is so, whether anybody likes it or not: barclamps are told of it, not asked."""
_DRAFTS = frozenset(("proposed_hint",))
_OF_SYSTEM_NODES = frozenset(("description", "hint", "proposed_hint", "discovery"))


def write_nodes(
    turn: Turn, changes: Mapping[int, Mapping[str, Any]], *, reason: str = "", asked: bool = True
) -> dict[int, frozenset[str]]:
    """Write fields of nodes, node -> field -> value (secrets sealed), where they differ. Returns what has changed.

    Who wants a changed hint or report goes back to work; so does all on a node that dies (``reason``); what waits to
    start on one that is not available any more is taken back. Then barclamps may object, unless they are not ``asked``;
    after the commit they are told. Raises ``NotFound``, ``Refused``.
    """
    rows = node_fields.rows_of(turn.session, turn.store, changes)
    changed: dict[int, dict[str, Any]] = {}
    for ref, values in changes.items():
        if ref not in rows:
            raise NotFound(f"There is no node {ref}.")
        differing = {name: value for name, value in values.items() if getattr(rows[ref], name) != value}
        if differing:
            _refuse(turn, rows[ref], differing)
            changed[ref] = differing
    for values in changed.values():
        if "alive" in values:
            values |= {"alive_at": turn.now, "status": "" if values["alive"] else reason}
            if values["alive"]:
                values["switched_off"] = False
    seen = [ref for ref, values in changed.items() if {"hint", "discovery"} & values.keys()]
    with watch_nodes(turn, seen) if seen else nullcontext():
        node_fields.write(turn.session, turn.store, turn.now, changed)
    told = {ref: frozenset(changes[ref]) & values.keys() for ref, values in changed.items()}
    for ref, values in changed.items():
        if "alive" in values:
            follow_alive(turn, rows[ref], values["alive"], reason)
    _cancel_queued(turn, [ref for ref, values in changed.items() if values.get("available") is False])
    refuse_objections(turn, [ref for ref, fields in told.items() if asked and fields - FACTS - _DRAFTS])
    for ref, fields in told.items():
        if fields - _DRAFTS:
            turn.moves.woken.add(ref)
            turn.tell("on_node_change", f"node {ref}", id=ref, changed=sorted(fields - _DRAFTS))
    return told


def refuse_objections(turn: Turn, node_ids: Collection[int]) -> None:
    """Raise ``Refused`` with what barclamps object to in these nodes, as they now are."""
    if not (node_ids and turn.registry.listens("check_node")):
        return
    views = node_views(turn.registry, turn.session, turn.store, node_ids)
    said = [
        text
        for ref in node_ids
        for text in turn.registry.objections("check_node", node=views[ref], session=turn.session)
    ]
    if said:
        raise Refused(" ".join(said[:20]))


def _refuse(turn: Turn, row: Any, values: Mapping[str, Any]) -> None:
    if row.system and (wrong := sorted(values.keys() - _OF_SYSTEM_NODES)):
        raise Refused(f"Node {row.name} is a system node, which is always alive: its {wrong[0]} cannot be changed.")
    for field in ("bootenv", "served_bootenv"):
        if values.get(field):
            names.plain_name(values[field], what="boot environment", pointer=f"/{field}")
    if "name" in values:
        names.node_name(values["name"])
        other = node_fields.who_is_called(turn.session, values["name"])
        if other not in (None, row.id):
            raise Refused(f"There is a node {values['name']} already (node {other}).")


def _cancel_queued(turn: Turn, node_ids: Collection[int]) -> None:
    """Nothing new starts on nodes that are not available: runs that nobody has begun go back."""
    if node_ids:
        queued = [run for run in node_work.open_runs(turn.session, turn.store, node_ids) if run.state == "queued"]
        cancel(turn, [run.node_role_id for run in queued], "the node is not available", queued_only=True)
