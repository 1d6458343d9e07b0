"""New nodes: one or some thousand, in one transaction, with the roles that are bound to each of them by itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from crowbar_core.barclamp import Json
from crowbar_core.domain import names
from crowbar_core.domain.attributes import check_size, check_value, lookup, place
from crowbar_core.domain.reports import check_report
from crowbar_core.errors import NotFound, Refused
from crowbar_core.plugins import LoadedAttribute
from crowbar_core.services.annealing.annealer import change
from crowbar_core.services.cluster.binding import bind_wanted
from crowbar_core.services.cluster.hammers import insert_hammer
from crowbar_core.services.data.addresses import keep_claims
from crowbar_core.services.data.changes import record_many
from crowbar_core.services.turns.parts import Parts
from crowbar_core.services.turns.secrets import seal
from crowbar_core.services.turns.turn import Actor, Turn
from crowbar_core.services.values.nodes import refuse_objections
from crowbar_core.store import node_fields


@dataclass(frozen=True, kw_only=True)
class NewNode:
    """A machine to be registered. ``deployment_id`` None: in ``system``. ``hammers`` are (name, priority, config)."""

    name: str
    description: str = ""
    admin: bool = False
    deployment_id: int | None = None
    hint: Mapping[str, Json] = field(default_factory=dict)
    discovery: Mapping[str, Json] = field(default_factory=dict)
    host_keys: Sequence[str] = ()
    bootenv: str = "local"
    alive: bool = False
    available: bool = False
    order: int = 1000
    hammers: Sequence[tuple[str, int, Mapping[str, Json]]] = ()


def create_nodes(parts: Parts, actor: Actor, new: Sequence[NewNode]) -> list[int]:
    """Register machines, all of them or none; bootstrap roles are bound to admin nodes, discovery roles to any other.
    Returns their ids, in the same order.

    Raises ``BadInput``, ``Refused`` (a name is taken, a barclamp objects), ``NotFound``.
    """
    # All that takes long to look at is looked at before the graph's lock is taken.
    checked = [_checked(parts, one) for one in new]
    with change(parts, actor) as turn:
        return create_in_turn(turn, checked)


def register_in_turn(turn: Turn, new: NewNode) -> int:
    """Register one machine inside a running turn. Returns its id."""
    return create_in_turn(turn, [_checked(turn.parts, new)])[0]


def _checked(parts: Parts, one: NewNode) -> NewNode:
    values = {key: getattr(one, key) for key in one.__dataclass_fields__}
    names.description(one.description)
    names.plain_name(one.bootenv, what="boot environment", pointer="/bootenv")
    return NewNode(
        **values
        | {"name": names.node_name(one.name), "hint": checked_hint(parts, one.hint),
           "discovery": checked_report(parts, one.discovery)}
    )  # fmt: skip


def create_in_turn(turn: Turn, new: Sequence[NewNode]) -> list[int]:
    """The same inside a running turn, of nodes whose names, hints and reports have been checked."""
    _refuse_taken(turn, new)
    homes = node_fields.homes(turn.session)
    root = next(ref for ref, one in homes.items() if one.system)
    for one in new:
        if one.deployment_id is not None and one.deployment_id not in homes:
            raise NotFound(f"There is no deployment {one.deployment_id}.")
    ids = node_fields.add(
        turn.session, turn.store,
        [
            {"name": one.name, "description": one.description, "admin": one.admin,
             "deployment_id": root if one.deployment_id is None else one.deployment_id, "bootenv": one.bootenv,
             "alive": one.alive, "alive_at": turn.now if one.alive else None, "available": one.available,
             "order": one.order, "hint": dict(one.hint), "proposed_hint": dict(one.hint),
             "discovery": dict(one.discovery), "host_keys": list(one.host_keys), "created_at": turn.now,
             "updated_at": turn.now}
            for one in new
        ],
    )  # fmt: skip
    made = list(zip(ids, new, strict=True))
    keep_claims(turn.registry, turn.session, turn.store, turn.now, ids)
    refuse_objections(turn, ids)
    record_many(
        turn,
        [
            ("node", ref, layer, list(tree))
            for ref, one in made
            for layer, tree in (("hint", one.hint), ("discovery", one.discovery))
        ],
    )
    for ref, one in made:
        for hammer, priority, config in one.hammers:
            insert_hammer(turn, ref, hammer, priority, config)
    roles = sorted((one.role for one in turn.registry.roles.values()), key=lambda one: one.name)
    bind_wanted(
        turn,
        [
            (ref, role.name, one.deployment_id)
            for ref, one in made
            for role in roles
            if (role.bootstrap if one.admin else role.discovery)
        ],
    )
    for ref in ids:
        turn.tell("on_node_create", f"node {ref}", id=ref)
    turn.audit_many("node.create", [(f"node {one.name}", {"admin": one.admin}) for one in new])
    turn.moves.woken.update(ids)
    return ids


def _refuse_taken(turn: Turn, new: Sequence[NewNode]) -> None:
    seen: set[str] = set()
    for one in new:
        if one.name.lower() in seen:
            raise Refused(f"Two of these nodes are called {one.name}. Names are unique, whatever their case.")
        seen.add(one.name.lower())
    if taken := node_fields.named(turn.session, seen):
        name, ref = next(iter(taken.items()))
        raise Refused(f"There is a node {name} already (node {ref}). Names are unique, whatever their case.")


def checked_hint(parts: Parts, hint: Mapping[str, Json]) -> dict[str, Json]:
    """An operator's wishes for a node, with secrets sealed. Raises ``BadInput``."""
    parts.registry.hints.check(hint)
    return _sealed(parts, hint)


def checked_report(parts: Parts, report: Mapping[str, Json]) -> dict[str, Json]:
    """What a node says of itself, with secrets sealed. Raises ``BadInput``."""
    return _sealed(parts, check_report(report))


def _sealed(parts: Parts, tree: Mapping[str, Json]) -> dict[str, Json]:
    """The tree checked against the attributes that live on nodes, with their secrets sealed."""
    check_size("the node's data", dict(tree))
    checked = dict(tree)
    for one in node_attributes(parts):
        found, value = lookup(checked, one.attribute.path)
        if found:
            check_value(one.attribute, value)
            if one.attribute.secret:
                checked = place(checked, one.attribute.path, seal(parts.cipher, value))
    return checked


def node_attributes(parts: Parts) -> list[LoadedAttribute]:
    """The attributes that live on nodes."""
    return [one for one in parts.registry.attributes.values() if one.role is None]
