"""Machines that went on by kexec: each runs from its disk, and nobody knows yet whether its firmware starts it there.

Its kernel was told so by the installer: a boot that does not say so, and has another boot id, was the firmware's.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from crowbar_jig_script.remote import Remote
from sqlalchemy import func, select

from crowbar_core import Change, CrowbarError, NodeUnreachable, NodeView, cluster
from crowbar_core.tables import nodes
from crowbar_provisioner import at_once
from crowbar_provisioner.choosing import LOCAL
from crowbar_provisioner.machines import change_machine, happened
from crowbar_provisioner.settings import Settings
from crowbar_provisioner.tables import boots, machines

MARK, IN_IMAGE = "crowbar.kexec", "crowbar.env="
MOST, AT_ONCE = 32, 8
"""Machines that are asked in one minute."""
_SECONDS = 10.0
_PROGRAM = "cat /proc/sys/kernel/random/boot_id /proc/cmdline"
_BOOT = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


@dataclass(frozen=True, kw_only=True)
class Standing:
    """``boot``: the kernel's boot id; ``by_kexec``: the installer has started it; ``from_disk``: it is none of the
    discovery image's.
    """

    boot: str
    by_kexec: bool
    from_disk: bool


def read(said: str) -> Standing:
    """What ``_PROGRAM`` prints. Raises ``NodeUnreachable`` for anything else."""
    boot, _, line = said.partition("\n")
    if not _BOOT.fullmatch(boot):
        raise NodeUnreachable("it does not say which boot this is")
    words = line.split()
    return Standing(
        boot=boot, by_kexec=MARK in words, from_disk=not any(one.startswith(IN_IMAGE) for one in words)
    )  # fmt: skip


def ask(node: NodeView) -> Standing:
    """Over SSH, under a host key of the node's. Raises ``NodeUnreachable``."""
    remote, reasons = Remote.of_cluster(), []
    for address in node.addresses:
        try:
            return read(remote.ask(node, address, _PROGRAM, timeout=_SECONDS).out)
        except CrowbarError as problem:
            reasons.append(f"{address}: {problem.detail}")
    raise NodeUnreachable("; ".join(reasons) or f"{node.name} has no address")


def look() -> None:
    """Those of which it is not known yet are asked. Called once a minute."""
    asked = (
        select(machines.c.id, nodes.c.name, machines.c.kexec_boot)
        .join(nodes, nodes.c.id == machines.c.node_id)
        .where(machines.c.kexec_since.is_not(None), nodes.c.alive, nodes.c.bootenv == LOCAL)
        .order_by(func.random())
        .limit(MOST)
    )
    with cluster().read() as session:
        due = session.execute(asked).all()
    if not due:
        return
    found = at_once.asked(_asked, [(one.name,) for one in due], most=AT_ONCE, name="kexec")
    for one, standing in zip(due, found, strict=True):
        if standing is not None and standing.from_disk and standing.boot != one.kexec_boot:
            with cluster().change() as change:
                _another(change, one.id, one.kexec_boot, standing)


def _asked(name: str) -> Standing | None:
    try:
        return ask(cluster().node(name))
    except CrowbarError:
        return None


def _another(change: Change, key: int, before: str, standing: Standing) -> None:
    """It has started anew, and may have been installed once more since it was asked."""
    if change.session.scalar(select(machines.c.kexec_boot).where(machines.c.id == key)) != before:
        return
    if standing.by_kexec:
        change_machine(change, key, kexec_boot=standing.boot)
        return
    proven(change, key)
    happened(change, key, "started by its firmware", "from its disk, where it had gone on by kexec")


def went_on(change: Change, key: int, boot: str) -> None:
    change_machine(change, key, kexec_since=change.now, kexec_boot=boot)


def proven(change: Change, key: int) -> None:
    change_machine(change, key, kexec_since=None, kexec_boot="")


def problem(session: Any, key: int, now: datetime) -> str:
    """'' unless it does not come from its disk."""
    return next((told for machine, told in _lost(session, now) if machine == key), "")


def problems(session: Any, now: datetime) -> list[str]:
    return [told for _, told in _lost(session, now)]


def _lost(session: Any, now: datetime) -> list[tuple[int, str]]:
    """Those that have asked what to boot since, were told their disk, and have not come from there."""
    last = select(func.max(boots.c.id)).where(boots.c.machine_id == machines.c.id).correlate(machines)
    asked = (
        select(machines.c.id, nodes.c.name)
        .select_from(machines)
        .join(nodes, nodes.c.id == machines.c.node_id)
        .join(boots, boots.c.id == last.scalar_subquery())
        .where(
            machines.c.kexec_since.is_not(None), nodes.c.alive.is_(False), boots.c.env == LOCAL,
            boots.c.begun_at > machines.c.kexec_since, boots.c.begun_at < now - _patience(),
        )
        .order_by(nodes.c.name)
    )  # fmt: skip
    return [(one.id, _told(one.name)) for one in session.execute(asked).all()]


def _told(node: str) -> str:
    return (
        f"{node} does not come up from its disk: it had gone on by kexec after its installation, and its firmware has"
        f" never started it there. See its console and what its firmware boots from; crowbar nodes redeploy {node}"
        " installs it again."
    )


def _patience() -> timedelta:
    return timedelta(minutes=cluster().settings(Settings).boot_minutes)
