"""The database's record of what is installed: barclamps, jigs, roles and attributes, brought in line at start-up.

What is no longer installed is kept, marked as not ready: uninstalling a barclamp takes away its roles' runs, not its
data.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from sqlalchemy.orm import Session

from crowbar_core.barclamp import Attribute, Role
from crowbar_core.barclamp.declared import FLAGS
from crowbar_core.plugins import LoadedBarclamp, Registry
from crowbar_core.services.data.addresses import keep_claims
from crowbar_core.services.turns.looking import look
from crowbar_core.services.turns.parts import Parts
from crowbar_core.store import deployments, events, installed, node_fields
from crowbar_core.store.installed import ATTRIBS, BARCLAMPS, JIGS, ROLES

_RELATIONS = ("requires", "wants", "provides", "conflicts", "attaches", "precedes")
SYSTEM_NODE_SUFFIX = "-phantom.internal.local"


def synchronise(parts: Parts) -> None:
    """Write what is installed into the database, and make the ``system`` deployment if it is not there."""
    registry = parts.registry
    with parts.store.write() as session:
        now = parts.store.now(session)
        fresh, gone = _synchronise_barclamps(session, registry, now)
        _tell_installed(session, registry, now, fresh)
        if fresh or gone:  # they may read other hints
            keep_claims(registry, session, parts.store, now, node_fields.every(session))
        _synchronise_jigs(session, registry)
        look(registry, session)
        synchronise_roles(session, registry, now)
        _ensure_system(session)
        events.forget_unanswered(session)


def _synchronise_barclamps(session: Session, registry: Registry, now: Any) -> tuple[set[str], set[str]]:
    """Returns the barclamps that are loaded now and were not before, and those that were and are not."""
    there = installed.rows(session, BARCLAMPS)
    loaded = {one.name for one in registry.barclamps if one.state == "loaded"}
    before = {name for name, row in there.items() if row.state == "loaded"}
    for one in registry.barclamps:
        values = _barclamp_values(one)
        if (row := there.pop(one.name, None)) is None:
            installed.add(session, BARCLAMPS, one.name, **values)
        elif any(getattr(row, key) != value for key, value in values.items()):
            installed.change(session, BARCLAMPS, [one.name], updated_at=now, **values)
    gone = [name for name, row in there.items() if row.state != "missing"]
    missing = {"state": "missing", "error": "It is not installed (any more)."}
    installed.change(session, BARCLAMPS, gone, updated_at=now, **missing)
    return loaded - before, before - loaded


def _tell_installed(session: Session, registry: Registry, now: Any, fresh: Collection[str]) -> None:
    """Let the barclamps that were not there before catch up; those that could not, once more."""
    listening = [one.plugin for one in registry.implementations("on_install")]
    ids = installed.ids(session, BARCLAMPS)
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
    there = installed.ids(session, JIGS)
    for name, jig in registry.jigs.items():
        values = {"installed": True, "description": (type(jig).__doc__ or "").partition("\n")[0]}
        if name in there:
            installed.change(session, JIGS, [name], **values)
        else:
            installed.add(session, JIGS, name, **values)
    installed.change(session, JIGS, set(there) - set(registry.jigs), installed=False)


def synchronise_roles(session: Session, registry: Registry, now: Any) -> None:
    """Write all roles and attributes that are known, declared or defined at run time."""
    homes, there = installed.ids(session, BARCLAMPS), installed.rows(session, ROLES)
    for name, loaded in registry.roles.items():
        timeout = registry.settings.run_timeout if loaded.role.timeout is None else loaded.role.timeout
        values = _role_values(loaded.role) | {
            "like_name": loaded.role.like, "given": dict(loaded.given),
            "barclamp_id": homes[loaded.barclamp], "ready": loaded.role.jig in registry.jigs, "timeout": float(timeout),
        }  # fmt: skip
        if (row := there.pop(name, None)) is None:
            installed.add(session, ROLES, name, **values)
        elif any(getattr(row, key) != value for key, value in values.items()):
            installed.change(session, ROLES, [name], updated_at=now, **values)
    gone = [name for name, row in there.items() if row.ready]
    installed.change(session, ROLES, gone, ready=False, updated_at=now)
    ids, known = installed.ids(session, ROLES), installed.rows(session, ATTRIBS)
    for name, one in registry.attributes.items():
        values = _attribute_values(one.attribute) | {
            "barclamp_id": homes[one.barclamp], "role_id": ids[one.role] if one.role else None,
        }  # fmt: skip
        if (row := known.pop(name, None)) is None:
            installed.add(session, ATTRIBS, name, **values)
        elif any(getattr(row, key) != value for key, value in values.items()):
            installed.change(session, ATTRIBS, [name], **values)
    loaded_ids = _loaded_ids(registry, homes)
    installed.remove(session, ATTRIBS, [name for name, row in known.items() if row.barclamp_id in loaded_ids])


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
    if deployments.system_id(session) is None:
        values = {"description": "What every node has in common.", "system": True, "committed": True}
        add_system_node(session, deployments.add(session, name="system", **values), "system")
    installed.ensure_cluster_id(session)


def add_system_node(session: Session, deployment_id: int, deployment: str) -> int:
    """The node that carries a deployment's service roles: always alive, never probed. Returns its id."""
    name, said = f"{deployment}{SYSTEM_NODE_SUFFIX}", f"Carries the services of deployment {deployment}."
    return node_fields.add_system(session, name=name, description=said, deployment_id=deployment_id)
