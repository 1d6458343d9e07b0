"""The core's own barclamp: the milestones that every cluster has, and the powering off of nodes whose work is done."""

from __future__ import annotations

from crowbar_core.barclamp import Barclamp, Role, hookimpl

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
