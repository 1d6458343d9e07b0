"""The role provisioner-os-install: a run in steps. Each call looks at the world, and says what it waits for.

preparing -> serving -> booting -> installing -> leaving -> restarting: nothing acts on what a node is to boot before
that is served; a reset is ordered once for each installation; and the new system is known by the host keys that the
installer reported with the token of its boot. By choice it goes on by kexec (leaving -> jumping), and restarts where
that does not lead there.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cache, partial
from typing import Any

from crowbar_core import (
    ChangeNode,
    CrowbarError,
    Done,
    MarkAlive,
    NodeRoleView,
    NodeView,
    Outcome,
    Pending,
    PermanentError,
    Refused,
    SetBootEnv,
    Task,
    cluster,
    hookimpl,
)
from crowbar_provisioner import (
    accepting,
    boots,
    catalogue,
    defaults,
    disks,
    installs,
    powering,
    sharing,
    standing,
    under_way,
)
from crowbar_provisioner.answers.facts import check_key
from crowbar_provisioner.choosing import DISCOVERY, LOCAL, install_of
from crowbar_provisioner.consoles import keeping
from crowbar_provisioner.installs import FAILED, RESTARTING, WRITTEN, Install
from crowbar_provisioner.machines import INSTALL_ROLE, Machine, change_machine, get, happened, of_node, waking
from crowbar_provisioner.scripts import INITRD, TOOLS
from crowbar_provisioner.settings import Settings
from crowbar_provisioner.under_way import SERVE_SECONDS

PREPARING, SERVING, BOOTING, INSTALLING, LEAVING, JUMPING, RESTART = (
    "preparing", "serving", "booting", "installing", "leaving", "jumping", "restarting",
)  # fmt: skip


def run(task: Task) -> Outcome:
    step = task.step.get("name") if isinstance(task.step, Mapping) else None
    machine, install = _known(task)
    if install is not None and install.state == FAILED:
        why = install.detail or "it did not say why"
        raise PermanentError(f"The installer failed in {install.step or step}: {_with_ending(why, machine, install)}")
    if task.overdue and step != JUMPING:
        raise PermanentError(_overdue(str(step), machine, install))
    if step in (None, PREPARING) or install is None:
        return _begin(task, machine, install)
    node = cluster().node(task.node.name)
    if step == SERVING:
        return _reset(task, node, machine, install)
    if step == BOOTING:
        return _booting(task, machine, install)
    if step == INSTALLING:
        return _installing(task, machine, install)
    if step == LEAVING:
        return _restart(task, node, machine, install)
    if step == JUMPING and not node.alive:
        return _jumping(task, node, machine, install)
    return _settle(task, node, machine, install)


# ---------------------------------------------------------------- one function for each step


def _begin(task: Task, machine: Machine, begun: Install | None) -> Outcome:
    """What is written where is settled now, unless an earlier call has done so already."""
    if begun is None:
        begun = _settled(task, machine)
    node = cluster().node(task.node.name)
    if node.served_bootenv == node.bootenv:  # since an earlier run: nobody will tell of it
        return _reset(task, node, machine, begun)
    return _pending(task, SERVING, SERVE_SECONDS, f"that {install_of(begun.os)} is served")


def _settled(task: Task, machine: Machine) -> Install:
    said: Mapping[str, Any] = task.data.get("provisioner", {})
    try:
        kept, disk = chosen(task.node, said, _offered())
        catalogue.verify(cluster().settings(Settings).root, kept)
    except CrowbarError as problem:
        raise PermanentError(problem.detail) from None
    task.begin()
    with cluster().change() as change:
        last = boots.last_of(change.session, machine.id)
        made = installs.begin(
            change, node_id=machine.node_id, run_id=task.run_id, os=kept["os"], disk=disk,
            image={**kept, "bootenv": machine.bootenv},
            after_boot=last.id if last is not None else 0, kexec=bool(said.get("kexec")),
        )  # fmt: skip
        happened(change, machine.id, "install: begins", f"{kept['os']} on {disks.described(disk)}, which is erased")
        change.apply(SetBootEnv(node=task.node.name, bootenv=install_of(kept["os"])))
    task.log(f"{kept['os']} goes to {disks.described(disk)}, which is erased")
    return made


def _reset(task: Task, node: NodeView, machine: Machine, install: Install) -> Outcome:
    """Once served: the reset is ordered, unless the node has begun the boot already."""
    wanted = install_of(install.os)
    if node.served_bootenv != wanted:
        return _pending(task, SERVING, None, f"that {wanted} is served (now: {node.served_bootenv or 'unknown'})")
    with cluster().read() as session:
        seen = boots.last_of(session, machine.id)
    fits = seen is not None and _fits(task, node, install, seen)
    with cluster().change() as change:
        accepting.expect(change, get(change.session, machine.id), why="by its installation", ordered=True)
        last = boots.last_of(change.session, machine.id)
        if stays := fits and last.id == seen.id and not installs.began_in(change.session, install, last.id):
            installs.keep(change, install, image={**install.image, "in_boot": last.id})
    if stays:
        task.log("it runs the discovery image, and is installed from there, without a reset")
        return _at_work(task)
    if last is None or last.id <= install.after_boot:
        task.log(f"{wanted} is served; the node is reset")
        under_way.restart(task, BOOTING)
    return _pending(task, BOOTING, _minutes().boot_minutes * 60, f"that it boots {wanted}")


def _booting(task: Task, machine: Machine, install: Install) -> Outcome:
    with cluster().read() as session:
        last = boots.last_of(session, machine.id)
    wanted = install_of(install.os)
    if last is None or last.id <= install.after_boot or last.registered_at is None:
        return _pending(task, BOOTING, None, f"that it boots {wanted}")
    if last.env != wanted or not last.trusted:
        return _pending(task, BOOTING, None, f"that it boots {wanted} (it booted {last.env})")
    task.log("the installer is at work")
    return _at_work(task)


def _fits(task: Task, node: NodeView, install: Install, last: Any) -> bool:
    """Whether it can be installed in the boot that it is in, the row ``last``, and nobody wants a reset."""
    if task.data.get("provisioner", {}).get("reset") or install.method != "image":
        return False
    runs = last.trusted and last.registered_at is not None and last.env == DISCOVERY and node.alive
    return bool(runs) and not _is_old(last.begun_at) and powering.power_of(node.name) != "off"


def _is_old(begun_at: datetime) -> bool:
    """Whether the discovery image was made anew since then: who runs the old one may not know how to install."""
    try:
        return (cluster().settings(Settings).root / DISCOVERY / INITRD).stat().st_mtime > begun_at.timestamp()
    except FileNotFoundError:
        return False


def _at_work(task: Task) -> Outcome:
    return _pending(task, INSTALLING, _minutes().install_minutes * 60, "that the installer has written the disk")


def _installing(task: Task, machine: Machine, install: Install) -> Outcome:
    if install.state != WRITTEN:
        return _pending(
            task, INSTALLING, None, f"that the installer has written the disk ({install.step or 'not begun'})"
        )
    with cluster().change() as change:
        change.apply(SetBootEnv(node=machine.node, bootenv=LOCAL))
    with cluster().read() as session:
        came = sharing.came_of(session, install)
    task.log(f"the disk is written{came and ': the image came '}{came}")
    node = cluster().node(task.node.name)
    if node.served_bootenv == LOCAL:
        return _restart(task, node, machine, install)
    return _pending(task, LEAVING, SERVE_SECONDS, "that local is served")


def _restart(task: Task, node: NodeView, machine: Machine, install: Install) -> Outcome:
    """Once local is served: the installer is told to leave. From here on the node is who shows the new keys."""
    if node.served_bootenv != LOCAL:
        return _pending(task, LEAVING, None, f"that local is served (now: {node.served_bootenv or 'unknown'})")
    jumps = install.kexec not in (installs.NO, installs.OVER)
    with cluster().change() as change:
        installs.keep(change, install, state=RESTARTING)
        change.apply(
            ChangeNode(node=machine.node, host_keys=list(install.host_keys)), MarkAlive(node=machine.node, alive=False)
        )
        happened(change, machine.id, "install: goes on by kexec" if jumps else "install: restarts")
    if jumps:
        task.log("local is served; the installer goes on in the new system by kexec")
        return _pending(task, JUMPING, _minutes().boot_minutes * 60, "that it is alive by kexec")
    powering.disk_next(node.name, task.log)
    task.log("local is served; the installer restarts the node")
    return _restarting(task)


def _restarting(task: Task) -> Outcome:
    return _pending(task, RESTART, _minutes().boot_minutes * 60, "that it is alive from its disk")


def _jumping(task: Task, node: NodeView, machine: Machine, install: Install) -> Outcome:
    """It is not there yet. It restarts where it cannot come so, and is reset where it has not come in time."""
    if install.kexec == installs.REFUSED:
        task.log(f"{install.detail}: the installer restarts the node")
        powering.disk_next(node.name, task.log)
    elif task.overdue and install.to_jump:
        said = f"it did not come up within {_minutes().boot_minutes:g} min"
        task.log(f"No kexec: {said}; the node is reset")
        try:
            task.log(powering.into_disk(node.name, task.log))
        except CrowbarError as problem:
            why = f"In the step {JUMPING}: {said} by kexec, and could not be reset: {problem.detail}"
            raise PermanentError(_with_ending(why, machine, install)) from None
        with cluster().change() as change:
            happened(change, machine.id, "install: reset", f"{said} by kexec")
    elif install.to_jump:
        return _pending(task, JUMPING, None, "that it is alive by kexec")
    with cluster().change() as change:
        installs.keep(change, install, kexec=installs.OVER)
    return _restarting(task)


def _not_proven(
    task: Task, step: str, node: NodeView, machine: Machine, install: Install, why: str
) -> Outcome:  # fmt: skip
    if step == JUMPING and task.overdue:
        return _jumping(task, node, machine, install)
    return _pending(task, step, None, f"that it proves to be alive from its disk: {why}")


def _settle(task: Task, node: NodeView, machine: Machine, install: Install) -> Outcome:
    step = task.step["name"] if isinstance(task.step, Mapping) else RESTART
    if not node.alive:
        return _pending(task, step, None, "that it is alive from its disk")
    came = None
    if install.kexec:
        try:
            came = standing.ask(node)
        except CrowbarError as problem:
            with cluster().change() as change:  # it is looked for, and this run called once it is found
                change.apply(MarkAlive(node=node.name, alive=False))
            return _not_proven(
                task, step, node, machine, install, f"it does not say which boot this is: {problem.detail}"
            )
        if came.boot == install.left_boot:
            return _not_proven(task, step, node, machine, install, "it has the boot id of the discovery image")
    by_kexec = came is not None and came.by_kexec
    where = f"{install.os} is alive from {disks.described(install.disk)}"
    with cluster().change() as change:
        boots.revoke(change, machine.id)
        change_machine(change, machine.id, expected_until=None, late_until=None)
        installs.keep(
            change, install, state=installs.DONE, ended_at=change.now,
            **({"kexec": installs.CAME if by_kexec else installs.OVER} if came else {}),
        )  # fmt: skip
        if came is not None and by_kexec:
            standing.went_on(change, machine.id, came.boot)
            where += f" by kexec, boot {came.boot}; not yet started from there by its firmware"
        else:
            standing.proven(change, machine.id)
            where += ", started by its firmware" if came is not None else ""
        happened(change, machine.id, "install: done", where)
    task.log("it is alive from its disk, and shows the host key that the installer vouched for")
    if by_kexec:
        task.log("it came by kexec: that its firmware starts it from its disk is not proven yet")
    return Done()


# ---------------------------------------------------------------- what is known


@dataclass(frozen=True, kw_only=True)
class Offer:
    """What can be installed, read once for however many nodes."""

    usual: defaults.Defaults
    has_tools: bool
    find: Callable[[str], catalogue.Os]


def _offered() -> Offer:
    with cluster().read() as session:
        usual = defaults.get(session)
    root = cluster().settings(Settings).root
    has_tools = (root / DISCOVERY / TOOLS).is_file()
    return Offer(usual=usual, has_tools=has_tools, find=cache(partial(catalogue.get, root)))


def chosen(node: NodeView, said: Mapping[str, Any], offer: Offer) -> tuple[dict[str, Any], Mapping[str, Any]]:
    """What would be written where: all that the installation keeps of its operating system, and the disk, with
    ``others`` where the layout takes more than one. Raises ``CrowbarError`` with what is in the way.
    """
    found = offer.find(str(said.get("os") or offer.usual.os))
    if said.get("kexec") and found.method != "image":
        raise Refused(
            f"{found.name} comes with an installer of its own, which restarts the machine: set provisioner-kexec to"
            " false."
        )
    keys = dict.fromkeys((*offer.usual.keys, *map(str, said.get("keys") or ())))
    layout = str(said.get("layout") or "flat")
    kept = {**found.to_keep(layout), "keys": [check_key(one) for one in keys]}
    if kept["method"] == "image" and layout != "flat" and not offer.has_tools:
        raise Refused(
            f"The discovery image has no programs for the layout {layout}: make it anew (crowbar sledgehammer build,"
            " where the boot service runs)."
        )
    there: Any = node.discovery.get("inventory") or {}
    names = (str(said.get("disk") or ""), str(said.get("second-disk") or ""))
    wanted = names if layout == "raid1" else names[:1]
    return kept, disks.choose_all(there.get("disks") or (), wanted=wanted, at_least=int(kept["disk_size"]))


@hookimpl(roles=(INSTALL_ROLE,))
def plan_lines(node_roles: Sequence[NodeRoleView]) -> Iterable[str]:
    """What will be erased."""
    offer = _offered()
    for one in node_roles:
        said: Any = one.data.get("provisioner", {})
        try:
            kept, disk = chosen(one.node, said, offer)
        except CrowbarError as problem:
            yield f"{one.node.name}: {problem.detail}"
        else:
            several = bool(disk.get("others"))
            erased = f"{disks.described(disk)} {'are' if several else 'is'} ERASED"
            how = f" The layout is {kept['layout']}." if kept["layout"] != "flat" else ""
            how += " It goes on by kexec, without its firmware." if said.get("kexec") else ""
            yield f"{one.node.name}: {erased}, and {kept['os']} written to {'them' if several else 'it'}.{how}"


def _known(task: Task) -> tuple[Machine, Install | None]:
    with cluster().read() as session:
        machine = of_node(session, task.node.name)
        install = installs.of_run(session, task.run_id)
    if machine is None:
        raise PermanentError(
            f"{task.node.name} was never discovered: it is not known which disks it has. Let it boot from the network."
        )
    return machine, install


def _overdue(step: str, machine: Machine, install: Install | None) -> str:
    words = {
        SERVING: "what it is to boot was not served", BOOTING: "it did not boot the installer",
        INSTALLING: "the installer did not end", LEAVING: "local boot was not served",
        RESTART: "it did not come up from its disk",
    }  # fmt: skip
    last = f"; the installer was in {install.step}, {install.percent} %" if install is not None and install.step else ""
    return _with_ending(f"In the step {step}: {words.get(step, 'it took too long')}{last}.", machine, install)


def _with_ending(why: str, machine: Machine, install: Install | None) -> str:
    """And what its console said last, since it began."""
    return why if install is None else keeping.with_ending(why, machine.node_id, install.begun_at)


def _pending(task: Task, step: str, seconds: float | None, reason: str) -> Pending:
    """``seconds`` None: it is in the step already, whose deadline stays where it was. Whoever comes into a step looks
    at the world once more: what it waits for there may have happened, and been told of, before.
    """
    until = time.time() + (seconds or 0)
    if seconds is None and isinstance(task.step, Mapping):
        until = float(task.step.get("until", until))
    if seconds is not None:
        with cluster().change() as change:
            change.apply(waking(task.node.name))
    return under_way.pending_until(until, step, reason)


def _minutes() -> Settings:
    return cluster().settings(Settings)
