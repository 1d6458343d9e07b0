"""Machines leave the quarantine: accepted, by an operator or by a rule, or refused."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from datetime import timedelta

from sqlalchemy import select, update

from crowbar_core import Bind, Change, ChangeNode, CommitNode, Refused, cluster
from crowbar_provisioner import boots, hammers, reporting
from crowbar_provisioner.choosing import ACCEPTED, REFUSED
from crowbar_provisioner.machines import Machine, change_machine, happened
from crowbar_provisioner.settings import Settings
from crowbar_provisioner.tables import boots as boot_rows
from crowbar_provisioner.tables import rules


def accept(change: Change, machine: Machine, *, by: str) -> None:
    """It is a node from now on, with the roles of a discovered one, all committed; what an unexpected boot of it
    reported is taken for its own.
    """
    if machine.state == REFUSED:
        raise Refused(f"{machine.node} was refused. Delete the node, and let the machine boot again.")
    if machine.claim_id is not None:
        boot = change.session.execute(select(boot_rows).where(boot_rows.c.id == machine.claim_id)).first()
        if boot is None or boot.revoked:
            raise Refused(f"{machine.node} has begun another boot since. Look at it, and accept that one.")
        reporting.take(change, machine, boot.report, source=boot.source)
        change.session.execute(update(boot_rows).where(boot_rows.c.id == boot.id).values(trusted=True, report={}))
        boots.revoke(change, machine.id, but=boot.id)
    elif machine.state == ACCEPTED:
        return
    change_machine(change, machine.id, state=ACCEPTED, decided_by=by, claim_id=None)
    happened(change, machine.id, "accepted", f"by {by}")
    change.audit("machine.accept", f"node {machine.node}", by=by)
    if machine.state == ACCEPTED:
        return
    hammers.give(change, machine.node)
    for role in cluster().settings(Settings).discovered_roles:
        change.apply(Bind(node=machine.node, role=role))
    change.apply(CommitNode(node=machine.node))


def refuse(change: Change, machine: Machine, *, by: str) -> None:
    """It is not heard any more, and boots from its own disk, as long as its node is there."""
    boots.revoke(change, machine.id)
    over = {"claim_id": None, "expected_until": None, "late_until": None}
    change_machine(change, machine.id, state=REFUSED, decided_by=by, **over)
    change.apply(ChangeNode(node=machine.node, available=False))
    happened(change, machine.id, "refused", f"by {by}")
    change.audit("machine.refuse", f"node {machine.node}", by=by)


def expect(change: Change, machine: Machine, *, why: str, ordered: bool = False) -> None:
    """The next boots of it are its own, for a while; one that was ``ordered`` is waited for much longer, until it has
    come: a self-test may take long, and the power may fail.
    """
    settings = cluster().settings(Settings)
    values = {"expected_until": change.now + timedelta(minutes=settings.expected_minutes)}
    if ordered:
        values["late_until"] = change.now + timedelta(hours=settings.late_hours)
    change_machine(change, machine.id, **values)
    happened(change, machine.id, "expected", why)


# ---------------------------------------------------------------- rules


def rule_for(change: Change, machine: Machine, source: str) -> str:
    """The name of the first rule by which the machine is accepted; '' without."""
    for one in change.session.execute(select(rules).order_by(rules.c.id)).all():
        if fits(one.subnet, one.mac_prefix, one.serials, source=source, macs=machine.macs, serial=machine.serial):
            return str(one.name)
    return ""


def fits(
    subnet: str, mac_prefix: str, serials: Sequence[str], *, source: str, macs: Sequence[str], serial: str
) -> bool:  # fmt: skip
    """Whether all that the rule says is so; one that says nothing fits nothing."""
    asked = []
    if subnet:
        asked.append(ipaddress.ip_address(source) in ipaddress.ip_network(subnet))
    if mac_prefix:
        asked.append(any(one.startswith(mac_prefix) for one in macs))
    if serials:
        asked.append(bool(serial) and serial in serials)
    return bool(asked) and all(asked)
