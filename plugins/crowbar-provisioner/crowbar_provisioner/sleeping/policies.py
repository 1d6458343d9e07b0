"""After how many minutes without work a machine is switched off: as its noderole says, else the nearest deployment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from sqlalchemy import select

from crowbar_core import cluster
from crowbar_core.tables import deployment_roles, deployments, roles
from crowbar_provisioner.bmc import BMC_ROLE
from crowbar_provisioner.settings import Settings

SLEEP_ROLE, MINUTES = "provisioner-power-save", 30


def minutes_by_home(session: Any) -> dict[int, float]:
    """Deployment -> minutes, of those in which, or above which, the role was added."""
    asked = (
        select(deployment_roles.c.deployment_id, deployment_roles.c.committed_data)
        .join(roles, roles.c.id == deployment_roles.c.role_id)
        .where(roles.c.name == SLEEP_ROLE)
    )
    said = {one.deployment_id: minutes_of(one.committed_data) for one in session.execute(asked).all()}
    if not said:
        return {}
    above = {one.id: one.parent_id for one in session.execute(select(deployments.c.id, deployments.c.parent_id)).all()}
    found = {}
    for home in above:
        at: int | None = home
        while at is not None and at not in said:
            at = above.get(at)
        if at is not None:
            found[home] = said[at]
    return found


def minutes_of(data: Mapping[str, Any] | None) -> float:
    """0: never."""
    told: Any = (data or {}).get("provisioner") or {}
    return float(told.get("power-save-minutes", MINUTES))


def minutes_by_node() -> dict[str, float]:
    """Node -> minutes, of those to which the role is bound, and committed."""
    return {
        one.node.name: minutes_of(one.data) for one in cluster().node_roles(role=SLEEP_ROLE) if one.state != "PROPOSED"
    }


def quiet_roles(session: Any) -> frozenset[str]:
    """Roles that claim no machine: those of discovery, those that each accepted one is given, and what they require."""
    settings = cluster().settings(Settings)
    known = session.execute(select(roles.c.name, roles.c.discovery, roles.c.requires, roles.c.provides)).all()
    found = {SLEEP_ROLE, BMC_ROLE, *settings.discovered_roles, *settings.joined_roles}
    found |= {one.name for one in known if one.discovery}
    while new := _required(known, found) - found:
        found |= new
    return frozenset(found)


def _required(known: Iterable[Any], by: set[str]) -> set[str]:
    wanted = {str(name) for one in known if one.name in by for name in one.requires or ()}
    return wanted | {one.name for one in known if wanted.intersection(one.provides or ())}
