"""The core's tables as barclamps read them, and what their own may refer to in them."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Subquery, inspect, select

from crowbar_core.store.db import Store
from crowbar_core.store.models import (
    CORE_TABLES,
    Base,
    Deployment,
    DeploymentRole,
    HammerRow,
    Node,
    NodeRole,
    RoleRow,
    table,
)

GOES_ALONG = ("CASCADE", "SET NULL")
"""What may happen to a barclamp's row when the core's row goes that it refers to: anything else would stand in the way
of deleting a node.
"""


def _published(model: type[Base], *names: str) -> Subquery:
    """A table for reading: no statement that writes takes a subquery, and a database sees through it."""
    columns = table(model).c
    return select(*(columns[name] for name in names)).subquery(table(model).name)


nodes = _published(
    Node, "id", "name", "name_key", "description", "admin", "system", "alive", "switched_off", "available", "allocated",
    "bootenv", "served_bootenv", "deployment_id", "discovery", "hint", "host_keys", "status", "created_at",
    "updated_at",
)  # fmt: skip
deployments = _published(
    Deployment, "id", "name", "name_key", "description", "system", "committed", "parent_id", "created_at", "updated_at"
)
deployment_roles = _published(DeploymentRole, "id", "deployment_id", "role_id", "committed_data")
hammers = _published(HammerRow, "id", "node_id", "name", "priority")
roles = _published(
    RoleRow, "id", "name", "name_key", "description", "jig_name", "ready", "discovery", "requires", "provides"
)
node_roles = _published(
    NodeRole, "id", "node_id", "role_id", "deployment_id", "state", "committed", "cohort", "run_count", "status", "wall"
)


def wrong_references(store: Store) -> list[str]:
    """Foreign keys of barclamps' tables into the core's that stand in the way when the core's row goes."""
    found: list[str] = []
    with store.read() as session:
        looking = inspect(session.connection())
        for name in sorted(set(looking.get_table_names()) - set(CORE_TABLES)):
            for key in looking.get_foreign_keys(name):
                if key["referred_table"] in CORE_TABLES and _action(key) not in GOES_ALONG:
                    target = f"{key['referred_table']}.{key['referred_columns'][0]}"
                    found.append(f"{name}.{key['constrained_columns'][0]} to {target}")
    return found


def _action(key: Any) -> str:
    return str(key["options"].get("ondelete") or "NO ACTION").upper()
