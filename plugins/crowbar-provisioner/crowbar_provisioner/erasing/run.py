"""The role provisioner-erase: a run in steps. Each call looks at the world: the node runs the discovery image, or is
restarted into it; there its disks are erased, and the run ends as their reports say.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from crowbar_core import (
    CrowbarError,
    Done,
    NodeRoleView,
    NodeView,
    Outcome,
    PermanentError,
    SetBootEnv,
    Task,
    cluster,
)
from crowbar_provisioner import accepting, disks
from crowbar_provisioner.choosing import DISCOVERY
from crowbar_provisioner.consoles import keeping
from crowbar_provisioner.erasing import choosing, erasures
from crowbar_provisioner.erasing.erasures import ERASED, FAILED, OPEN, Erasure
from crowbar_provisioner.machines import Machine, get, happened, of_node
from crowbar_provisioner.settings import Settings
from crowbar_provisioner.under_way import SERVE_SECONDS, is_in_image, pending, restart

PREPARING, SERVING, BOOTING, ERASING = "preparing", "serving", "booting", "erasing"
_LEAST, _SPEED = 3600.0, 20 << 20
"""A disk is given an hour, and the time in which it writes or reads so many bytes a second twice."""


def run(task: Task) -> Outcome:
    step = task.step.get("name") if isinstance(task.step, Mapping) else None
    with cluster().read() as session:
        machine, rows = of_node(session, task.node.name), erasures.of_run(session, task.run_id)
    if machine is None:
        raise PermanentError(f"{task.node.name} was never discovered: it is not known which disks it has.")
    if not rows:
        rows = _begin(task, machine)
    elif all(one.state not in OPEN for one in rows):
        return _end(task, machine, rows)
    if task.overdue:
        raise PermanentError(keeping.with_ending(_overdue(str(step), rows), machine.node_id, rows[0].begun_at))
    node = cluster().node(task.node.name)
    if is_in_image(node, machine):
        return pending(task, ERASING, _seconds(rows), f"that {_counted(rows)}")
    if step == ERASING:  # it has restarted in the middle, and begins once more when it is back
        return pending(task, ERASING, None, f"that {_counted(rows)}: it does not answer")
    if step == BOOTING:
        return pending(task, BOOTING, None, "that it boots the discovery image")
    return _restart(task, node, machine)


def _begin(task: Task, machine: Machine) -> list[Erasure]:
    said: Mapping[str, Any] = task.data.get("provisioner", {})
    try:
        found = chosen(task.node, said)
    except CrowbarError as problem:
        raise PermanentError(problem.detail) from None
    task.begin()
    with cluster().change() as change:
        erasures.begin(
            change, run_id=task.run_id, node_id=machine.node_id, node=machine.node, disks=found,
            method=str(said.get("erase-method") or "best"), sample=int(said.get("erase-sample") or 0),
        )  # fmt: skip
        for one in found:
            happened(change, machine.id, "erase: begins", disks.described(one))
        rows = erasures.of_run(change.session, task.run_id)
    for one in found:
        task.log(f"{disks.described(one)} is erased")
    return rows


def _restart(task: Task, node: NodeView, machine: Machine) -> Outcome:
    with cluster().change() as change:
        change.apply(SetBootEnv(node=machine.node, bootenv=DISCOVERY))
    if cluster().node(node.name).served_bootenv != DISCOVERY:
        return pending(task, SERVING, SERVE_SECONDS, f"that {DISCOVERY} is served")
    with cluster().change() as change:
        accepting.expect(change, get(change.session, machine.id), why="by the erasing of its disks", ordered=True)
    task.log("it does not run the discovery image, and is restarted into it")
    restart(task, BOOTING)
    minutes = cluster().settings(Settings).boot_minutes
    return pending(task, BOOTING, minutes * 60, "that it boots the discovery image")


def _end(task: Task, machine: Machine, rows: Sequence[Erasure]) -> Outcome:
    for one in rows:
        task.log(f"{one.disk}: {one.state}, by {one.method or 'nothing'}{f': {one.detail}' if one.detail else ''}")
    if bad := [one for one in rows if one.state == FAILED]:
        why = "; ".join(f"{one.disk} is not erased: {one.detail}" for one in bad)
        raise PermanentError(keeping.with_ending(why, machine.node_id, rows[0].begun_at))
    return Done(wall={"provisioner": {"erased": [one.serial or one.disk for one in rows if one.state == ERASED]}})


def _overdue(step: str, rows: Sequence[Erasure]) -> str:
    if step == SERVING:
        return f"In the step {step}: the discovery image was not served."
    if step == BOOTING:
        return f"In the step {step}: it did not boot the discovery image."
    return f"In the step {step}: {_counted(rows)} in time."


def _counted(rows: Sequence[Erasure]) -> str:
    at = ", ".join(f"{one.disk} ({one.percent} %)" for one in rows if one.state in OPEN)
    return f"{at} {'is' if sum(one.state in OPEN for one in rows) == 1 else 'are'} erased"


def _seconds(rows: Sequence[Erasure]) -> float:
    return _LEAST + 2 * max(one.size for one in rows) / _SPEED


def chosen(node: NodeView, said: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Raises ``Refused``."""
    there: Any = node.discovery.get("inventory") or {}
    wanted, kept = (tuple(map(str, said.get(name) or ())) for name in ("erase-disks", "erase-keep"))
    return choosing.chosen(there.get("disks") or (), wanted=wanted, kept=kept)


def plan_lines(node_roles: Iterable[NodeRoleView]) -> Iterable[str]:
    """What will be erased, a line for each disk."""
    for one in node_roles:
        said: Any = one.data.get("provisioner", {})
        try:
            found = chosen(one.node, said)
        except CrowbarError as problem:
            yield f"{one.node.name}: {problem.detail}"
            continue
        sample = int(said.get("erase-sample") or 0)
        read = f"{sample} MiB of it are read back" if sample else "all of it is read back"
        for disk in found:
            yield f"{one.node.name}: {disks.described(disk)} is ERASED, and {read}."
