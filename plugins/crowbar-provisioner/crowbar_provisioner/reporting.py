"""What a machine reported becomes its node's discovery and host keys, and the numbers by which the machine is known."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy import insert, select

from crowbar_core import Change, ChangeNode, Refused
from crowbar_core.tables import nodes
from crowbar_provisioner import rescues
from crowbar_provisioner.claims import Claim
from crowbar_provisioner.inventory import Registration
from crowbar_provisioner.machines import Machine, change_machine, happened, hold_macs
from crowbar_provisioner.tables import machines


def report(change: Change, machine: Machine, said: Registration, *, source: str) -> None:
    """Raises ``Refused`` for another's host keys, ``BadInput`` for what a node may not report."""
    claim = said.inventory.claim()
    check_keys(change, said, machine.node_id)
    # One that leaves its rescue has the host keys of its disk already.
    keys = None if rescues.is_leaving(change.session, machine.node_id) else said.host_keys
    change.apply(ChangeNode(node=machine.node, discovery=said.inventory.discovery(), host_keys=keys))
    values: dict[str, Any] = {"firmware": said.inventory.firmware, "source": source, "last_seen": change.now}
    values["bmc_address"] = _bmc_of(said)
    # A new board has another UUID; a number that is another machine's stays that one's.
    for name in ("uuid", "serial"):
        value = getattr(claim, name)
        if value and value != getattr(machine, name) and not is_held(change, name, value, machine.id):
            values[name] = value
    change_machine(change, machine.id, claim_id=None, **values)
    keep_cards(change, machine.id, claim)
    happened(change, machine.id, "registered", f"from {source}")


def take(change: Change, machine: Machine, kept: Mapping[str, Any], *, source: str) -> None:
    """What an unexpected boot reported is the machine's, now that somebody says so."""
    report(change, machine, Registration.model_validate(dict(kept)), source=source)


def keep_new(
    change: Change, node_id: int, said: Registration, *, source: str, state: str, decided_by: str = "",
    joined: bool = False,
) -> int:  # fmt: skip
    """A machine that was not known: its id."""
    claim = said.inventory.claim()
    values = {
        "node_id": node_id, "uuid": claim.uuid, "serial": claim.serial, "state": state, "decided_by": decided_by,
        "firmware": said.inventory.firmware, "source": source, "problem": "", "first_seen": change.now,
        "last_seen": change.now, "bmc_address": _bmc_of(said), "bmc_given": False, "joined": joined, "released": False,
    }  # fmt: skip
    key: int = change.session.scalar(insert(machines).values(**values).returning(machines.c.id))
    keep_cards(change, key, claim)
    return key


def _bmc_of(said: Registration) -> str:
    return said.inventory.bmc.address if said.inventory.bmc is not None else ""


def keep_cards(change: Change, key: int, claim: Claim) -> None:
    others = hold_macs(change, key, claim.macs)
    problem = f"Another machine has {', '.join(others)}, too: it stays that one's." if others else ""
    change_machine(change, key, problem=problem)


def is_held(change: Change, name: str, value: str, key: int) -> bool:
    asked = select(machines.c.id).where(machines.c[name] == value, machines.c.id != key)
    return change.session.execute(asked).first() is not None


def check_keys(change: Change, said: Registration, node_id: int | None) -> None:
    """Two nodes with one host key could stand for each other."""
    asked = select(nodes.c.id, nodes.c.host_keys)
    for one in change.session.execute(asked).all():
        if one.id != node_id and set(one.host_keys or ()) & set(said.host_keys):
            raise Refused("One of these host keys is another node's. Each machine needs keys of its own.")
