"""Disks that are divided on the machine: LVM with BIOS, RAID 1 with both, from power-on, and with either disk alone."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from crowbar_lab.vms import LabVm

from .conftest import Place, place_in
from .test_machines import (
    awaited,
    check_installed,
    discovered,
    on_machine,
    ready,
    settings_of,
    told,
)

pytestmark = [pytest.mark.vms, pytest.mark.timeout(2400)]
INSTALLED_CPU = 180.0
"""Seconds of QEMU's processor time since power-on. On a host with other work 96 (BIOS, LVM) and 103 (UEFI, RAID)."""


def test_a_machine_with_bios_has_its_root_on_lvm(with_image: Path, tmp_path: Path) -> None:
    with place_in(tmp_path, **settings_of(with_image)) as place:
        ready(place, tmp_path)
        [vm] = place.lab.add_vms(1, firmware="bios", disks=(2,), memory=768)
        node = discovered(place, vm)
        said = install(place, node, "lvm")
        assert f"{node}: vda, 2.0 GiB, serial number {vm.plan.disk_serials()[0]} is ERASED" in said
        assert "The layout is lvm." in said
        check_installed(place, vm, node, cpu=INSTALLED_CPU)
        assert on_machine(place, node, "findmnt -n -o SOURCE,FSTYPE /").split() == ["/dev/mapper/system-root", "ext4"]
        assert on_machine(place, node, "vgs --noheadings -o vg_name,pv_name").split() == ["system", "/dev/vda3"]
        assert int(on_machine(place, node, "findmnt -n -b -o SIZE /")) > 1.7 * (1 << 30)
        assert on_machine(place, node, "systemctl is-system-running") == "running"
        before = boot_of(place, node)
        on_machine(place, node, "(sleep 1; echo c >/proc/sysrq-trigger) >/dev/null 2>&1 &")
        awaited(lambda: boot_of(place, node) not in ("", before), lambda: told(place, vm))


@pytest.mark.parametrize("firmware", ["bios", "uefi"])
def test_a_machine_has_its_root_on_two_disks_and_starts_with_either_alone(
    with_image: Path, tmp_path: Path, firmware: str
) -> None:
    with place_in(tmp_path, **settings_of(with_image)) as place:
        ready(place, tmp_path)
        [vm] = place.lab.add_vms(1, firmware=firmware, disks=(2, 2), memory=768)
        node = discovered(place, vm)
        said = install(place, node, "raid1")
        first, second = vm.plan.disk_serials()
        assert (
            f"{node}: vda, 2.0 GiB, serial number {first} and vdb, 2.0 GiB, serial number {second} are ERASED" in said
        )
        check_installed(place, vm, node, cpu=INSTALLED_CPU)
        assert "[UU]" in on_machine(place, node, "cat /proc/mdstat")
        assert on_machine(place, node, "findmnt -n -o FSTYPE /") == "ext4"
        assert on_machine(place, node, "mdadm --detail --scan").split()[1] == "/dev/md/root"
        assert on_machine(place, node, "systemctl is-system-running") == "running"
        assert "[_U]" in without(place, vm, node, 0)
        for line in taking_its_place():
            on_machine(place, node, line)
        awaited(lambda: "[UU]" in on_machine(place, node, "cat /proc/mdstat"), lambda: told(place, vm))
        assert "[U_]" in without(place, vm, node, 1), "the new disk alone starts it, too"


def taking_its_place() -> list[str]:
    """What is said of a new disk in the place of one that failed."""
    text = (Path(__file__).parents[3] / "docs/how-to/provision.md").read_text()
    lines = text.partition("in the place of one that failed")[2].split("```")[1].splitlines()
    return [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]


def without(place: Place, vm: LabVm, node: str, disk: int) -> str:
    """What the machine says of its arrays when it starts with an empty disk in the place of that one."""
    vm.power("off")
    awaited(lambda: vm.power("status") == "off", lambda: told(place, vm))
    there = vm.disk(disk)
    was = there.stat()
    there.unlink()
    subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", str(there), "2G"], check=True, timeout=60)
    os.chown(there, was.st_uid, was.st_gid)
    there.chmod(was.st_mode & 0o777)
    vm.power("on")
    awaited(lambda: on_disk(place, node), lambda: told(place, vm))
    return on_machine(place, node, "cat /proc/mdstat")


def install(place: Place, node: str, layout: str) -> str:
    """Returns the plan."""
    data = {"provisioner": {"layout": layout}}
    place.api.post("node_roles", body={"node_id": node, "role_id": "provisioner-os-install", "data": data})
    lines = [one["text"] for one in place.api.get("deployments", "system", "plan")["lines"]]
    place.api.put("deployments", "system", "commit")
    return "\n".join(lines)


def on_disk(place: Place, node: str) -> bool:
    """Whether it is reached."""
    return boot_of(place, node) != ""


def boot_of(place: Place, node: str) -> str:
    """What tells one start of it from the next; empty while it is not reached."""
    try:
        return on_machine(place, node, "cat /proc/sys/kernel/random/boot_id")
    except (AssertionError, subprocess.TimeoutExpired):
        return ""
