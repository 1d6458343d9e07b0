"""Rescue: a node boots the discovery image, where a person looks into it, and goes back to its disk.

Meanwhile nothing is run on it: roles would be carried out in an image that is gone with the next boot. The image has
host keys of its own, which its token vouches for; those of the system on the disk come back with it.
"""

from __future__ import annotations

from crowbar_core import Change, ChangeNode, MarkAlive, Refused, SetBootEnv
from crowbar_provisioner import accepting, boots, installs, rescues
from crowbar_provisioner.choosing import ACCEPTED, DISCOVERY
from crowbar_provisioner.machines import Machine, change_machine, happened
from crowbar_provisioner.rescues import IN, LEAVING, WANTED


def begin(change: Change, machine: Machine) -> None:
    """From its next boot on, which is expected for a while. Raises ``Refused``."""
    node = machine.node
    if machine.state != ACCEPTED:
        raise Refused(f"{node} is {machine.state}: only a machine that was accepted is rescued.")
    if (found := rescues.of_node(change.session, machine.node_id)) is not None:
        if found.state != LEAVING:
            raise Refused(f"{node} is in rescue, or on its way: crowbar machines undebug {node} ends that.")
        rescues.keep(change, machine.node_id, WANTED)
    elif installs.open_of(change.session, machine.node_id) is not None:
        raise Refused(f"{node} is being installed. Cancel that run first, or wait until it has ended.")
    elif machine.bootenv == DISCOVERY:
        raise Refused(f"{node} boots the discovery image anyway: it has no system of its own yet.")
    else:
        kept = {"bootenv": machine.bootenv, "host_keys": list(machine.host_keys), "available": machine.available}
        rescues.begin(change, machine.node_id, **kept)
    change.apply(SetBootEnv(node=node, bootenv=DISCOVERY), ChangeNode(node=node, available=False))
    accepting.expect(change, machine, why="by its rescue")
    happened(change, machine.id, "rescue: from its next boot on")
    change.audit("machine.debug", f"node {node}")


def registered(change: Change, machine: Machine, env: str) -> None:
    """It has booted: is it in the image that it was to be rescued by?"""
    found = rescues.of_node(change.session, machine.node_id)
    if found is not None and (found.state, env) == (WANTED, DISCOVERY):
        rescues.keep(change, machine.node_id, IN)
        happened(change, machine.id, "rescue: it is in the discovery image")


def end(change: Change, machine: Machine) -> None:
    """Back to what it booted before; one that is in the image restarts by itself. Raises ``Refused``."""
    found = rescues.of_node(change.session, machine.node_id)
    if found is None or found.state == LEAVING:
        raise Refused(f"{machine.node} is not in rescue: crowbar machines debug {machine.node} begins it.")
    change.apply(
        SetBootEnv(node=machine.node, bootenv=found.bootenv),
        ChangeNode(node=machine.node, available=found.available, host_keys=list(found.host_keys)),
    )
    change_machine(change, machine.id, expected_until=None, late_until=None)
    if found.state == WANTED:
        rescues.forget(change, machine.node_id)
        happened(change, machine.id, "rescue: called off")
    else:
        rescues.keep(change, machine.node_id, LEAVING)
        change.apply(MarkAlive(node=machine.node, alive=False))
        happened(change, machine.id, "rescue: ends", f"it goes back to {found.bootenv}")
    change.audit("machine.undebug", f"node {machine.node}")


def is_back(change: Change, machine: Machine) -> None:
    """It is alive under the host keys from before: the image is left, and its token no longer valid."""
    if rescues.is_leaving(change.session, machine.node_id):
        rescues.forget(change, machine.node_id)
        boots.revoke(change, machine.id)
        happened(change, machine.id, "rescue: over")
