"""Values of attributes: shown, explained, set, unset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy.orm import Session

from crowbar_core.barclamp import Attribute, Json
from crowbar_core.domain import attributes as rules
from crowbar_core.domain.attributes import Layer
from crowbar_core.domain.differences import differences
from crowbar_core.domain.states import PROPOSED
from crowbar_core.errors import BadInput, NotFound, Refused, or_missing
from crowbar_core.plugins import LoadedAttribute
from crowbar_core.services.annealing.annealer import change
from crowbar_core.services.data.changes import follow_values, record
from crowbar_core.services.data.layers import NodeRoleLayers, has_or_wants, node_layers, node_role_layers, wanted_layers
from crowbar_core.services.turns.parts import Parts
from crowbar_core.services.turns.secrets import keep_seals, open_secrets, seal
from crowbar_core.services.turns.turn import Actor, Turn, ValueChange
from crowbar_core.services.values.drafts import PROPOSED_LAYER, watch_roles
from crowbar_core.services.values.nodes import write_nodes
from crowbar_core.store import deployment_roles, deployments, node_fields, noderoles, provenance, values

LAYER_COLUMN = {
    "user": "committed_data",
    "wall": "wall",
    "sysdata": "sysdata",
    "deployment": "committed_data",
    "deployment wall": "wall",
    "discovery": "discovery",
    "hint": "hint",
}
"""A layer's source -> the column in which it rests."""


@dataclass(frozen=True, kw_only=True)
class Value:
    """An attribute as it stands for one object. ``source`` names the layer that decides it ('' when unset)."""

    attribute: Attribute
    role: str | None
    barclamp: str
    is_set: bool
    value: Json
    source: str
    subject: str


@dataclass(frozen=True, kw_only=True)
class LayerValue:
    """What one layer says of an attribute, low to high. ``wins``: it decides the value, or a part of it."""

    source: str
    subject: str
    is_set: bool
    value: Json
    wins: bool
    at: datetime | None
    actor: str
    run_id: int | None


# ---------------------------------------------------------------- reading


def node_values(parts: Parts, node_id: int, *, reveal: bool = False) -> list[Value]:
    """The attributes that live on nodes, as they stand for this one."""
    with parts.store.read() as session:
        layers = or_missing(node_layers(session, parts.store, [node_id]).get(node_id), "node", node_id)
    wanted = [one for one in parts.registry.attributes.values() if one.role is None]
    return [_value(parts, one, layers, reveal) for one in sorted(wanted, key=_by_order)]


def node_role_values(parts: Parts, node_role_id: int, *, reveal: bool = False) -> list[Value]:
    """The attributes of the noderole's role, as they stand for it."""
    with parts.store.read() as session:
        found = _layers_of(parts, session, node_role_id)
    wanted = [one for one in parts.registry.attributes.values() if one.role == found.role]
    return [_value(parts, one, found.layers, reveal) for one in sorted(wanted, key=_by_order)]


def _layers_of(parts: Parts, session: Session, node_role_id: int) -> NodeRoleLayers:
    layers = node_role_layers(parts.registry, session, parts.store, [node_role_id])
    return or_missing(layers.get(node_role_id), "noderole", node_role_id)


def wanted_values(parts: Parts, node_role_id: int, *, reveal: bool = False) -> list[Value]:
    """The attributes of others that the noderole's role wants, as its run is given them; of what is gathered from
    several parents a list. ``explain`` says where each comes from.
    """
    with parts.store.read() as session:
        found = _layers_of(parts, session, node_role_id)
        others = [
            one
            for name, one in parts.registry.attributes.items()
            if one.role != found.role and has_or_wants(parts.registry, found.role, name)
        ]
        sources = {
            one.attribute.name: wanted_layers(parts.registry, session, parts.store, found, one) for one in others
        }
    values = []
    for one in sorted(others, key=_by_order):
        each = [_value(parts, one, layers, reveal) for layers in sources[one.attribute.name]]
        whole = [value.value for value in each if value.is_set]
        values.append(each[0] if len(each) == 1 else replace(each[0], is_set=bool(whole), value=whole))
    return values


def deployment_role_values(parts: Parts, deployment_role_id: int, *, reveal: bool = False) -> list[Value]:
    """The attributes that the role has or wants, as proposed for the deployment."""
    with parts.store.read() as session:
        row = or_missing(deployment_roles.row_of(session, deployment_role_id), "deployment role", deployment_role_id)
    layers = (
        Layer("template", f"role {row.role}", row.template),
        Layer("proposed", f"deployment_role {deployment_role_id}", row.proposed_data),
    )
    wanted = [one for name, one in parts.registry.attributes.items() if has_or_wants(parts.registry, row.role, name)]
    return [_value(parts, one, layers, reveal) for one in sorted(wanted, key=_by_order)]


def explain(
    parts: Parts, *, attribute: str, node_id: int | None = None, node_role_id: int | None = None, reveal: bool = False
) -> list[LayerValue]:
    """Every source of the attribute for this object, low to high: what it says, since when, by whom or which run.

    For a noderole also of what its role wants: where the value comes from that its run is given.
    """
    loaded = parts.registry.attribute(attribute)
    with parts.store.read() as session:
        proposed = False
        if node_id is not None:
            layers = node_layers(session, parts.store, [node_id]).get(node_id)
            sources = [layers] if layers is not None else []
        elif node_role_id is not None:
            found = node_role_layers(parts.registry, session, parts.store, [node_role_id]).get(node_role_id)
            sources = [found.layers] if found else []
            proposed = bool(found and found.proposed)
            if found and not has_or_wants(parts.registry, found.role, attribute):
                raise NotFound(f"Role {found.role} neither has nor wants an attribute {attribute}.")
            if found and loaded.role != found.role:
                sources = wanted_layers(parts.registry, session, parts.store, found, loaded)
        else:
            raise BadInput("Say whose value to explain: a node's or a noderole's.")
        if not sources:
            raise NotFound("There is no such object.")
        said = []
        for one in (one for layers in sources for one in rules.explain(loaded.attribute, layers)):
            who = _set_by(session, one.layer, loaded.attribute, proposed) if one.is_set else None
            said.append(
                LayerValue(
                    source=one.layer.source, subject=one.layer.subject, is_set=one.is_set,
                    value=_shown(parts, loaded.attribute, one.value, reveal), wins=one.wins,
                    at=who.at if who else None, actor=who.actor if who else "", run_id=who.run_id if who else None,
                )
            )  # fmt: skip
    return said


def _value(parts: Parts, one: LoadedAttribute, layers: Sequence[Layer], reveal: bool) -> Value:
    is_set, value = rules.resolve(one.attribute, layers)
    deciding = [found for found in rules.explain(one.attribute, layers) if found.wins]
    return Value(
        attribute=one.attribute, role=one.role, barclamp=one.barclamp, is_set=is_set,
        value=_shown(parts, one.attribute, value, reveal),
        source=deciding[-1].layer.source if deciding else "", subject=deciding[-1].layer.subject if deciding else "",
    )  # fmt: skip


def _shown(parts: Parts, attribute: Attribute, value: Json, reveal: bool) -> Json:
    if reveal:
        return open_secrets(parts.cipher, value)
    return rules.MASK if attribute.secret and value is not None else rules.masked(value)


def _by_order(one: LoadedAttribute) -> tuple[int, str]:
    return (one.attribute.order, one.attribute.name)


def _set_by(session: Session, layer: Layer, attribute: Attribute, proposed: bool) -> Any:
    """Who last set the attribute's value, or a part of it or an object around it, in this layer (``proposed``: of a
    noderole whose data are all a proposal).
    """
    if layer.source not in LAYER_COLUMN:
        return None
    kind, _, rest = layer.subject.partition(" ")
    column = PROPOSED_LAYER if proposed and layer.source == "user" else LAYER_COLUMN[layer.source]
    return provenance.last_set(session, kind, int(rest.split(" ")[0]), column, attribute.path)


# ---------------------------------------------------------------- writing


def set_value(
    parts: Parts, actor: Actor, *, attribute: str, value: Json, node_id: int | None = None,
    node_role_id: int | None = None, deployment_role_id: int | None = None, now: bool = False,
) -> None:  # fmt: skip
    """Set an attribute on a node (its hint), a noderole, or a role in a deployment: as a draft, until it is committed.

    ``now`` commits just this value. Setting what is committed already takes the draft away. Raises ``BadInput`` for a
    value that the schema forbids, ``NotFound``, ``Refused`` for an attribute that is not writable.
    """
    loaded = _writable(parts, attribute)
    rules.check_value(loaded.attribute, value)
    with change(parts, actor) as turn:
        sealed = _sealed(parts, loaded.attribute, value)
        _write(turn, loaded, sealed, node_id, node_role_id, deployment_role_id, now=now)


def unset_value(
    parts: Parts, actor: Actor, *, attribute: str, node_id: int | None = None, node_role_id: int | None = None,
    deployment_role_id: int | None = None, now: bool = False,
) -> None:  # fmt: skip
    """Take back what was set, so that the next lower source shows through: as a draft, or ``now``."""
    loaded = parts.registry.attribute(attribute)
    with change(parts, actor) as turn:
        _write(turn, loaded, _UNSET, node_id, node_role_id, deployment_role_id, now=now)


def set_for_deployment(
    parts: Parts, actor: Actor, *, deployment_id: int, attribute: str, value: Json, role: str | None = None,
    now: bool = False,
) -> list[str]:  # fmt: skip
    """Set an attribute for a whole deployment: on the role that it belongs to, if that is in the deployment, else on
    every role there that wants it, be it an attribute of another role or one that lies on nodes. ``role`` names one.
    Returns the roles on which it was set. Raises ``Refused`` when no role of the deployment has or wants it.
    """
    loaded = _writable(parts, attribute)
    rules.check_value(loaded.attribute, value)
    sealed = _sealed(parts, loaded.attribute, value)
    return _for_deployment(parts, actor, deployment_id, loaded, sealed, role, now=now)


def unset_for_deployment(
    parts: Parts, actor: Actor, *, deployment_id: int, attribute: str, role: str | None = None, now: bool = False
) -> list[str]:
    """Take it back for a whole deployment. Returns the roles on which it was unset."""
    return _for_deployment(
        parts, actor, deployment_id, parts.registry.attribute(attribute), _UNSET, role, now=now
    )  # fmt: skip


_UNSET: Json = object()


def set_in_turn(turn: Turn, *, attribute: str, value: Json, node_id: int, role: str | None) -> None:
    """Set an attribute inside a running turn (an intent): at once. Raises like ``set_value``."""
    loaded = turn.registry.attribute(attribute)
    rules.check_value(loaded.attribute, value)
    sealed = _sealed(turn.parts, loaded.attribute, value)
    if role is None:
        _write(turn, loaded, sealed, node_id, None, None, now=True)
        return
    node_role_id = values.on_node(turn.session, node_id, role)
    if node_role_id is None:
        raise NotFound(f"Role {role} is not bound to node {node_id}.")
    _write(turn, loaded, sealed, None, node_role_id, None, now=True)


def _writable(parts: Parts, attribute: str) -> LoadedAttribute:
    loaded = parts.registry.attribute(attribute)
    if not loaded.attribute.writable:
        raise Refused(f"Attribute {attribute} is not writable: it is reported by {loaded.role or loaded.barclamp}.")
    return loaded


def _sealed(parts: Parts, attribute: Attribute, value: Json) -> Json:
    return seal(parts.cipher, value) if attribute.secret else value


def _for_deployment(
    parts: Parts, actor: Actor, deployment_id: int, loaded: LoadedAttribute, value: Json, role: str | None, *, now: bool
) -> list[str]:
    name = loaded.attribute.name
    with change(parts, actor) as turn:
        deployment = or_missing(deployments.row_of(turn.session, deployment_id), "deployment", deployment_id).name
        there = deployment_roles.by_role(turn.session, deployment_id)
        if role is not None and role not in there:
            raise Refused(f"Role {role} is not in deployment {deployment}. Add it, or bind it there, first.")
        if role is not None:
            chosen = [role]
        elif loaded.role in there:
            chosen = [loaded.role] if loaded.role is not None else []
        else:
            chosen = [one for one in there if has_or_wants(parts.registry, one, name)]
        if not chosen:
            raise Refused(f"No role of deployment {deployment} has or wants {name}, so nobody would read it there.")
        for one in chosen:
            _write(turn, loaded, value, None, None, there[one], now=now)
        return chosen


Written = tuple[str, Mapping[str, Json], Mapping[str, Json]]
"""Whose value it is, and the proposed values before and after."""


def _write(
    turn: Turn, loaded: LoadedAttribute, value: Json, node_id: int | None, node_role_id: int | None,
    deployment_role_id: int | None, *, now: bool,
) -> None:  # fmt: skip
    given = [one for one in (node_id, node_role_id, deployment_role_id) if one is not None]
    if len(given) != 1:
        raise BadInput("Say exactly one object: a node, a noderole or a deployment role.")
    if node_id is not None:
        name, old, new = _write_node(turn, loaded, value, node_id, now=now)
        kind, ref = "node", node_id
    elif node_role_id is not None:
        name, old, new = _write_node_role(turn, loaded, value, node_role_id, now=now)
        kind, ref = "node_role", node_role_id
    else:
        assert deployment_role_id is not None
        name, old, new = _write_deployment_role(turn, loaded, value, deployment_role_id, now=now)
        kind, ref = "deployment_role", deployment_role_id
    path = "/".join(loaded.attribute.path)
    record(turn, kind, ref, PROPOSED_LAYER, [path])
    if now:
        record(turn, kind, ref, "hint" if kind == "node" else "committed_data", [path])
    how = "unset" if value is _UNSET else "set"
    was, now_is = (rules.lookup(tree, loaded.attribute.path)[1] for tree in (old, new))
    changed = differences({"value": was}, {"value": now_is})
    turn.audit(f"attribute.{how}", f"{kind} {name}", attribute=loaded.attribute.name, staged=not now, changed=changed)


def _changed(
    turn: Turn, tree: Mapping[str, Json], committed: Mapping[str, Json], attribute: Attribute, value: Json
) -> dict[str, Json]:
    """The tree with the value; under the seal that the committed value has, where that is the same secret."""
    if value is _UNSET:
        return rules.remove(tree, attribute.path)
    for known in (tree, committed):
        _, old = rules.lookup(known, attribute.path)
        value = keep_seals(turn.parts.cipher, old, value)
    return rules.place(tree, attribute.path, value)


def _write_node(turn: Turn, loaded: LoadedAttribute, value: Json, node_id: int, *, now: bool) -> Written:
    if loaded.role is not None:
        raise BadInput(
            f"Attribute {loaded.attribute.name} belongs to role {loaded.role}: set it on the noderole, not on the node."
        )
    if value is not _UNSET:
        turn.registry.hints.check(rules.place({}, loaded.attribute.path, value))
    row = or_missing(node_fields.row_of(turn.session, node_id), "node", node_id)
    changed = {"proposed_hint": _changed(turn, row.proposed_hint, row.hint, loaded.attribute, value)}
    if now:
        changed["hint"] = _changed(turn, row.hint, row.hint, loaded.attribute, value)
    write_nodes(turn, {node_id: changed})
    if now:
        _note(turn, "node", node_id, row.name, loaded.attribute, row.hint, changed["hint"])
    return str(row.name), row.proposed_hint, changed["proposed_hint"]


def _write_node_role(turn: Turn, loaded: LoadedAttribute, value: Json, node_role_id: int, *, now: bool) -> Written:
    row = or_missing(noderoles.values_of(turn.session, node_role_id), "noderole", node_role_id)
    if loaded.role != row.role:
        raise BadInput(f"Attribute {loaded.attribute.name} does not belong to role {row.role}.")
    committed, attribute = row.committed_data, loaded.attribute
    changed: dict[str, Any] = {"proposed_data": _changed(turn, row.proposed_data, committed, attribute, value)}
    at_once = now and row.state != int(PROPOSED)  # of a PROPOSED one all the data are a proposal
    if at_once:
        changed["committed_data"] = _changed(turn, committed, committed, attribute, value)
    layers = node_role_layers(turn.registry, turn.session, turn.store, [node_role_id] if at_once else [])
    noderoles.note(turn.session, node_role_id, updated_at=turn.now, **changed)
    name = f"{row.role} on {row.node}"
    if at_once:
        follow_values(turn, layers, {("user", f"node_role {node_role_id}"): changed["committed_data"]}, kept=True)
        _note(turn, "node_role", node_role_id, name, attribute, committed, changed["committed_data"])
    return name, row.proposed_data, changed["proposed_data"]


def _write_deployment_role(
    turn: Turn, loaded: LoadedAttribute, value: Json, deployment_role_id: int, *, now: bool
) -> Written:
    row = deployment_roles.row_of(turn.session, deployment_role_id)
    row = or_missing(row, "deployment role", deployment_role_id)
    if not has_or_wants(turn.registry, row.role, loaded.attribute.name):
        raise BadInput(f"Role {row.role} neither has nor wants {loaded.attribute.name}, so it would not read it.")
    committed, attribute = row.committed_data, loaded.attribute
    changed: dict[str, Any] = {"proposed_data": _changed(turn, row.proposed_data, committed, attribute, value)}
    if now:
        changed["committed_data"] = _changed(turn, committed, committed, attribute, value)
    with watch_roles(turn, {deployment_role_id: changed["committed_data"]} if now else {}):
        deployment_roles.write(turn.session, turn.now, deployment_role_id, changed)
    name = f"{row.role} in {row.deployment}"
    if now:
        new = changed["committed_data"]
        _note(turn, "deployment_role", deployment_role_id, name, attribute, committed, new, role=row.role)
    return name, row.proposed_data, changed["proposed_data"]


def _note(
    turn: Turn, kind: str, ref: int, name: str, attribute: Attribute, old: Mapping[str, Json], new: Mapping[str, Json],
    *, role: str = "",
) -> None:  # fmt: skip
    before, after = rules.lookup(old, attribute.path), rules.lookup(new, attribute.path)
    if turn.notes is not None and before != after:
        turn.notes.values.append(
            ValueChange(
                subject=kind, subject_id=ref, name=name, attribute=attribute, path="/".join(attribute.path),
                old=before, new=after, role=role,
            )
        )  # fmt: skip
