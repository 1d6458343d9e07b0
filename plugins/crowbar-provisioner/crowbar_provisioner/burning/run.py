"""The role provisioner-burn-in: a run in steps, on a machine that runs the discovery image. Disks are only read."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from crowbar_core import Done, Outcome, PermanentError, Task, cluster
from crowbar_provisioner import boots, disks
from crowbar_provisioner.burning import burn_ins
from crowbar_provisioner.burning.burn_ins import FAILED, OPEN, BurnIn
from crowbar_provisioner.consoles import keeping
from crowbar_provisioner.machines import Machine, happened, of_node
from crowbar_provisioner.under_way import is_in_image, pending

PREPARING, BURNING = "preparing", "burning"
PARTS = ("cpu", "memory", "disk")
_MORE = 900.0
"""Seconds that it may take longer than it was told."""


def run(task: Task) -> Outcome:
    with cluster().read() as session:
        machine, one = of_node(session, task.node.name), burn_ins.of_run(session, task.run_id)
        last = boots.last_of(session, machine.id) if machine is not None else None
    if machine is None:
        raise PermanentError(f"{task.node.name} was never discovered: the discovery image is what burns machines in.")
    if one is not None and one.state not in OPEN:
        return _end(task, machine, one)
    in_image = is_in_image(cluster().node(task.node.name), machine)
    if one is None:
        if not in_image:
            raise PermanentError(
                f"{task.node.name} does not run the discovery image: let it boot sledgehammer (crowbar nodes update "
                f"{task.node.name} --bootenv sledgehammer, then restart it), and try again."
            )
        one = _begin(task, machine)
    if one.boot_id is not None and last is not None and last.id != one.boot_id:
        return _failed(task, machine, one, "it restarted in the middle: its console may say why")
    if task.overdue:
        return _failed(task, machine, one, f"it did not end in time: it was at {one.percent} %")
    return pending(task, BURNING, one.seconds + _MORE, f"that it is burned in ({one.percent} %)")


def _begin(task: Task, machine: Machine) -> BurnIn:
    said: Mapping[str, Any] = task.data.get("provisioner", {})
    there: Any = task.node.discovery.get("inventory") or {}
    parts = list(said.get("burn-in-parts") or PARTS)
    names = [str(one["name"]) for one in there.get("disks") or () if not one.get("removable")]
    seconds = int(said.get("burn-in-seconds") or 0)
    task.begin()
    with cluster().change() as change:
        happened(change, machine.id, "burn-in: begins", f"{seconds} s: {', '.join(parts)}")
        one = burn_ins.begin(
            change, run_id=task.run_id, node_id=machine.node_id, node=machine.node, seconds=seconds, parts=parts,
            disks=names if "disk" in parts else (),
        )  # fmt: skip
    sized = ", ".join(f"{each['name']} ({disks.sized(int(each['size']))})" for each in there.get("disks") or ())
    task.log(f"it is busy for {seconds} s with {', '.join(parts)}; its disks, {sized or 'none'}, are only read")
    return one


def _failed(task: Task, machine: Machine, one: BurnIn, why: str) -> Outcome:
    with cluster().change() as change:
        burn_ins.keep(change, one, state=FAILED, detail=why, ended_at=change.now)
        happened(change, machine.id, "burn-in: failed", why)
    raise PermanentError(_ended(task, machine, one, f"{why}."))


def _ended(task: Task, machine: Machine, one: BurnIn, why: str) -> str:
    return keeping.with_ending(f"{task.node.name} is not burned in: {why}", machine.node_id, one.begun_at)


def _end(task: Task, machine: Machine, one: BurnIn) -> Outcome:
    if one.state == FAILED:
        raise PermanentError(_ended(task, machine, one, one.detail))
    task.log(f"it was busy for {one.seconds} s, and nothing complained")
    return Done()
