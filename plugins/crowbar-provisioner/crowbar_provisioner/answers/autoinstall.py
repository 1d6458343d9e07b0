"""Answers for the installer of Ubuntu's servers since 20.04: JSON, which is YAML, too."""

from __future__ import annotations

import json
from typing import Any

from crowbar_provisioner.answers.facts import Facts

MIB = 1 << 20
_HOOK = "/run/crowbar.sh"


def words(facts: Facts) -> list[str]:
    """Its kernel's arguments. Without ``cloud-config-url``, cloud-init takes the ISO image for its configuration."""
    tree = f"{facts.at}/tree"
    return [
        *facts.said["arguments"], "ip6=dhcp" if facts.ipv6 else "ip=dhcp", f"url={tree}/{facts.said['iso']}",
        "cloud-config-url=/dev/null", "autoinstall", f"ds=nocloud;s={facts.at}/answers/", facts.bootif, "---",
        *facts.arguments,
    ]  # fmt: skip


def user_data(facts: Facts) -> str:
    said = {"autoinstall": autoinstall(facts)}
    return "#cloud-config\n" + json.dumps(said, indent=1, sort_keys=False) + "\n"


def meta_data(facts: Facts) -> str:
    return json.dumps({"instance-id": facts.work, "local-hostname": facts.host}) + "\n"


def autoinstall(facts: Facts) -> dict[str, Any]:
    said: dict[str, Any] = {
        "version": 1,
        "early-commands": [
            ["curl", "-sSf", "-o", _HOOK, f"{facts.at}/answers/hook.sh"], ["sh", _HOOK, "begun"], ["sh", _HOOK, "disk"],
        ],
        "locale": "en_US.UTF-8",
        "keyboard": {"layout": "us"},
        "timezone": "UTC",
        "refresh-installer": {"update": False},
        "network": {
            "version": 2,
            "ethernets": {
                "boot": {"match": {"macaddress": facts.mac}, "dhcp4": True, "dhcp6": True, "dhcp-identifier": "mac"},
            },
        },
        "ssh": {"install-server": True, "allow-pw": False, "authorized-keys": []},
        "user-data": {"users": [], "disable_root": False, "ssh_deletekeys": False},
        "storage": {
            "version": 1, "swap": {"size": 0}, "grub": {"update_nvram": False},
            "config": storage(facts),
        },
        "updates": "security",
        "shutdown": "reboot",
        "late-commands": [["sh", _HOOK, "late", "/target"]],
        "error-commands": [["sh", _HOOK, "error"]],
    }  # fmt: skip
    if facts.said["packages"]:
        said["packages"] = list(facts.said["packages"])
    if facts.mirror:
        said["apt"] = {
            "preserve_sources_list": False, "geoip": False, "primary": [{"arches": ["default"], "uri": facts.mirror}],
        }  # fmt: skip
    return said


def storage(facts: Facts) -> list[dict[str, Any]]:
    """Until the hook has found the disks that are meant, there are none of these names."""
    found: list[dict[str, Any]] = []
    for number in range(len(facts.disks)):
        disk = f"disk-{number}"
        found.append({
            "id": disk, "type": "disk", "path": f"/dev/crowbar-disk-{number}", "ptable": "gpt", "preserve": False,
            "wipe": "superblock-recursive", "grub_device": not facts.uefi,
        })  # fmt: skip
        if facts.uefi:
            found.append(_part(disk, 1, 512 * MIB, flag="boot", grub_device=True))
            found.append({"id": f"esp-{number}", "type": "format", "volume": f"{disk}-1", "fstype": "fat32"})
        else:
            found.append(_part(disk, 1, MIB, flag="bios_grub"))
        if facts.layout != "flat":
            found.append(_part(disk, 2, 1024 * MIB))
        found.append(_part(disk, 2 if facts.layout == "flat" else 3, -1))
    boot, root = "disk-0-2", "disk-0-3"
    if facts.layout == "flat":
        root = "disk-0-2"
    elif facts.layout == "lvm":
        found.append({"id": "system", "type": "lvm_volgroup", "name": "system", "devices": [root], "preserve": False})
        root = "root"
        found.append({"id": root, "type": "lvm_partition", "volgroup": "system", "name": root, "size": -1})
    else:
        for made, part in (("md0", 2), ("md1", 3)):
            found.append({
                "id": made, "type": "raid", "name": made, "raidlevel": 1, "metadata": "1.2", "preserve": False,
                "devices": [f"disk-{number}-{part}" for number in range(len(facts.disks))], "spare_devices": [],
            })  # fmt: skip
        boot, root = "md0", "md1"
    found.append({"id": "root-files", "type": "format", "volume": root, "fstype": "ext4"})
    found.append({"id": "root-mount", "type": "mount", "device": "root-files", "path": "/"})
    if facts.layout != "flat":
        found.append({"id": "boot-files", "type": "format", "volume": boot, "fstype": "ext4"})
        found.append({"id": "boot-mount", "type": "mount", "device": "boot-files", "path": "/boot"})
    if facts.uefi:
        found.append({"id": "esp-mount", "type": "mount", "device": "esp-0", "path": "/boot/efi"})
    return found


def _part(disk: str, number: int, size: int, **more: Any) -> dict[str, Any]:
    return {
        "id": f"{disk}-{number}", "type": "partition", "device": disk, "number": number, "size": size,
        "wipe": "superblock", "preserve": False, **more,
    }  # fmt: skip
