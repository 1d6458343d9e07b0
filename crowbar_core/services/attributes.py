"""Values of attributes: shown, explained, set, unset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import or_, select, update
from sqlalchemy.orm import Session

from crowbar_core.barclamp import Attribute, Json
from crowbar_core.domain import attributes as rules
from crowbar_core.domain.attributes import Layer
from crowbar_core.domain.states import PROPOSED
from crowbar_core.errors import BadInput, NotFound, Refused
from crowbar_core.plugins import LoadedAttribute
from crowbar_core.services.annealer import change
from crowbar_core.services.changes import record, watch_nodes, watch_values
from crowbar_core.services.layers import node_layers, node_role_layers
from crowbar_core.services.parts import Actor, Parts, Turn
from crowbar_core.services.secrets import keep_seals, open_secrets, seal
from crowbar_core.store.models import DeploymentRole, Node, NodeRole, Provenance, RoleRow, table

nodes, node_roles, roles = table(Node), table(NodeRole), table(RoleRow)
deployment_roles, provenance = table(DeploymentRole), table(Provenance)

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
        layers = node_layers(session, parts.store, [node_id]).get(node_id)
    if layers is None:
        raise NotFound(f"There is no node {node_id}.")
    wanted = [one for one in parts.registry.attributes.values() if one.role is None]
    return [_value(parts, one, layers, reveal) for one in sorted(wanted, key=_by_order)]


def node_role_values(parts: Parts, node_role_id: int, *, reveal: bool = False) -> list[Value]:
    """The attributes of the noderole's role, as they stand for it."""
    with parts.store.read() as session:
        found = node_role_layers(parts.registry, session, parts.store, [node_role_id]).get(node_role_id)
    if found is None:
        raise NotFound(f"There is no noderole {node_role_id}.")
    wanted = [one for one in parts.registry.attributes.values() if one.role == found.role]
    return [_value(parts, one, found.layers, reveal) for one in sorted(wanted, key=_by_order)]


def deployment_role_values(parts: Parts, deployment_role_id: int, *, reveal: bool = False) -> list[Value]:
    """The attributes of the role, as proposed for the deployment."""
    with parts.store.read() as session:
        row = session.execute(
            select(deployment_roles.c.proposed_data, roles.c.name, roles.c.template)
            .join(roles, roles.c.id == deployment_roles.c.role_id)
            .where(deployment_roles.c.id == deployment_role_id)
        ).one_or_none()
    if row is None:
        raise NotFound(f"There is no deployment role {deployment_role_id}.")
    layers = (
        Layer("template", f"role {row.name}", row.template),
        Layer("proposed", f"deployment_role {deployment_role_id}", row.proposed_data),
    )
    wanted = [one for one in parts.registry.attributes.values() if one.role == row.name]
    return [_value(parts, one, layers, reveal) for one in sorted(wanted, key=_by_order)]


def explain(
    parts: Parts, *, attribute: str, node_id: int | None = None, node_role_id: int | None = None, reveal: bool = False
) -> list[LayerValue]:
    """Every source of the attribute for this object, low to high: what it says, since when, by whom or which run."""
    loaded = parts.registry.attribute(attribute)
    with parts.store.read() as session:
        if node_id is not None:
            layers = node_layers(session, parts.store, [node_id]).get(node_id)
        elif node_role_id is not None:
            found = node_role_layers(parts.registry, session, parts.store, [node_role_id]).get(node_role_id)
            layers = found.layers if found else None
            if found and loaded.role != found.role:
                raise NotFound(f"Role {found.role} has no attribute {attribute}.")
        else:
            raise BadInput("Say whose value to explain: a node's or a noderole's.")
        if layers is None:
            raise NotFound("There is no such object.")
        said = []
        for one in rules.explain(loaded.attribute, layers):
            who = _set_by(session, one.layer, loaded.attribute) if one.is_set else None
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


def _set_by(session: Session, layer: Layer, attribute: Attribute) -> Any:
    """Who last set the attribute's value, or a part of it or an object around it, in this layer."""
    if layer.source not in LAYER_COLUMN:
        return None
    kind, _, rest = layer.subject.partition(" ")
    path = "/".join(attribute.path)
    around = ["/".join(attribute.path[: n + 1]) for n in range(len(attribute.path))]
    return session.execute(
        select(provenance.c.at, provenance.c.actor, provenance.c.run_id)
        .where(
            provenance.c.subject == kind,
            provenance.c.subject_id == int(rest.split(" ")[0]),
            provenance.c.layer == LAYER_COLUMN[layer.source],
            or_(provenance.c.path.in_(around), provenance.c.path.startswith(f"{path}/", autoescape=True)),
        )
        .order_by(provenance.c.at.desc())
        .limit(1)
    ).one_or_none()


# ---------------------------------------------------------------- writing


def set_value(
    parts: Parts, actor: Actor, *, attribute: str, value: Json, node_id: int | None = None,
    node_role_id: int | None = None, deployment_role_id: int | None = None,
) -> None:  # fmt: skip
    """Set an attribute: a node's hint, a noderole's user data, or a deployment role's proposed data.

    On a committed noderole it takes effect at once; on a deployment role when that is committed. Raises ``BadInput``
    for a value that the schema forbids, ``NotFound``, ``Refused`` for an attribute that is not writable.
    """
    loaded = parts.registry.attribute(attribute)
    if not loaded.attribute.writable:
        raise Refused(f"Attribute {attribute} is not writable: it is reported by {loaded.role or loaded.barclamp}.")
    rules.check_value(loaded.attribute, value)
    with change(parts, actor) as turn:
        _write(turn, loaded, _sealed(parts, loaded.attribute, value), node_id, node_role_id, deployment_role_id)


def unset_value(
    parts: Parts, actor: Actor, *, attribute: str, node_id: int | None = None, node_role_id: int | None = None,
    deployment_role_id: int | None = None,
) -> None:  # fmt: skip
    """Take back what was set, so that the next lower source shows through."""
    loaded = parts.registry.attribute(attribute)
    with change(parts, actor) as turn:
        _write(turn, loaded, _UNSET, node_id, node_role_id, deployment_role_id)


_UNSET: Json = object()


def set_in_turn(turn: Turn, *, attribute: str, value: Json, node_id: int, role: str | None) -> None:
    """Set an attribute inside a running turn (an intent). Raises like ``set_value``."""
    loaded = turn.registry.attribute(attribute)
    rules.check_value(loaded.attribute, value)
    sealed = _sealed(turn.parts, loaded.attribute, value)
    if role is None:
        _write(turn, loaded, sealed, node_id, None, None)
        return
    node_role_id = turn.session.scalar(
        select(node_roles.c.id)
        .join(roles, roles.c.id == node_roles.c.role_id)
        .where(node_roles.c.node_id == node_id, roles.c.name == role)
    )
    if node_role_id is None:
        raise NotFound(f"Role {role} is not bound to node {node_id}.")
    _write(turn, loaded, sealed, None, node_role_id, None)


def _sealed(parts: Parts, attribute: Attribute, value: Json) -> Json:
    return seal(parts.cipher, value) if attribute.secret else value


def _write(
    turn: Turn, loaded: LoadedAttribute, value: Json, node_id: int | None, node_role_id: int | None,
    deployment_role_id: int | None,
) -> None:  # fmt: skip
    given = [one for one in (node_id, node_role_id, deployment_role_id) if one is not None]
    if len(given) != 1:
        raise BadInput("Say exactly one object: a node, a noderole or a deployment role.")
    if node_id is not None:
        _write_node(turn, loaded, value, node_id)
    elif node_role_id is not None:
        _write_node_role(turn, loaded, value, node_role_id)
    elif deployment_role_id is not None:
        _write_deployment_role(turn, loaded, value, deployment_role_id)


def _changed_tree(turn: Turn, tree: Mapping[str, Json], attribute: Attribute, value: Json) -> dict[str, Json]:
    if value is _UNSET:
        return rules.remove(tree, attribute.path)
    _, old = rules.lookup(tree, attribute.path)
    return rules.place(tree, attribute.path, keep_seals(turn.parts.cipher, old, value))


def _write_node(turn: Turn, loaded: LoadedAttribute, value: Json, node_id: int) -> None:
    if loaded.role is not None:
        raise BadInput(
            f"Attribute {loaded.attribute.name} belongs to role {loaded.role}: set it on the noderole, not on the node."
        )
    row = turn.session.execute(select(nodes.c.name, nodes.c.hint).where(nodes.c.id == node_id)).one_or_none()
    if row is None:
        raise NotFound(f"There is no node {node_id}.")
    with watch_nodes(turn, [node_id]):
        turn.session.execute(
            update(nodes)
            .where(nodes.c.id == node_id)
            .values(hint=_changed_tree(turn, row.hint, loaded.attribute, value), updated_at=turn.now)
        )
    record(turn, "node", node_id, "hint", ["/".join(loaded.attribute.path)])
    turn.tell("on_node_change", f"node {node_id}", id=node_id, changed=["hint"])
    turn.audit(
        f"attribute.{'unset' if value is _UNSET else 'set'}", f"node {row.name}", attribute=loaded.attribute.name
    )


def _write_node_role(turn: Turn, loaded: LoadedAttribute, value: Json, node_role_id: int) -> None:
    row = turn.session.execute(
        select(node_roles.c.state, node_roles.c.proposed_data, node_roles.c.committed_data, roles.c.name)
        .join(roles, roles.c.id == node_roles.c.role_id)
        .where(node_roles.c.id == node_role_id)
    ).one_or_none()
    if row is None:
        raise NotFound(f"There is no noderole {node_role_id}.")
    if loaded.role != row.name:
        raise BadInput(f"Attribute {loaded.attribute.name} does not belong to role {row.name}.")
    proposed = _changed_tree(turn, row.proposed_data, loaded.attribute, value)
    values: dict[str, Any] = {"proposed_data": proposed, "updated_at": turn.now}
    if row.state != int(PROPOSED):
        values["committed_data"] = _changed_tree(turn, row.committed_data, loaded.attribute, value)
    with watch_values(turn, [node_role_id]):
        turn.session.execute(update(node_roles).where(node_roles.c.id == node_role_id).values(**values))
    record(turn, "node_role", node_role_id, "committed_data", ["/".join(loaded.attribute.path)])
    turn.audit(
        f"attribute.{'unset' if value is _UNSET else 'set'}",
        f"node_role {node_role_id}",
        attribute=loaded.attribute.name,
    )


def _write_deployment_role(turn: Turn, loaded: LoadedAttribute, value: Json, deployment_role_id: int) -> None:
    row = turn.session.execute(
        select(deployment_roles.c.proposed_data, roles.c.name)
        .join(roles, roles.c.id == deployment_roles.c.role_id)
        .where(deployment_roles.c.id == deployment_role_id)
    ).one_or_none()
    if row is None:
        raise NotFound(f"There is no deployment role {deployment_role_id}.")
    if loaded.role != row.name:
        raise BadInput(f"Attribute {loaded.attribute.name} does not belong to role {row.name}.")
    turn.session.execute(
        update(deployment_roles)
        .where(deployment_roles.c.id == deployment_role_id)
        .values(proposed_data=_changed_tree(turn, row.proposed_data, loaded.attribute, value), updated_at=turn.now)
    )
    record(turn, "deployment_role", deployment_role_id, "committed_data", ["/".join(loaded.attribute.path)])
    turn.audit(
        f"attribute.{'unset' if value is _UNSET else 'set'}", f"deployment_role {deployment_role_id}",
        attribute=loaded.attribute.name,
    )  # fmt: skip
