"""The database's record of what is installed: barclamps, jigs, roles and attributes, brought in line at start-up.

What is no longer installed is kept, marked as not ready: uninstalling a barclamp takes away its roles' runs, not its
data.
"""

from __future__ import annotations

import uuid
from collections.abc import Collection
from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.orm import Session

from crowbar_core.barclamp import Attribute, Role
from crowbar_core.barclamp.declared import FLAGS
from crowbar_core.plugins import LoadedBarclamp, Registry
from crowbar_core.services.turns.looking import look
from crowbar_core.services.turns.parts import Parts
from crowbar_core.store import events
from crowbar_core.store.models import (
    AttribRow,
    BarclampRow,
    Deployment,
    JigRow,
    Meta,
    Node,
    RoleRow,
    table,
)

barclamps, jigs, roles, attribs = table(BarclampRow), table(JigRow), table(RoleRow), table(AttribRow)
deployments, nodes, meta = table(Deployment), table(Node), table(Meta)

_RELATIONS = ("requires", "wants", "provides", "conflicts", "attaches", "precedes")
SYSTEM_NODE_SUFFIX = "-phantom.internal.local"


def synchronise(parts: Parts) -> None:
    """Write what is installed into the database, and make the ``system`` deployment if it is not there."""
    registry = parts.registry
    with parts.store.write() as session:
        now = parts.store.now(session)
        _tell_installed(session, registry, now, _synchronise_barclamps(session, registry, now))
        _synchronise_jigs(session, registry)
        look(registry, session)
        synchronise_roles(session, registry, now)
        _ensure_system(session)
        events.forget_unanswered(session)


def _synchronise_barclamps(session: Session, registry: Registry, now: Any) -> set[str]:
    """Returns the barclamps that are loaded now and were not before."""
    there = {row.name: row for row in session.execute(select(barclamps))}
    fresh = {one.name for one in registry.barclamps if one.state == "loaded"}
    fresh -= {name for name, row in there.items() if row.state == "loaded"}
    for one in registry.barclamps:
        values = _barclamp_values(one)
        if (row := there.pop(one.name, None)) is None:
            session.execute(insert(barclamps).values(name=one.name, **values))
        elif any(getattr(row, key) != value for key, value in values.items()):
            session.execute(update(barclamps).where(barclamps.c.id == row.id).values(updated_at=now, **values))
    for row in there.values():
        if row.state != "missing":
            session.execute(
                update(barclamps)
                .where(barclamps.c.id == row.id)
                .values(state="missing", error="It is not installed (any more).", updated_at=now)
            )
    return fresh


def _tell_installed(session: Session, registry: Registry, now: Any, fresh: Collection[str]) -> None:
    """Let the barclamps that were not there before catch up; those that could not, once more."""
    listening = [one.plugin for one in registry.implementations("on_install")]
    ids = dict(session.execute(select(barclamps.c.name, barclamps.c.id).where(barclamps.c.name.in_(listening))).all())
    new = [one for one in listening if one in fresh]
    events.append(
        session, now, [events.NewEvent("on_install", f"barclamp {one}", {"id": ids[one]}, [one]) for one in new]
    )
    events.retry_failed(session, events.failed(session, "on_install", listening))


def _barclamp_values(one: LoadedBarclamp) -> dict[str, Any]:
    values: dict[str, Any] = {
        "distribution": one.distribution, "version": one.version, "package": one.package, "state": one.state,
        "error": one.error, "enabled": one.state != "disabled",
    }  # fmt: skip
    return values | ({"description": one.help} if one.definition else {})


def _synchronise_jigs(session: Session, registry: Registry) -> None:
    there = {row.name: row for row in session.execute(select(jigs))}
    for name, jig in registry.jigs.items():
        values = {"installed": True, "description": (type(jig).__doc__ or "").partition("\n")[0]}
        if name in there:
            session.execute(update(jigs).where(jigs.c.name == name).values(**values))
        else:
            session.execute(insert(jigs).values(name=name, **values))
    gone = set(there) - set(registry.jigs)
    session.execute(update(jigs).where(jigs.c.name.in_(gone)).values(installed=False))


def synchronise_roles(session: Session, registry: Registry, now: Any) -> None:
    """Write all roles and attributes that are known, declared or defined at run time."""
    homes: dict[str, int] = dict(session.execute(select(barclamps.c.name, barclamps.c.id)).all())
    there = {row.name: row for row in session.execute(select(roles))}
    ids: dict[str, int] = {}
    for name, loaded in registry.roles.items():
        timeout = registry.settings.run_timeout if loaded.role.timeout is None else loaded.role.timeout
        values = _role_values(loaded.role) | {
            "like_name": loaded.role.like, "given": dict(loaded.given),
            "barclamp_id": homes[loaded.barclamp], "ready": loaded.role.jig in registry.jigs, "timeout": float(timeout),
        }  # fmt: skip
        if (row := there.pop(name, None)) is None:
            ids[name] = session.scalars(insert(roles).values(name=name, **values).returning(roles.c.id)).one()
        else:
            ids[name] = row.id
            if any(getattr(row, key) != value for key, value in values.items()):
                session.execute(update(roles).where(roles.c.id == row.id).values(updated_at=now, **values))
    for row in there.values():
        if row.ready:
            session.execute(update(roles).where(roles.c.id == row.id).values(ready=False, updated_at=now))
    known = {row.name: row for row in session.execute(select(attribs))}
    for name, one in registry.attributes.items():
        values = _attribute_values(one.attribute) | {
            "barclamp_id": homes[one.barclamp], "role_id": ids[one.role] if one.role else None,
        }  # fmt: skip
        if (row := known.pop(name, None)) is None:
            session.execute(insert(attribs).values(name=name, **values))
        elif any(getattr(row, key) != value for key, value in values.items()):
            session.execute(update(attribs).where(attribs.c.id == row.id).values(**values))
    stale = [row.id for row in known.values() if row.barclamp_id in _loaded_ids(registry, homes)]
    session.execute(delete(attribs).where(attribs.c.id.in_(stale)))


def _loaded_ids(registry: Registry, homes: dict[str, int]) -> set[int]:
    return {homes[one.name] for one in registry.barclamps if one.state == "loaded"}


def _role_values(role: Role) -> dict[str, Any]:
    values: dict[str, Any] = {flag: getattr(role, flag) for flag in FLAGS}
    values |= {relation: list(getattr(role, relation)) for relation in _RELATIONS}
    return values | {
        "description": role.description, "jig_name": role.jig, "template": dict(role.template),
        "on_change": role.on_change, "max_attempts": role.max_attempts,
    }  # fmt: skip


def _attribute_values(attribute: Attribute) -> dict[str, Any]:
    return {
        "description": attribute.description, "map": "/".join(attribute.path), "schema": dict(attribute.schema),
        "default": attribute.default, "writable": attribute.writable,
        "secret": attribute.secret, "required": attribute.required, "generate": attribute.generate,
        "order": attribute.order,
    }  # fmt: skip


def _ensure_system(session: Session) -> None:
    if session.scalar(select(deployments.c.id).where(deployments.c.system)) is None:
        root = session.scalars(
            insert(deployments)
            .values(name="system", description="What every node has in common.", system=True, committed=True)
            .returning(deployments.c.id)
        ).one()
        add_system_node(session, root, "system")
    if session.scalar(select(meta.c.value).where(meta.c.key == "cluster_id")) is None:
        session.execute(insert(meta).values(key="cluster_id", value=str(uuid.uuid4())))


def add_system_node(session: Session, deployment_id: int, deployment: str) -> int:
    """The node that carries a deployment's service roles: always alive, never probed. Returns its id."""
    made: int = session.scalars(
        insert(nodes)
        .values(
            name=f"{deployment}{SYSTEM_NODE_SUFFIX}", description=f"Carries the services of deployment {deployment}.",
            system=True, alive=True, available=True, deployment_id=deployment_id,
        )
        .returning(nodes.c.id)
    ).one()  # fmt: skip
    return made
