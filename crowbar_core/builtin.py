"""The core's own barclamp: the milestones that every cluster has, and the powering off of nodes whose work is done."""

from __future__ import annotations

from collections.abc import Iterable

from crowbar_core.barclamp import Barclamp, Declared, Role, hookimpl

MILESTONES = (
    Role(
        name="crowbar-admin-node",
        description="The machine that Crowbar runs on.",
        bootstrap=True,
        milestone=True,
    ),
    Role(
        name="crowbar-managed-node",
        description="A machine that was discovered and runs the discovery image.",
        milestone=True,
    ),
    Role(
        name="crowbar-hardware-configured",
        description="A machine whose firmware and disks are set up.",
        requires=("crowbar-managed-node",),
        milestone=True,
    ),
    Role(
        name="crowbar-installed-node",
        description="A machine with an operating system on its disk.",
        requires=("crowbar-managed-node",),
        milestone=True,
    ),
    Role(
        name="crowbar-joined-node",
        description="A machine that already ran an operating system when Crowbar met it.",
        provides=("crowbar-managed-node", "crowbar-installed-node"),
        conflicts=("crowbar-managed-node",),
        milestone=True,
    ),
)


@hookimpl
def register_barclamp() -> Barclamp:
    return Barclamp(name="crowbar", help="What every cluster has.", roles=MILESTONES)


@hookimpl
def register_declared() -> Iterable[Declared]:
    """What an operator says of the cluster; nothing that was only reported, and no secrets."""
    of_node_role = {"node_id": "nodes", "role_id": "roles", "deployment_id": "deployments"}
    return (
        Declared(
            noun="deployments", order=10, fields=("parent_id", "description"), refers={"parent_id": "deployments"},
            where={"system": "false"},
        ),
        Declared(
            noun="nodes", order=20,
            fields=("description", "admin", "deployment_id", "available", "bootenv", "order", "hint"),
            fixed=("admin",), refers={"deployment_id": "deployments"}, where={"system": "false"},
        ),
        Declared(
            noun="hammers", order=25, key=("node_id", "name"), fields=("priority", "config"),
            refers={"node_id": "nodes"}, merges=("config",),
        ),
        Declared(noun="groups", order=30, fields=("category", "description", "nodes")),
        Declared(
            noun="deployment_roles", order=40, key=("deployment_id", "role_id"), fields=("data",),
            refers={"deployment_id": "deployments", "role_id": "roles"}, shown={"data": "proposed_data"},
        ),
        Declared(
            noun="node_roles", order=50, key=("node_id", "role_id"), fields=("deployment_id", "data"),
            fixed=("deployment_id",), refers=of_node_role, shown={"data": "proposed_data"},
        ),
    )  # fmt: skip
