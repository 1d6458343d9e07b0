"""Answers for the installer of Rocky Linux and AlmaLinux 9."""

from __future__ import annotations

from crowbar_provisioner.answers.facts import Facts

_HOOK = "/tmp/crowbar.sh"


def words(facts: Facts) -> list[str]:
    """Its kernel's arguments."""
    return [
        f"ip={'dhcp6' if facts.ipv6 else 'dhcp'}", facts.bootif, f"inst.ks={facts.at}/answers/kickstart.cfg",
        f"inst.stage2={facts.at}/tree", "inst.text", *facts.said["arguments"], *facts.arguments,
    ]  # fmt: skip


def kickstart(facts: Facts) -> str:
    kept = f' --append="{" ".join(facts.arguments)}"' if facts.arguments else ""
    lines = [
        "# Answers for one installation; valid while the boot lasts that they are for.",
        "text",
        "reboot",
        f"url --url={facts.mirror or f'{facts.at}/tree'}",
        "lang en_US.UTF-8",
        "keyboard --xlayouts=us",
        "timezone Etc/UTC --utc",
        f"network --bootproto=dhcp --device={facts.mac} --onboot=yes --activate --hostname={facts.fqdn}",
        "rootpw --lock",
        "selinux --enforcing",
        "firewall --enabled --service=ssh",
        "firstboot --disable",
        "services --enabled=sshd",
        f"bootloader --leavebootorder{kept}",
        "%include /tmp/crowbar.layout",
        "",
        "%packages",
        *facts.said["packages"],
        "%end",
        "",
        "%pre --erroronfail --log=/tmp/crowbar-pre.log",
        f"curl -sSf -o {_HOOK} {facts.at}/answers/hook.sh || exit 1",
        f"sh {_HOOK} begun || exit 1",
        f"sh {_HOOK} disk",
        "%end",
        "",
        "%post --nochroot --erroronfail",
        f"sh {_HOOK} late /mnt/sysroot",
        "%end",
        "",
        "%onerror",
        f"sh {_HOOK} error",
        "%end",
    ]
    return "\n".join(lines) + "\n"


def layout(facts: Facts) -> str:
    """Where what goes: included when the hook has put the disks that are meant into it."""
    names = [f"crowbar-disk-{number}" for number in range(len(facts.disks))]
    lines = [
        f"ignoredisk --only-use={','.join(names)}",
        "zerombr",
        f"clearpart --all --initlabel --disklabel=gpt --drives={','.join(names)}",
    ]
    if facts.layout == "raid1":
        return "\n".join([*lines, *_raid(facts, names)]) + "\n"
    on = f"--ondisk={names[0]}"
    lines.append(
        f"part /boot/efi --fstype=efi --size=512 {on}"
        if facts.uefi
        else f"part biosboot --fstype=biosboot --size=1 {on}"
    )
    if facts.layout == "lvm":
        lines += [
            f"part /boot --fstype=ext4 --size=1024 {on}", f"part pv.1 --size=2048 --grow {on}", "volgroup system pv.1",
            "logvol / --vgname=system --name=root --fstype=ext4 --size=2048 --grow",
        ]  # fmt: skip
    else:
        lines.append(f"part / --fstype=ext4 --size=2048 --grow {on}")
    return "\n".join(lines) + "\n"


def _raid(facts: Facts, names: list[str]) -> list[str]:
    lines = []
    for number, name in enumerate(names):
        on = f"--ondisk={name}"
        if facts.uefi:
            lines.append(f"part raid.0{number} --size=512 {on}")
        else:
            lines.append(f"part biosboot --fstype=biosboot --size=1 {on}")
        lines += [f"part raid.1{number} --size=1024 {on}", f"part raid.2{number} --size=2048 --grow {on}"]
    if facts.uefi:
        lines.append("raid /boot/efi --device=efi --level=RAID1 --fstype=efi raid.00 raid.01")
    return [
        *lines,
        "raid /boot --device=boot --level=RAID1 --fstype=ext4 raid.10 raid.11",
        "raid / --device=root --level=RAID1 --fstype=ext4 raid.20 raid.21",
    ]
