"""What follows when data changes: who wanted it goes back to work, and who set it is remembered."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import orjson

from crowbar_core.barclamp import Attribute, Json
from crowbar_core.domain import attributes as rules
from crowbar_core.domain.states import ACTIVE, ERROR, TODO, TRANSITION
from crowbar_core.errors import BadInput, CrowbarError, Refused
from crowbar_core.plugins import Failure
from crowbar_core.services.data import questions
from crowbar_core.services.data.addresses import keep_claims
from crowbar_core.services.data.layers import NodeRoleLayers, Writes, node_layers, node_role_layers
from crowbar_core.services.data.questions import knows_data
from crowbar_core.services.data.views import node_role_views
from crowbar_core.services.turns.secrets import keep_seals, seal
from crowbar_core.services.turns.turn import Turn
from crowbar_core.store import halting, moves, refreshing, transitions, values
from crowbar_core.store import views as rows_of
from crowbar_core.store.provenance import set_values


def follow_values(
    turn: Turn, layers: Mapping[int, NodeRoleLayers], writes: Writes, *, itself: bool = True, kept: bool = False
) -> None:
    """Compare these noderoles' own attributes as they were (``layers``) with what they are now that this was written,
    and send those who want a changed one back to work.

    ``itself``: whether a noderole whose own attribute changed goes back to work too (not when its own run reported it).
    ``kept``: whether it is refused that what must have a value loses it.
    """
    changed: dict[int, set[str]] = {}
    for ref, one in layers.items():
        attributes = turn.registry.attributes_of(one.role)
        before = rules.resolve_tree(attributes, one.layers)
        after = rules.resolve_tree(attributes, one.after(writes).layers)
        if differing := rules.changed_attributes(attributes, before, after):
            if kept:
                _refuse_loss(attributes, differing, after)
            changed[ref] = differing
            note_effects(turn, "node_role", ref, attributes, differing, before, after)
    if not changed:
        return
    stale = set(changed) if itself else set()
    rows = values.children_wanting(turn.session, turn.store, changed)
    stale.update(row.child_id for row in rows if changed[row.parent_id] & set(row.wants))
    mark_stale(turn, stale)


def _refuse_loss(attributes: Iterable[Attribute], differing: Collection[str], tree: Mapping[str, Json]) -> None:
    for one in attributes:
        if one.required and not one.generate and one.name in differing and not rules.lookup(tree, one.path)[0]:
            raise Refused(f"Attribute {one.name} must have a value: set another one instead of unsetting it.")


@contextmanager
def watch_nodes(turn: Turn, node_ids: Collection[int]) -> Iterator[None]:
    """The same for the attributes that live on nodes; the nodes' claims to addresses follow, too."""
    attributes = [one.attribute for one in turn.registry.attributes.values() if one.role is None]
    before = _node_trees(turn, node_ids, attributes)
    yield
    keep_claims(turn.registry, turn.session, turn.store, turn.now, node_ids)
    after = _node_trees(turn, node_ids, attributes)
    for node_id, tree in after.items():
        changed = rules.changed_attributes(attributes, before.get(node_id, {}), tree)
        if not changed:
            continue
        note_effects(turn, "node", node_id, attributes, changed, before.get(node_id, {}), tree)
        rows = values.wanting_of_node(turn.session, node_id)
        mark_stale(turn, [row.id for row in rows if changed & set(row.wants)])


def note_effects(
    turn: Turn, kind: str, ref: int, attributes: Iterable[Attribute], changed: Collection[str],
    before: Mapping[str, Json], after: Mapping[str, Json],
) -> None:  # fmt: skip
    """For a plan: these values of an object changed."""
    if turn.notes is None:
        return
    for attribute in attributes:
        if attribute.name in changed:
            turn.notes.attributes[attribute.name] = attribute
            old, new = rules.lookup(before, attribute.path), rules.lookup(after, attribute.path)
            turn.notes.effects.append((kind, ref, attribute.name, old, new))


def _node_trees(turn: Turn, node_ids: Collection[int], attributes: Any) -> dict[int, dict[str, Json]]:
    if not attributes:
        return {}
    layers = node_layers(turn.session, turn.store, node_ids)
    return {node_id: rules.resolve_tree(attributes, found) for node_id, found in layers.items()}


def mark_stale(turn: Turn, ids: Collection[int]) -> None:
    """A value that these noderoles want has changed: ACTIVE ones run again, or refresh; running ones once more
    afterwards; those that failed are tried again.
    """
    if not ids:
        return
    if turn.stirred is not None:
        turn.stirred.update(ids)
        return
    rows = refreshing.to_run_again(turn.session, turn.store, ids)
    refresh_soon(turn, [row for row in rows if row.state == TRANSITION or row.on_change == "refresh"])
    try_failed(turn, rows)
    again = [row.id for row in rows if row.state == ACTIVE and row.on_change == "rerun"]
    rerun_now(turn, again, "a wanted value changed")


def refresh_soon(turn: Turn, rows: Collection[Any]) -> None:
    """Let those of ``refreshing.to_run_again`` that are ACTIVE or in TRANSITION run once more, when their roles have
    gathered what else changes.
    """
    for gather, ids in _by_gather(turn, [row for row in rows if row.state in (ACTIVE, TRANSITION)]).items():
        refreshing.ask_for(turn.session, turn.store, turn.now, ids, gather)
        turn.delayed = turn.delayed or gather > 0


def _by_gather(turn: Turn, rows: Collection[Any]) -> Mapping[float, Collection[int]]:
    """How long their roles gather, in seconds -> these, whose nodes are woken."""
    found: dict[float, list[int]] = defaultdict(list)
    for row in rows:
        known = turn.registry.roles.get(row.role)
        found[known.role.gather if known else 0.0].append(row.id)
        turn.moves.woken.add(row.node_id)
    return found


def try_failed(turn: Turn, rows: Collection[Any]) -> None:
    """Try those of ``refreshing.to_run_again`` again that are in ERROR because their last run failed; those that wait
    for their next try when their roles have gathered what else changes.
    """
    for gather, ids in _by_gather(turn, [row for row in rows if row.state == TODO]).items():
        refreshing.try_soon(turn.session, turn.store, turn.now, ids, gather)
        turn.delayed = True
    failed = [row for row in rows if row.state == ERROR]
    if failed:
        transitions.send_back(
            turn.moves, [row.id for row in failed], status="", attempts=0, not_before=None, rerun=False
        )
        turn.moves.woken.update(row.node_id for row in failed)


def rerun_now(turn: Turn, ids: Collection[int], reason: str) -> None:
    """Send ACTIVE noderoles back to TODO or BLOCKED; one whose refresh runs goes back when that has ended."""
    if not ids:
        return
    halting.cancel_runs(turn.moves, ids, reason, queued_only=True)
    busy = transitions.under_way(turn.moves, ids)
    transitions.will_go_back(turn.moves, busy)
    transitions.send_back(turn.moves, set(ids) - busy, rerun=False, status=reason, not_before=None)


def refresh_sysdata(turn: Turn, ids: Collection[int], *, quiet: bool = False) -> None:
    """Ask the barclamps what they know of these noderoles, and store it where it differs.

    ``quiet``: the noderole is about to run anyway, so that it is not sent back to work itself.
    """
    registry = turn.registry
    if not ids or not knows_data(registry):
        return
    roles = values.roles_of(turn.session, turn.store, ids)
    asked = [ref for ref, role in roles.items() if knows_data(registry, role)]
    old = values.kept(turn.session, turn.store, "sysdata", asked)
    new: dict[int, Mapping[str, Json]] = {}
    views = node_role_views(registry, turn.session, turn.store, old)
    answers = questions.data(registry, turn.session, list(views.values()))
    for ref, view in views.items():
        tree: dict[str, Json] = {}
        for answer in answers.get(ref, ()):
            plugin, hook, said = answer.plugin, answer.hook, answer.said
            data = (
                said.error if isinstance(said, Failure) else _as_sysdata(turn, f"{hook} of {plugin}", view.role, said)
            )
            if turn.notes is not None:
                turn.notes.answer(plugin, hook, f"{view.role} on {view.node.name}", data)
            if isinstance(data, str):
                if not isinstance(said, Failure):
                    registry.note_unanswered(Failure(plugin, hook, data, ""), node_role=view)
                tree = dict(old[ref])
                break
            tree = rules.merge(tree, data)
        if tree != old[ref] and (sealed := keep_seals(turn.parts.cipher, old[ref], tree)) != old[ref]:
            new[ref] = sealed
    if not new:
        return
    layers = node_role_layers(registry, turn.session, turn.store, new)
    values.keep(turn.session, turn.store, "sysdata", new)
    writes = {("sysdata", f"node_role {ref}"): tree for ref, tree in new.items()}
    follow_values(turn, layers, writes, itself=not quiet)
    record_many(
        turn, [("node_role", ref, "sysdata", [path for path, _ in rules.leaves(fresh)]) for ref, fresh in new.items()]
    )


def _as_sysdata(turn: Turn, what: str, role: str, answer: Any) -> dict[str, Json] | str:
    """What a barclamp answered, as JSON; or why it is none. Never raises: it is asked where outcomes are handed in."""
    try:
        tree = orjson.loads(orjson.dumps({} if answer is None else answer, default=_mapping))
        if not isinstance(tree, dict):
            return f"it answered {type(answer).__name__}, which is no mapping"
        return _checked(turn, role, tree, what)
    except (CrowbarError, TypeError, ValueError, RecursionError) as error:
        return f"its answer cannot be kept: {error}"


def _mapping(value: Any) -> dict[str, Json]:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is no JSON")


def peers_of(turn: Turn, ids: Collection[int]) -> set[int]:
    """The committed noderoles of the cluster roles among these, in the same deployments, with these themselves."""
    pairs: set[tuple[int, int]] = set()
    for portion in moves.batched(ids, moves.PORTION):
        pairs |= rows_of.clusters(turn.session, turn.store, portion)
    return {one.id for pair in pairs for one in rows_of.members(turn.session, *pair)}


def merge_walls(turn: Turn, reported: Mapping[int, tuple[Mapping[str, Json], int]]) -> dict[int, str]:
    """Merge what runs reported, noderole -> (tree, run id), into the walls. Returns noderole -> why its report is
    refused.
    """
    refused: dict[int, str] = {}
    if not reported:
        return refused
    names = values.roles_of(turn.session, turn.store, reported)
    accepted: dict[int, tuple[dict[str, Json], int]] = {}
    for ref, (tree, run_id) in reported.items():
        try:
            accepted[ref] = (_checked(turn, names[ref], dict(tree), f"the report of {names[ref]}"), run_id)
        except BadInput as error:
            refused[ref] = f"it reported something that is not allowed: {error.detail}"
    walls = values.kept(turn.session, turn.store, "wall", accepted)
    cipher = turn.parts.cipher
    changed = {
        ref: keep_seals(cipher, walls[ref], rules.merge(walls[ref], tree)) for ref, (tree, _) in accepted.items()
    }
    changed = {ref: wall for ref, wall in changed.items() if wall != walls[ref]}
    layers = node_role_layers(turn.registry, turn.session, turn.store, changed)
    values.keep(turn.session, turn.store, "wall", changed)
    follow_values(turn, layers, {("wall", f"node_role {ref}"): wall for ref, wall in changed.items()}, itself=False)
    for ref in changed:
        tree, run_id = accepted[ref]
        record(turn, "node_role", ref, "wall", [path for path, _ in rules.leaves(tree)], run_id=run_id)
    return refused


def _checked(turn: Turn, role: str, tree: dict[str, Json], what: str) -> dict[str, Json]:
    """A tree from outside with its secrets sealed. Raises ``BadInput`` unless it is as declared, all of it."""
    rules.check_size(what, tree)
    if tree and role not in turn.registry.roles:
        raise BadInput(f"role {role} is of a barclamp that is not loaded here, so that nobody knows what may be in it")
    attributes = turn.registry.attributes_of(role)
    if strange := rules.undeclared(attributes, tree):
        paths = ", ".join(repr(path[:200]) for path in strange[:5]) + (", …" if len(strange) > 5 else "")
        raise BadInput(
            f"role {role} has no attribute at {paths}; its barclamp must declare one (map) for each path that is "
            "written to."
        )
    for attribute in attributes:
        found, value = rules.lookup(tree, attribute.path)
        if found:
            rules.check_value(attribute, value)
            if attribute.secret:
                tree = rules.place(tree, attribute.path, seal(turn.parts.cipher, value))
    return tree


def record(
    turn: Turn, subject: str, subject_id: int, layer: str, paths: Iterable[str], *, run_id: int | None = None,
    actor: str | None = None,
) -> None:  # fmt: skip
    """Remember who set the values at these paths just now (``actor``: somebody else than the turn's)."""
    record_many(turn, [(subject, subject_id, layer, paths)], run_id=run_id, actor=actor)


def record_many(
    turn: Turn, set_: Iterable[tuple[str, int, str, Iterable[str]]], *, run_id: int | None = None,
    actor: str | None = None,
) -> None:  # fmt: skip
    """The same of many objects in one statement: (subject, its id, layer, paths)."""
    rows = [
        {"subject": subject, "subject_id": subject_id, "layer": layer, "path": path, "at": turn.now,
         "actor": actor or turn.actor.name, "run_id": run_id}
        for subject, subject_id, layer, paths in set_
        for path in dict.fromkeys(paths)
    ]  # fmt: skip
    set_values(turn.session, turn.store, rows)
