"""An operator has the disks of a machine erased: the role is bound with what is said, and committed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crowbar_core import Bind, Change, Refused, SetAttribute, cluster
from crowbar_provisioner.choosing import ACCEPTED
from crowbar_provisioner.machines import ERASE_ROLE, Machine


def erase(change: Change, machine: Machine, values: Mapping[str, Any]) -> None:
    """Raises ``Refused``."""
    node = machine.node
    if machine.state != ACCEPTED:
        raise Refused(f"{node} is {machine.state}: crowbar machines accept {node} first.")
    for one in cluster().node_roles(role=ERASE_ROLE, node=node):
        if one.state != "PROPOSED":
            raise Refused(
                f"{node} has {ERASE_ROLE} already, which is {one.state}: crowbar noderoles unbind {node}/{ERASE_ROLE} "
                "before it is erased again; its reports stay."
            )
    change.apply(Bind(node=node, role=ERASE_ROLE))
    for name, value in values.items():
        change.apply(SetAttribute(node=node, attribute=f"provisioner-erase-{name}", value=value, role=ERASE_ROLE))
    change.apply(Bind(node=node, role=ERASE_ROLE, commit=True))
    change.audit("machine.erase", f"node {node}", **values)
