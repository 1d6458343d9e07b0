"""Installing a node is one wish: the role that does it brings along the milestone of an installed node, and takes that
away again as long as nothing was installed.
"""

from __future__ import annotations

from crowbar_core import Bind, Change, NodeRoleView, Unbind, cluster, hookimpl
from crowbar_provisioner.machines import INSTALL_ROLE
from crowbar_provisioner.ordering import Order

INSTALLED, JOINED = "crowbar-installed-node", "crowbar-joined-node"
INSTALL = Order(
    role=INSTALL_ROLE,
    attributes="provisioner-",
    action="machine.install",
    again="crowbar nodes redeploy {node} installs it again, crowbar noderoles retry tries what failed once more.",
    along=(INSTALLED,),
)


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
