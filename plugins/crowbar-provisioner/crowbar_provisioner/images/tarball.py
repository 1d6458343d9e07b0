"""Makes the tarball of Debian 12: the same system as the image's, with LVM and RAID, for disks that are divided on the
machine.

The discovery image divides the disks, unpacks it, and puts the boot loaders, which lie ready in ``LOADERS``, at the
same places as the image has them. What GRUB and the kernel find their root by stands in one file of each EFI partition,
so neither a loader nor an initial RAM disk is made on the machine.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from crowbar_provisioner.sledgehammer.packages import fetch, run

MORE = ("fdisk", "lvm2", "mdadm")
GRUB_MORE = ("lvm", "mdraid1x", "search_fs_uuid")
LOADERS = "boot/crowbar"
MIB = 1 << 20
PARTS_MIB = 10
"""What of a disk is for boot loaders."""
PREFIX = "(,gpt2)/grub"
"""Where GRUB finds what it is told: on the EFI partition of the disk that it was loaded from."""
MENU = """set timeout=0
serial --unit=0 --speed=115200
terminal_output console serial
menuentry "{title}" {{
    search --no-floppy --fs-uuid --set=root $crowbar_root
    linux /boot/vmlinuz-{kernel} root=UUID=$crowbar_root rw console=tty0 console=ttyS0,115200 panic=30 quiet
    initrd /boot/initrd.img-{kernel}
}}
"""
"""A start that fails, as with one disk that answers late, is tried again."""
MDADM = """# Arrays keep their names, whatever this host is called.
HOMEHOST <ignore>
MAILADDR root
ARRAY <ignore> UUID=00000000:00000000:00000000:00000000
"""
"""The last line, of no array, keeps the arrays of the host that makes the tarball out of it."""
HOOK = """#!/bin/sh
[ "$1" != prereqs ] || exit 0
. /usr/share/initramfs-tools/hook-functions
copy_exec /bin/rm
"""
"""What mdadm's scripts want in an initial RAM disk, and nobody brings where there is no busybox."""
NO_SERVICES = "#!/bin/sh\nexit 101\n"
LEFT = (
    "var/log/dpkg.log", "var/log/alternatives.log", "var/cache/ldconfig/aux-cache", "var/cache/debconf/*-old",
    "var/lib/dpkg/*-old", "var/log/apt/*", "var/log/bootstrap.log",
)  # fmt: skip
"""Of the making, with its times."""


def add_packages(tree: Path, work: Path, version: str, *, title: str, environment: Mapping[str, str]) -> None:
    """What finds a root on LVM and RAID, in the initial RAM disk, too, which their packages have made anew."""
    (tree / "etc/mdadm").mkdir()
    (tree / "etc/mdadm/mdadm.conf").write_text(MDADM)
    hook = tree / "etc/initramfs-tools/hooks/crowbar-mdadm"
    hook.write_text(HOOK)
    hook.chmod(0o755)
    packages = fetch(MORE, work / "packages", installed=tree / "var/lib/dpkg/status")
    inside = tree / "tmp/packages"
    inside.mkdir()
    for one in packages:
        shutil.copy(one, inside)
    policy = tree / "usr/sbin/policy-rc.d"
    policy.write_text(NO_SERVICES)
    policy.chmod(0o755)
    names = [f"/tmp/packages/{one.name}" for one in packages]
    said = {**environment, "DEBIAN_FRONTEND": "noninteractive"}
    run(
        ["chroot", str(tree), "dpkg", "--path-exclude=/usr/share/man/*", "--path-exclude=/usr/share/doc/*",
         "--path-exclude=/usr/share/locale/*", "-i", *names], more=said,
    )  # fmt: skip
    policy.unlink()
    shutil.rmtree(inside)
    for pattern in LEFT:
        for one in tree.glob(pattern):
            one.unlink()
    (tree / "etc/fstab").write_text("")
    (tree / "boot/grub/grub.cfg").write_text(MENU.format(title=title, kernel=version))


def pack(tree: Path, file: Path, *, when: int) -> Mapping[str, Any]:
    """The whole tree, whose bytes depend on nothing but what is in it; what is to be said of it."""
    content = int(run(["du", "-sm", str(tree)]).split()[0])
    tar = ["tar", "-c", "-C", str(tree), "--sort=name", "--numeric-owner", f"--mtime=@{when}", "--clamp-mtime"]
    tar += ["--format=posix", "--pax-option=exthdr.name=%d/PaxHeaders/%f,delete=atime,delete=ctime"]
    tar += ["--xattrs", "--xattrs-include=*", "--one-file-system", "-f", str(file.with_suffix("")), "."]
    run(tar)
    run(["zstd", "-q", "-T0", "-9", "--rm", str(file.with_suffix("")), "-o", str(file)])
    with file.open("rb") as made:
        checksum = hashlib.file_digest(made, "sha256").hexdigest()
    return {
        "file": file.name, "format": "tar.zst", "sha256": checksum, "size": file.stat().st_size,
        "content_size": content * MIB, "disk_size": (PARTS_MIB + content * 5 // 4 + 160) * MIB,
    }  # fmt: skip
