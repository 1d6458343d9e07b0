"""Groups: names put on nodes, in categories."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final

from sqlalchemy.orm import Session

from crowbar_core.domain import names
from crowbar_core.domain.differences import differences
from crowbar_core.errors import BadInput, FieldError, NotFound, Refused, or_missing
from crowbar_core.services.turns.parts import Parts
from crowbar_core.services.turns.turn import Actor
from crowbar_core.store import audits, groups, node_fields

CATEGORIES: Final = ("class", "rack", "tag", "ui")


def create_group(
    parts: Parts,
    actor: Actor,
    *,
    name: str,
    category: str = "tag",
    description: str = "",
    nodes: Collection[int] = (),
) -> int:
    name = names.plain_name(name, what="group")
    _check_category(category)
    names.description(description)
    with parts.store.write(graph=False) as session:
        _check_free(session, name, category)
        made = groups.add(session, name=name, category=category, description=description)
        came, _ = groups.replace_members(session, parts.store, made, nodes)
        _audit(session, actor, "group.create", name, {"category": category, **({"nodes": came} if came else {})})
        return made


def change_group(parts: Parts, actor: Actor, group_id: int, changes: Mapping[str, Any]) -> None:
    """Change ``name``, ``category`` or ``description``, or who is in it (``nodes``, all of their ids)."""
    values = dict(changes)
    nodes = values.pop("nodes", None)
    if "name" in values:
        names.plain_name(values["name"], what="group")
    if "category" in values:
        _check_category(values["category"])
    if "description" in values:
        names.description(values["description"])
    if not values and nodes is None:
        return
    with parts.store.write(graph=False) as session:
        old = _group(session, group_id)
        _check_free(session, values.get("name", old.name), values.get("category", old.category), but=group_id)
        if values:
            groups.change(session, group_id, values)
        said: dict[str, Any] = differences(old._mapping, values)
        if nodes is not None:
            came, went = groups.replace_members(session, parts.store, group_id, nodes)
            said |= {word: found for word, found in (("added", came), ("removed", went)) if found}
        if said:
            _audit(session, actor, "group.change", old.name, said)


def delete_group(parts: Parts, actor: Actor, group_id: int) -> None:
    """Remove a group; its nodes stay."""
    with parts.store.write(graph=False) as session:
        old = _group(session, group_id)
        groups.remove(session, group_id)
        _audit(session, actor, "group.delete", old.name, {})


def add_node(parts: Parts, actor: Actor, group_id: int, node_id: int) -> None:
    """Put a node into a group; nothing happens when it is there already."""
    with parts.store.write(graph=False) as session:
        group = _group(session, group_id)
        node = _node(session, node_id)
        if groups.add_member(session, group_id, node_id):
            _audit(session, actor, "group.add", group.name, {"node": node})


def remove_node(parts: Parts, actor: Actor, group_id: int, node_id: int) -> None:
    with parts.store.write(graph=False) as session:
        group = _group(session, group_id)
        node = _node(session, node_id)
        if not groups.remove_member(session, group_id, node_id):
            raise NotFound(f"Node {node} is not in group {group.name}.")
        _audit(session, actor, "group.remove", group.name, {"node": node})


def _group(session: Session, group_id: int) -> Any:
    return or_missing(groups.lock(session, group_id), "group", group_id)


def _node(session: Session, node_id: int) -> str:
    return or_missing(node_fields.name_of(session, node_id), "node", node_id)


def _check_category(category: str) -> None:
    if category not in CATEGORIES:
        detail = f"A group's category is one of {', '.join(CATEGORIES)}."
        raise BadInput(detail, errors=(FieldError(pointer="/category", detail=detail),))


def _check_free(session: Session, name: str, category: str, *, but: int = 0) -> None:
    if groups.has(session, name, category, but=but):
        raise Refused(f"There is already a group {name} in the category {category}: take another name.")


def _audit(session: Session, actor: Actor, action: str, group: str, detail: Mapping[str, Any]) -> None:
    audits.append(session, action, [(f"group {group}", detail)], actor=actor.name, remote=actor.remote)
