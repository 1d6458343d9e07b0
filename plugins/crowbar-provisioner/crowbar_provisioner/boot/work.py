"""GET /v1/work: a machine asks what it is to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from crowbar_jig_script.remote import public_key
from werkzeug.wrappers import Request, Response

from crowbar_core import cluster
from crowbar_provisioner import installs, rescues, sharing
from crowbar_provisioner.boot.answers import POLL, answer, authorized, base_of
from crowbar_provisioner.boots import Boot, machine_of
from crowbar_provisioner.burning import burn_ins
from crowbar_provisioner.choosing import ACCEPTED, DISCOVERY, install_of
from crowbar_provisioner.erasing import erasures
from crowbar_provisioner.erasing.erasures import Erasure
from crowbar_provisioner.installs import REFUSED, RESTARTING, Install
from crowbar_provisioner.machines import Machine, get
from crowbar_provisioner.settings import Settings


def give(request: Request) -> Response:
    boot = authorized(request)
    if boot.machine_id is None:
        return answer({"accepted": False, "env": boot.env, "work": None, "poll": POLL})
    with cluster().read() as session:
        machine = get(session, boot.machine_id)
        found = installs.open_of(session, machine.node_id)
        left = rescues.of_node(session, machine.node_id)
        erased = erasures.open_of(session, machine.node_id)
        burned = burn_ins.open_of(session, machine.node_id)
    accepted = machine.state == ACCEPTED and boot.trusted
    in_image = accepted and boot.env == DISCOVERY
    work = work_of(boot, machine, found, base=base_of(request)) if accepted and found else None
    if in_image and work is None and erased:
        work = to_erase(erased)
    if in_image and work is None and burned and burned.boot_id in (None, boot.id):
        work = {"do": "burn-in", "id": burned.work, "seconds": burned.seconds, **burned.wish}
    if in_image and left is not None and left.state == rescues.LEAVING and left.served:
        work = {"do": "reboot", "id": "rescue"}
    return answer(
        {"accepted": accepted, "env": boot.env, "work": work, "poll": 1 if found or erased or burned else POLL}
    )


def is_of(boot: Boot, install: Install) -> bool:
    """Whether this is the boot in which it is installed."""
    booted = boot.env == install_of(install.os) and boot.id > install.after_boot
    return boot.trusted and (booted or boot.id == install.in_boot)


def installed_in(session: Any, boot: Boot) -> Install | None:
    """The installation under way that is done in this boot."""
    machine = machine_of(session, boot)
    found = installs.open_of(session, machine.node_id) if machine is not None else None
    return found if found is not None and is_of(boot, found) else None


def to_erase(disks: Sequence[Erasure]) -> Mapping[str, Any]:
    return {
        "do": "erase",
        "id": disks[0].work,
        "disks": [
            {"name": one.disk, "serial": one.serial, "wwn": one.wwn, "size": one.size, "method": one.wanted_method,
             "pieces": one.pieces}
            for one in disks
            if one.state in erasures.OPEN
        ],
    }  # fmt: skip


_OF_IMAGE = (
    "format", "sha256", "blake2b", "xxh64", "size", "disk_size", "content_size", "root_partition", "root_fs",
)  # fmt: skip


def work_of(boot: Boot, machine: Machine, install: Install, *, base: str) -> Mapping[str, Any] | None:
    if not is_of(boot, install):
        return None
    if install.state == RESTARTING:
        if install.kexec == REFUSED:
            return None
        return {"do": "kexec" if install.to_jump else "reboot", "id": install.work}
    if not install.to_write or install.method != "image":
        return None
    image = {name: install.image.get(name) for name in _OF_IMAGE}
    image["peers"] = sharing.offered(cluster().settings(Settings), install.image)
    return {
        "do": "install",
        "id": install.work,
        "os": install.os,
        "hostname": machine.node.partition(".")[0],
        "fqdn": machine.node,
        "disk": dict(install.disk),
        "layout": install.image.get("layout", "flat"),
        "image": {"url": f"{base}/v1/images/{install.image['file']}", **image},
        "authorized_keys": [public_key(), *install.image.get("keys", ())],
        "network": {"dhcp": True},
        "kexec": install.to_jump,
    }
