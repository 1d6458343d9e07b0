"""A machine registers itself: it becomes a node, or is found to be one; what it reports is that node's discovery.

All of it is one change, under the lock of all changes: however many register at once, each is one node.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import func, select

from crowbar_core import Change, CrowbarError, NodeView, Refused, cluster
from crowbar_core.tables import nodes
from crowbar_provisioner import accepting, rescue
from crowbar_provisioner.boots import Boot, note, revoke
from crowbar_provisioner.choosing import ACCEPTED, DISCOVERY, QUARANTINED, REFUSED
from crowbar_provisioner.claims import Claim, name_of
from crowbar_provisioner.inventory import Registration
from crowbar_provisioner.machines import (
    Machine,
    change_machine,
    find,
    get,
    happened,
    living,
    refuse_others,
    waking_all,
)
from crowbar_provisioner.reporting import check_keys, keep_new, report
from crowbar_provisioner.settings import Settings
from crowbar_provisioner.tables import machines

QUARANTINE_MOST = 2000
_SAME_NAMES = 20


@dataclass(frozen=True, kw_only=True)
class Registered:
    """``accepted``: whether it is, and by this boot."""

    node: str
    accepted: bool


def register(change: Change, boot: Boot, said: Registration, *, source: str) -> Registered:
    """Raises ``Refused`` for a machine that was refused, for another's address or host keys, and when the quarantine is
    full.
    """
    claim = said.inventory.claim()
    machine = get(change.session, boot.machine_id) if boot.machine_id is not None else find(change.session, claim)
    trusted = boot.trusted
    if machine is None:
        machine = _new(change, said, claim, source=source)
    else:
        if machine.state == REFUSED:
            raise Refused("This machine was refused.")
        if boot.machine_id is None:
            # Its card was unknown when it began to boot: what it is was found out only now.
            refuse_others(machine, source, living(change.session))
            trusted = machine.state != ACCEPTED or machine.is_expected(change.now)
            note(change, boot, machine_id=machine.id, trusted=trusted)
        if not trusted:
            return _claimed(change, machine, boot, said, source=source)
        report(change, machine, said, source=source)
        change_machine(change, machine.id, late_until=None)
        rescue.registered(change, machine, boot.env)
    note(change, boot, machine_id=machine.id, registered_at=change.now)
    revoke(change, machine.id, but=boot.id)
    if machine.state == QUARANTINED and (rule := accepting.rule_for(change, machine, source)):
        accepting.accept(change, get(change.session, machine.id), by=f"rule {rule}")
    change.apply(*waking_all(machine.node))
    now = get(change.session, machine.id)
    return Registered(node=now.node, accepted=now.state == ACCEPTED)


def _new(change: Change, said: Registration, claim: Claim, *, source: str) -> Machine:
    waiting = select(func.count()).select_from(machines).where(machines.c.state == QUARANTINED)
    if (change.session.scalar(waiting) or 0) >= QUARANTINE_MOST:
        raise Refused(f"{QUARANTINE_MOST} machines are in quarantine already. Accept or delete some first.")
    check_keys(change, said, None)
    name = free_name(change, claim.macs[0])
    node = change.create_node(
        name,
        description="Discovered",
        discovery=said.inventory.discovery(),
        host_keys=said.host_keys,
        bootenv=DISCOVERY,
    )
    key = keep_new(change, node.id, said, source=source, state=QUARANTINED)
    happened(change, key, "discovered", f"by {claim.macs[0]}, from {source}")
    change.audit("machine.discovered", f"node {name}", source=source, macs=list(claim.macs))
    return get(change.session, key)


def _claimed(change: Change, machine: Machine, boot: Boot, said: Registration, *, source: str) -> Registered:
    """Nothing of the node changes: what was reported waits beside it, until a person says that this is it."""
    check_keys(change, said, machine.node_id)
    note(change, boot, registered_at=change.now, report=said.model_dump(mode="json"))
    change_machine(change, machine.id, claim_id=boot.id, last_seen=change.now)
    happened(change, machine.id, "claimed", f"from {source}: it booted unexpectedly, and waits to be accepted again")
    change.audit("machine.claimed", f"node {machine.node}", source=source)
    return Registered(node=machine.node, accepted=False)


def free_name(change: Change, mac: str) -> str:
    domain = cluster().settings(Settings).domain or _domain(cluster().nodes())
    for number in range(_SAME_NAMES):
        name = name_of(mac, domain, number)
        if change.session.execute(select(nodes.c.id).where(nodes.c.name == name)).first() is None:
            return name
    raise CrowbarError(f"{_SAME_NAMES} nodes are called after {mac} already.")


def _domain(known: tuple[NodeView, ...]) -> str:
    """That of the first admin node, else of any."""
    named = sorted((not one.admin, one.id, one.name) for one in known if not one.system)
    return named[0][2].partition(".")[2] if named else "internal.local"
