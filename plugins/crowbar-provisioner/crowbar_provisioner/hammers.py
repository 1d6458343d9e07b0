"""The hammers that an accepted machine is given by itself: ``ssh``, by the keys of its discovery, and its BMC's, where
it has told of one and somebody has said who logs in there. Each is given once: what an operator takes away stays away.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import select

from crowbar_core import Bind, Change, SetHammer, cluster
from crowbar_core.tables import deployment_roles, deployments, hammers, nodes, roles
from crowbar_provisioner.bmc import BMC_ROLE
from crowbar_provisioner.choosing import ACCEPTED
from crowbar_provisioner.machines import change_machine, happened
from crowbar_provisioner.tables import machines

SSH, PRIORITY = "ssh", -100
"""Below what an operator gives without a priority: it restarts a node only as long as its system answers."""
MOST = 100
"""Machines that are given their BMC in one minute."""


def give(change: Change, node: str) -> None:
    """Of ``ssh`` nothing changes on a node that has it."""
    named = select(nodes.c.id).where(nodes.c.name == node).scalar_subquery()
    there = select(hammers.c.id).where(hammers.c.node_id == named, hammers.c.name == SSH)
    if change.session.execute(there).first() is None:
        change.apply(SetHammer(node=node, name=SSH, priority=PRIORITY))


def give_due() -> None:
    """Machines that told of a BMC, and whose deployment says who logs in, get ``provisioner-bmc``. Called once a
    minute.
    """
    with cluster().read() as session:
        homes = _with_login(session)
        due = _due(session, homes) if homes else []
    if not due:
        return
    with cluster().change() as change:
        for key, node in due:
            change_machine(change, key, bmc_given=True)
            change.apply(Bind(node=node, role=BMC_ROLE, commit=True))
            happened(change, key, "given its BMC")


def _due(session: Any, homes: set[int]) -> list[tuple[int, str]]:
    asked = (
        select(machines.c.id, nodes.c.name)
        .join(nodes, nodes.c.id == machines.c.node_id)
        .where(
            machines.c.state == ACCEPTED, machines.c.bmc_address != "", machines.c.bmc_given.is_(False),
            nodes.c.deployment_id.in_(homes),
        )
        .order_by(machines.c.id)
        .limit(MOST)
    )  # fmt: skip
    return [(one.id, one.name) for one in session.execute(asked).all()]


def _with_login(session: Any) -> set[int]:
    """The deployments in which, or above which, it is said who logs in at BMCs."""
    asked = (
        select(deployment_roles.c.deployment_id, deployment_roles.c.committed_data)
        .join(roles, roles.c.id == deployment_roles.c.role_id)
        .where(roles.c.name == BMC_ROLE)
    )
    said = {one.deployment_id for one in session.execute(asked).all() if _says_who(one.committed_data)}
    if not said:
        return said
    above = {one.id: one.parent_id for one in session.execute(select(deployments.c.id, deployments.c.parent_id)).all()}
    return {home for home in above if said & _chain(home, above)}


def _chain(home: int | None, above: Mapping[int, int | None]) -> set[int]:
    found: set[int] = set()
    while home is not None and home not in found:
        found.add(home)
        home = above.get(home)
    return found


def _says_who(data: Mapping[str, Any]) -> bool:
    return bool((data.get("provisioner") or {}).get("bmc-user"))
