"""Answers for the installer of Debian, and of Ubuntu up to 20.04."""

from __future__ import annotations

import re

from crowbar_provisioner.answers.facts import Facts

_HOOK = "/tmp/crowbar.sh"


def words(facts: Facts) -> list[str]:
    """Its kernel's arguments. Those after ``---`` are kept for the new system. Where DHCP names no name server, it asks
    for one before it has its answers, unless it is told that there is none.
    """
    return [
        "auto=true", "priority=critical", f"preseed/url={facts.at}/answers/preseed.cfg",
        "netcfg/choose_interface=auto", "netcfg/get_nameservers=", f"hostname={facts.host}",
        f"domain={facts.domain or 'unassigned-domain'}", facts.bootif, *facts.said["arguments"], "---",
        *facts.arguments,
    ]  # fmt: skip


def preseed(facts: Facts) -> str:
    lines = [
        "# Answers for one installation; valid while the boot lasts that they are for.",
        f"d-i preseed/early_command string wget -q -O {_HOOK} {facts.at}/answers/hook.sh && sh {_HOOK} begun",
        "",
        "d-i debian-installer/locale string en_US.UTF-8",
        "d-i keyboard-configuration/xkb-keymap select us",
        "d-i console-setup/ask_detect boolean false",
        "d-i netcfg/choose_interface select auto",
        f"d-i netcfg/get_hostname string {facts.host}",
        f"d-i netcfg/hostname string {facts.host}",
        f"d-i netcfg/get_domain string {facts.domain or 'unassigned-domain'}",
        "d-i hw-detect/load_firmware boolean true",
        "",
        *_mirror(facts),
        "",
        "d-i clock-setup/utc boolean true",
        "d-i clock-setup/ntp boolean false",
        "d-i time/zone string Etc/UTC",
        "",
        "# Root logs in by key alone.",
        "d-i passwd/root-login boolean true",
        "d-i passwd/root-password-crypted password !",
        "d-i passwd/make-user boolean false",
        "",
        *_disks(facts),
        "",
        "d-i base-installer/install-recommends boolean false",
        "d-i apt-setup/services-select multiselect",
        "tasksel tasksel/first multiselect",
        f"d-i pkgsel/include string {' '.join(facts.said['packages'])}",
        "d-i pkgsel/upgrade select none",
        "d-i pkgsel/update-policy select none",
        "popularity-contest popularity-contest/participate boolean false",
        "",
        "# The firmware goes on asking the network first.",
        "d-i grub-installer/only_debian boolean true",
        "d-i grub-installer/with_other_os boolean false",
        "d-i grub-installer/force-efi-extra-removable boolean true",
        "d-i grub-installer/update-nvram boolean false",
        "",
        f"d-i preseed/late_command string sh {_HOOK} late /target",
        "d-i finish-install/reboot_in_progress note",
        "d-i cdrom-detect/eject boolean false",
    ]
    return "\n".join(lines) + "\n"


def _mirror(facts: Facts) -> list[str]:
    hit = re.fullmatch(r"(https?)://([^/]+)(/.*)?", facts.mirror)
    assert hit is not None, "an operating system with the method preseed needs a mirror"
    protocol, host, directory = hit[1], hit[2], hit[3] or "/"
    return [
        "d-i mirror/country string manual",
        f"d-i mirror/protocol string {protocol}",
        f"d-i mirror/{protocol}/hostname string {host}",
        f"d-i mirror/{protocol}/directory string {directory}",
        f"d-i mirror/{protocol}/proxy string",
        f"d-i mirror/suite string {facts.said['suite']}",
    ]


def _disks(facts: Facts) -> list[str]:
    """Until the hook has found the disks that are meant, there are none of these names."""
    method = {"flat": "regular", "lvm": "lvm", "raid1": "raid"}[facts.layout]
    none = " ".join(f"/dev/crowbar-disk-{number}" for number in range(len(facts.disks)))
    lines = [
        f"d-i partman/early_command string sh {_HOOK} disk",
        f"d-i partman-auto/disk string {none}",
        f"d-i grub-installer/bootdev string {none}",
        f"d-i partman-auto/method string {method}",
        "d-i partman-partitioning/choose_label select gpt",
        "d-i partman-partitioning/default_label string gpt",
        f"d-i partman-efi/non_efi_system boolean {str(facts.uefi).lower()}",
        "d-i partman-auto/choose_recipe select crowbar",
        "d-i partman-auto/expert_recipe string crowbar :: " + " ".join(_recipe(facts)),
    ]
    if facts.layout == "lvm":
        lines += ["d-i partman-auto-lvm/new_vg_name string system", "d-i partman-auto-lvm/guided_size string max"]
    if facts.layout == "raid1":
        lines.append(
            "d-i partman-auto-raid/recipe string 1 2 0 ext4 /boot raidid=1 . 1 2 0 ext4 / raidid=2 ."
        )  # fmt: skip
    return [
        *lines,
        "d-i partman-lvm/device_remove_lvm boolean true",
        "d-i partman-lvm/confirm boolean true",
        "d-i partman-lvm/confirm_nooverwrite boolean true",
        "d-i partman-md/device_remove_md boolean true",
        "d-i partman-md/confirm boolean true",
        "d-i partman-md/confirm_nooverwrite boolean true",
        "d-i partman-basicfilesystems/no_swap boolean false",
        "d-i partman-partitioning/confirm_write_new_label boolean true",
        "d-i partman/choose_partition select finish",
        "d-i partman/confirm boolean true",
        "d-i partman/confirm_nooverwrite boolean true",
    ]


def _recipe(facts: Facts) -> list[str]:
    """Parts of a disk: the least, how much they are wanted, and the most, in MB, and what they are."""
    ignored = "$lvmignore{ } " if facts.layout != "flat" else ""
    first = (
        f"538 538 538 free {ignored}$iflabel{{ gpt }} $gptonly{{ }} $primary{{ }} method{{ efi }} format{{ }} ."
        if facts.uefi
        else f"1 1 1 free {ignored}$iflabel{{ gpt }} $gptonly{{ }} $primary{{ }} method{{ biosgrub }} ."
    )
    files = "method{{ format }} format{{ }} use_filesystem{{ }} filesystem{{ ext4 }} mountpoint{{ {} }}"
    if facts.layout == "raid1":
        raid = "{} raid $lvmignore{{ }} $primary{{ }} method{{ raid }} raidid{{ {} }} ."
        return [first, raid.format("1024 1024 1024", 1), raid.format("2048 4096 -1", 2)]
    if facts.layout == "lvm":
        boot = f"1024 1024 1024 ext4 $primary{{ }} $bootable{{ }} {files.format('/boot')} ."
        volume = "1024 1024 -1 ext4 $defaultignore{ } $primary{ } method{ lvm } vg_name{ system } ."
        root = f"2048 4096 -1 ext4 $lvmok{{ }} in_vg{{ system }} lv_name{{ root }} {files.format('/')} ."
        return [first, boot, volume, root]
    return [first, f"2048 4096 -1 ext4 $primary{{ }} $bootable{{ }} {files.format('/')} ."]
