"""What plans say of the roles that erase: of each, which disks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from crowbar_core import NodeRoleView, hookimpl
from crowbar_provisioner import installing
from crowbar_provisioner.erasing import run as erasing
from crowbar_provisioner.machines import ERASE_ROLE, INSTALL_ROLE


@hookimpl(roles=(INSTALL_ROLE, ERASE_ROLE))
def plan_lines(node_roles: Sequence[NodeRoleView]) -> Iterable[str]:
    yield from installing.plan_lines([one for one in node_roles if one.role == INSTALL_ROLE])
    yield from erasing.plan_lines([one for one in node_roles if one.role == ERASE_ROLE])
