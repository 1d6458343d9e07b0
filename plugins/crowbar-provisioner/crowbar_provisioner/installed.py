"""Installing a node is one wish: the role that does it brings along the milestone of an installed node, and takes that
away again as long as nothing was installed.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crowbar_core import Bind, Change, NodeRoleView, Refused, SetAttribute, Unbind, cluster, hookimpl
from crowbar_provisioner.choosing import ACCEPTED
from crowbar_provisioner.machines import INSTALL_ROLE, Machine

INSTALLED, JOINED = "crowbar-installed-node", "crowbar-joined-node"


@hookimpl(roles=(INSTALL_ROLE,))
def on_node_bind(node_role: NodeRoleView, change: Change) -> None:
    if not _stands_for_it(node_role.node.name):
        change.apply(Bind(node=node_role.node.name, role=INSTALLED, deployment=node_role.deployment))


def _stands_for_it(node: str) -> bool:
    """It is there, or the milestone of a machine that has joined, which provides it."""
    return any(cluster().node_roles(role=one, node=node) for one in (INSTALLED, JOINED))


@hookimpl(roles=(INSTALL_ROLE,))
def on_node_unbind(node_role: NodeRoleView, change: Change) -> None:
    """Without an installation it would be called installed as soon as its roles are ACTIVE."""
    for one in cluster().node_roles(role=INSTALLED, node=node_role.node.name):
        if not one.run_count:
            change.apply(Unbind(node=one.node.name, role=INSTALLED))


def install(change: Change, machine: Machine, values: Mapping[str, Any]) -> None:
    """Bind the role with these of its attributes, and commit it with the milestone. Raises ``Refused``."""
    node = machine.node
    if machine.state != ACCEPTED:
        raise Refused(f"{node} is {machine.state}: crowbar machines accept {node} first.")
    for one in cluster().node_roles(role=INSTALL_ROLE, node=node):
        if one.state != "PROPOSED":
            raise Refused(
                f"{node} has {INSTALL_ROLE} already, which is {one.state}: crowbar nodes redeploy {node} installs it "
                "again, crowbar noderoles retry tries what failed once more."
            )
    change.apply(Bind(node=node, role=INSTALL_ROLE))
    for name, value in values.items():
        change.apply(SetAttribute(node=node, attribute=f"provisioner-{name}", value=value, role=INSTALL_ROLE))
    change.apply(Bind(node=node, role=INSTALL_ROLE, commit=True))
    if cluster().node_roles(role=INSTALLED, node=node):
        change.apply(Bind(node=node, role=INSTALLED, commit=True))
    change.audit("machine.install", f"node {node}", **values)
