"""Drafts: values that were set and are not committed yet, beside the committed ones.

A draft belongs to one object (a node, a noderole, a role in a deployment) and through it to a deployment: that of the
node, of the noderole, of the role. Committing the deployment commits all its drafts; each object's can be committed or
discarded alone. What is only drafted changes nothing that runs.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from sqlalchemy.orm import Session

from crowbar_core.barclamp import Attribute, Json
from crowbar_core.domain import attributes as rules
from crowbar_core.domain.states import PROPOSED
from crowbar_core.errors import NotFound
from crowbar_core.services.annealing.annealer import change
from crowbar_core.services.data.changes import follow_values, mark_stale, note_effects, record_many
from crowbar_core.services.data.layers import node_role_layers, read_sources
from crowbar_core.services.data.views import deployment_view
from crowbar_core.services.turns.parts import Parts
from crowbar_core.services.turns.turn import Actor, Turn, ValueChange
from crowbar_core.services.values.nodes import write_nodes
from crowbar_core.store import drafts as drafted
from crowbar_core.store import provenance
from crowbar_core.store.drafts import Kind, differing

KINDS: tuple[Kind, ...] = ("deployment_role", "node_role", "node")
PROPOSED_LAYER = "proposed"
"""The layer under which the provenance of a draft is kept."""
_DISCARDED = "on_deployment_discard"
_COMMITTED_LAYER: dict[Kind, str] = {
    "node": "hint", "node_role": "committed_data", "deployment_role": "committed_data",
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Draft:
    """One value that differs from the committed one. Secrets are masked. ``attribute`` is empty where no installed
    attribute has that place (``path``). ``old_set`` and ``new_set`` are false where there is no value.
    """

    subject: Kind
    subject_id: int
    name: str
    """The object, as a person says it: ``web1.example.com``, ``ntp on web1.example.com``, ``ntp in web``."""
    deployment_id: int
    attribute: str
    path: str
    old_set: bool
    old: Json
    new_set: bool
    new: Json
    at: datetime | None
    actor: str


# ---------------------------------------------------------------- reading


def drafts(
    parts: Parts, *, node_id: int | None = None, node_role_id: int | None = None, deployment_role_id: int | None = None,
    deployment_id: int | None = None,
) -> list[Draft]:  # fmt: skip
    """The drafts of one object, or of all of a deployment: of deployment roles, noderoles, nodes in this order."""
    with parts.store.read() as session:
        found: list[Draft] = []
        refs: dict[Kind, int | None] = {
            "deployment_role": deployment_role_id, "node_role": node_role_id, "node": node_id,
        }  # fmt: skip
        for kind, ref in refs.items():
            if ref is not None or deployment_id is not None:
                rows = differing(session, parts.store, kind, _just(ref), _just(deployment_id))
                found.extend(one for _, of_row in _drafts(parts, session, kind, rows) for one in of_row)
        return found


def drafts_of(parts: Parts, session: Session, kind: Kind, ids: Collection[int]) -> dict[int, list[Draft]]:
    """The drafts of several objects of a kind, by their ids; those without any are left out."""
    rows = differing(session, parts.store, kind, ids)
    return {row.id: of_row for row, of_row in _drafts(parts, session, kind, rows)}


def drafts_in(parts: Parts, session: Session, deployment_ids: Collection[int]) -> dict[int, list[Draft]]:
    """All drafts in these deployments, by the deployment's id, in the order of ``drafts``."""
    found: dict[int, list[Draft]] = {}
    for kind in KINDS:
        rows = differing(session, parts.store, kind, within=deployment_ids)
        for row, of_row in _drafts(parts, session, kind, rows):
            found.setdefault(row.deployment_id, []).extend(of_row)
    return found


def _just(one: int | None) -> list[int] | None:
    return None if one is None else [one]


def _drafts(parts: Parts, session: Session, kind: Kind, rows: Collection[Any]) -> Iterator[tuple[Any, list[Draft]]]:
    """Each of these objects (``differing``), with its drafts."""
    who = provenance.setters(session, parts.store, kind, PROPOSED_LAYER, [row.id for row in rows])
    for row in rows:
        yield row, list(_of_row(parts, kind, row, who))


def _of_row(parts: Parts, kind: Kind, row: Any, who: Mapping[tuple[int, str], Any]) -> Iterator[Draft]:
    for attribute, path, (old_set, old), (new_set, new) in _differences(parts, kind, row):
        secret = attribute is not None and attribute.secret
        by = who.get((row.id, "/".join(path)))
        yield Draft(
            subject=kind, subject_id=row.id, name=row.name, deployment_id=row.deployment_id,
            attribute=attribute.name if attribute is not None else "", path="/".join(path),
            old_set=old_set, old=rules.MASK if secret and old_set else rules.masked(old),
            new_set=new_set, new=rules.MASK if secret and new_set else rules.masked(new),
            at=by.at if by else None, actor=by.actor if by else "",
        )  # fmt: skip


_Value = tuple[bool, Json]


def _differences(
    parts: Parts, kind: Kind, row: Any
) -> Iterator[tuple[Attribute | None, tuple[str, ...], _Value, _Value]]:
    """What differs between a row's old and new data: attribute by attribute, and the rest leaf by leaf."""
    registry = parts.registry
    if kind == "node":
        declared = [one.attribute for one in registry.attributes.values() if one.role is None]
    else:
        declared = list(registry.attributes_of(row.role))
    if kind == "deployment_role":
        declared += [registry.attributes[name].attribute for name in row.wants if name in registry.attributes]
    old_rest, new_rest = dict(row.old), dict(row.new)
    for attribute in sorted({one.name: one for one in declared}.values(), key=lambda one: (one.order, one.name)):
        old, new = rules.lookup(row.old, attribute.path), rules.lookup(row.new, attribute.path)
        old_rest, new_rest = rules.remove(old_rest, attribute.path), rules.remove(new_rest, attribute.path)
        if old != new:
            yield attribute, attribute.path, old, new
    old_leaves, new_leaves = dict(rules.leaves(old_rest)), dict(rules.leaves(new_rest))
    for path in sorted(old_leaves.keys() | new_leaves.keys()):
        before, after = (path in old_leaves, old_leaves.get(path)), (path in new_leaves, new_leaves.get(path))
        if before != after:
            yield None, tuple(path.split("/")), before, after


# ---------------------------------------------------------------- committing


def commit_drafts(
    parts: Parts, actor: Actor, *, node_id: int | None = None, node_role_id: int | None = None,
    deployment_role_id: int | None = None,
) -> int:  # fmt: skip
    """Commit the drafts of one object. Returns how many values changed; none is no error. Raises ``NotFound``."""
    with change(parts, actor) as turn:
        if node_id is not None:
            _there(turn.session, "node", node_id)
            count = commit_of_nodes(turn, [node_id])
        elif node_role_id is not None:
            _there(turn.session, "node_role", node_role_id)
            count = commit_of_node_roles(turn, [node_role_id])
        elif deployment_role_id is not None:
            _there(turn.session, "deployment_role", deployment_role_id)
            count = commit_of_deployment_roles(turn, [deployment_role_id])
        else:
            raise NotFound("Say whose drafts to commit: a node's, a noderole's or a deployment role's.")
        return count


def commit_of_nodes(turn: Turn, ids: Collection[int]) -> int:
    """Commit the drafts of these nodes, inside a turn. Returns how many values changed."""
    rows = differing(turn.session, turn.store, "node", ids) if ids else ()
    if not rows:
        return 0
    write_nodes(turn, {row.id: {"hint": row.new} for row in rows})
    return _committed(turn, "node", rows)


def commit_of_node_roles(turn: Turn, ids: Collection[int]) -> int:
    """Commit the drafts of these noderoles, those of PROPOSED ones excepted (they are committed as a whole)."""
    rows = [
        row
        for row in (differing(turn.session, turn.store, "node_role", ids) if ids else ())
        if row.state != int(PROPOSED)
    ]
    if not rows:
        return 0
    refs = [row.id for row in rows]
    layers = node_role_layers(turn.registry, turn.session, turn.store, refs)
    drafted.take(turn.session, turn.store, turn.now, "node_role", refs)
    follow_values(turn, layers, {("user", f"node_role {row.id}"): row.new for row in rows}, kept=True)
    return _committed(turn, "node_role", rows)


def commit_of_deployment_roles(turn: Turn, ids: Collection[int]) -> int:
    """Commit the drafts of these roles in their deployments; noderoles that have or want a changed value go back to
    work, those in the deployments below too.
    """
    rows = differing(turn.session, turn.store, "deployment_role", ids) if ids else ()
    if not rows:
        return 0
    with watch_roles(turn, {row.id: row.new for row in rows}):
        drafted.take(turn.session, turn.store, turn.now, "deployment_role", [row.id for row in rows])
    return _committed(turn, "deployment_role", rows)


@contextmanager
def watch_roles(turn: Turn, new: Mapping[int, Mapping[str, Json]]) -> Iterator[None]:
    """In the block the committed data of deployment roles become these (id -> all of it). Compare what their noderoles
    have and are given before and after it, and send back to work whom it concerns.
    """
    if not new:
        yield
        return
    affected = drafted.governed(turn.session, new)
    giving = [(row.id, row.node_id, row.name) for row in affected if _wants(turn, row.name)]
    own = [row.id for row in affected]
    sources = read_sources(turn.registry, turn.session, turn.store, giving, also=own)
    yield
    writes = {("deployment", f"deployment_role {ref}"): data for ref, data in new.items()}
    follow_values(turn, {ref: sources.layers[ref] for ref in own}, writes, kept=True)
    before, after = sources.inputs(), sources.after(writes).inputs()
    known = turn.registry.attributes
    stale = [(ref, role) for ref, _, role in giving if before.get(ref, {}) != after.get(ref, {})]
    for ref, role in stale:
        wanted = [known[name].attribute for name in turn.registry.roles[role].role.wants if name in known]
        was, now_is = before.get(ref, {}), after.get(ref, {})
        note_effects(turn, "node_role", ref, wanted, rules.changed_attributes(wanted, was, now_is), was, now_is)
    mark_stale(turn, [ref for ref, _ in stale])


def _wants(turn: Turn, role: str) -> bool:
    return role in turn.registry.roles and bool(turn.registry.roles[role].role.wants)


def note_first_values(turn: Turn, ids: Collection[int]) -> None:
    """PROPOSED noderoles are about to be committed: what was set on them is a change of values too."""
    rows = differing(turn.session, turn.store, "node_role", ids)
    _committed(turn, "node_role", rows)


def _committed(turn: Turn, kind: Kind, rows: Collection[Any]) -> int:
    """Remember what was committed: who had set it, for provenance; what it was and is, for the plan; that it was, for
    the audit trail.
    """
    count = 0
    who = provenance.setters(turn.session, turn.store, kind, PROPOSED_LAYER, [row.id for row in rows])
    set_by: dict[str | None, list[tuple[str, int, str, list[str]]]] = defaultdict(list)
    said: list[tuple[str, dict[str, Any]]] = []
    for row in rows:
        paths: list[str] = []
        for attribute, places, old, new in _differences(turn.parts, kind, row):
            path = "/".join(places)
            paths.append(path)
            if turn.notes is not None:
                turn.notes.values.append(
                    ValueChange(
                        subject=kind, subject_id=row.id, name=row.name, attribute=attribute, path=path, old=old,
                        new=new, role=row.role if kind == "deployment_role" else "",
                    )
                )  # fmt: skip
        for path in paths:
            by = who.get((row.id, path))
            set_by[by.actor if by else None].append((kind, row.id, _COMMITTED_LAYER[kind], [path]))
        said.append((f"{kind} {row.name}", {"paths": paths[:100]}))
        count += len(paths)
    for actor, those in set_by.items():
        record_many(turn, those, actor=actor)
    turn.audit_many("values.commit", said)
    return count


# ---------------------------------------------------------------- discarding


def discard_drafts(
    parts: Parts, actor: Actor, *, node_id: int | None = None, node_role_id: int | None = None,
    deployment_role_id: int | None = None, deployment_id: int | None = None,
) -> int:  # fmt: skip
    """Take the drafts of one object, or of all objects of a deployment, back to what is committed. Returns how many
    objects had any. A noderole that was never committed keeps its data: all of it is a proposal. Barclamps throw away
    what they keep for a deployment, too, which is not counted.
    """
    with change(parts, actor) as turn:
        given: dict[Kind | Literal["deployment"], int | None] = {
            "node": node_id, "node_role": node_role_id, "deployment_role": deployment_role_id,
            "deployment": deployment_id,
        }  # fmt: skip
        for kind, ref in given.items():
            if ref is not None:
                _there(turn.session, kind, ref)
        return discard_in_turn(
            turn, deployment_id=deployment_id, node=node_id, node_role=node_role_id, deployment_role=deployment_role_id
        )


def discard_in_turn(turn: Turn, *, deployment_id: int | None = None, **of: int | None) -> int:
    """The same inside a running turn. ``of``: kind -> id."""
    count = 0
    for kind in KINDS:
        ref = of.get(kind)
        if ref is None and deployment_id is None:
            continue
        rows = differing(turn.session, turn.store, kind, _just(ref), _just(deployment_id))
        kept = [row for row in rows if kind != "node_role" or row.state != int(PROPOSED)]
        refs = [row.id for row in kept]
        if refs:
            drafted.discard(turn.session, turn.store, kind, refs)
        turn.audit_many("values.discard", [(f"{kind} {row.name}", {}) for row in kept])
        count += len(refs)
    if deployment_id is not None and turn.registry.listens(_DISCARDED):
        turn.veto(_DISCARDED, deployment=deployment_view(turn.registry, turn.session, turn.store, deployment_id))
    return count


def _there(session: Session, kind: Kind | Literal["deployment"], ref: int) -> None:
    if not drafted.there(session, kind, ref):
        raise NotFound(f"There is no {kind.replace('_', ' ').replace('node role', 'noderole')} {ref}.")
