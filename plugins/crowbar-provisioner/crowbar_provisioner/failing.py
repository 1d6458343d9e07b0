"""What is left of an installation, or of an erasing, whose run did not succeed: failed, cancelled, or lost.

Nothing is installed any more, whatever boots then. A machine whose disk was begun to be written has nothing to boot
from: it boots the discovery image, from where a retry installs it; another one boots what it booted before.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from sqlalchemy import select

from crowbar_core import Change, Intent, NodeRoleView, SetBootEnv, cluster, hookimpl
from crowbar_core.tables import node_roles
from crowbar_provisioner import accepting, installs
from crowbar_provisioner.burning import burn_ins
from crowbar_provisioner.choosing import ACCEPTED, DISCOVERY, LOCAL, install_of
from crowbar_provisioner.erasing import erasures
from crowbar_provisioner.machines import BURN_ROLE, ERASE_ROLE, INSTALL_ROLE, happened, of_node
from crowbar_provisioner.under_way import ACTIVE, TRANSITION

_GIVEN_UP: Mapping[str, Callable[[Change, int, str], None]] = {
    ERASE_ROLE: erasures.give_up, BURN_ROLE: burn_ins.give_up,
}  # fmt: skip


def _over(node_role: NodeRoleView) -> Iterable[Intent]:
    """Its next boot is expected, for a short while: a person who restarts it need not announce that."""
    with cluster().change() as change:
        machine = of_node(change.session, node_role.node.name)
        if (given_up := _GIVEN_UP.get(node_role.role)) is not None:
            if machine is not None and _is_over(change.session, node_role.id):
                given_up(change, machine.node_id, node_role.status or "its run was cancelled")
            return []
        install = installs.last_of(change.session, machine.node_id) if machine is not None else None
        # It may have been told to try again meanwhile.
        if machine is None or install is None or not _is_over(change.session, node_role.id):
            return []
        why = node_role.status[:500] or "its run was cancelled"
        if install.state in installs.OPEN:
            installs.keep(change, install, state=installs.FAILED, detail=why, ended_at=change.now)
        leaves = machine.bootenv == LOCAL and install.state in (installs.WRITTEN, installs.RESTARTING)
        if leaves or machine.bootenv == install_of(install.os):
            happened(change, machine.id, "install: failed", why)
            before = DISCOVERY if install.step else str(install.image.get("bootenv") or DISCOVERY)
            change.apply(SetBootEnv(node=machine.node, bootenv=before))
            if machine.state == ACCEPTED:
                accepting.expect(change, machine, why="after its installation failed")
    return []


def _is_over(session: Any, node_role_id: int) -> bool:
    state = session.scalar(select(node_roles.c.state).where(node_roles.c.id == node_role_id))
    return state is not None and state not in (ACTIVE, TRANSITION)


@hookimpl(roles=(INSTALL_ROLE, ERASE_ROLE, BURN_ROLE))
def on_error(node_role: NodeRoleView) -> Iterable[Intent]:
    return _over(node_role)


@hookimpl(roles=(INSTALL_ROLE, ERASE_ROLE, BURN_ROLE))
def on_todo(node_role: NodeRoleView) -> Iterable[Intent]:
    return _over(node_role)


@hookimpl(roles=(INSTALL_ROLE, ERASE_ROLE, BURN_ROLE))
def on_blocked(node_role: NodeRoleView) -> Iterable[Intent]:
    return _over(node_role)
